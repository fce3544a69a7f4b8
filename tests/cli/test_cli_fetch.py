"""`fod-bench data fetch`: the licence first, and then what the room below does."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fod_bench.cli.app import app
from fod_bench.datasets.fetch import SOURCES
from tests.helpers.archives import real_set, sends, source_of
from tests.helpers.scripted_server import serving

RUNNER = CliRunner()


def test_the_licence_is_shown_and_has_to_be_accepted(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["data", "fetch", "mvtec", "--to", str(tmp_path)])
    assert result.exit_code == 2
    assert "CC BY-NC-SA 4.0" in result.stdout and "Cite:" in result.stdout
    assert "`fod-bench data fetch mvtec --accept-licence` accepts it" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_set_from_a_mirror_ends_where_a_job_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = real_set(tmp_path / "made")
    monkeypatch.setenv("FOD_DATA", str(tmp_path / "data"))
    with serving(lambda request: sends(request, content)) as url:
        monkeypatch.setitem(SOURCES, "btad", source_of(content, "https://publisher.example/btad.zip"))
        command = ["data", "fetch", "btad", "--accept-licence", "--url", f"{url}/btad.zip"]
        first = RUNNER.invoke(app, command)
        again = RUNNER.invoke(app, [*command, "--quiet"])
    assert (first.exit_code, again.exit_code) == (0, 0), first.stderr
    assert (tmp_path / "data/btad/01/train/ok/0000.bmp").is_file()
    assert "Licence:" in first.stderr and "is no longer needed" in first.stderr
    assert "fod-bench data check" in first.stderr and first.stdout == ""
    assert again.stderr.splitlines() == [f"{tmp_path}/data/btad: is there already, made of this archive"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["btda"], 2, "unknown data set 'btda'; did you mean btad?"),
        (["btad", "--url", "http://h/x", "--archive", "x"], 2, "give --url or --archive, not both"),
        (["btad", "--accept-licence", "--url", "here"], 1, "is no http or https address"),
        (["btad", "--accept-licence", "--archive", "none.zip"], 1, "there is no file none.zip"),
    ],
)
def test_what_cannot_be_fetched_is_one_line(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    result = RUNNER.invoke(app, ["data", "fetch", *arguments, "--quiet", "--to", str(tmp_path)])
    assert result.exit_code == code
    assert said in result.stderr and len(result.stderr.splitlines()) == 1
