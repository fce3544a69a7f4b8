"""The registry of formats: a new one is a class and a line, and everything that lists formats knows it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fod_bench.cli.app import app
from fod_bench.report import FORMATS, Table, render_report, report_format
from fod_bench.report.formats import registry
from fod_bench.report.formats.base import Format
from fod_bench.store import open_store
from tests.helpers.report_builders import full_store


class Titles(Format):
    """Nothing but the tables' titles."""

    suffix = "lst"

    def text(self, tables: Sequence[Table]) -> str:
        return "".join(f"{table.title}\n" for table in tables)


@pytest.fixture
def titles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, "titles", f"{__name__}:Titles")
    monkeypatch.setenv("COLUMNS", "200")


def called(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["report", *arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.usefixtures("titles")
def test_a_format_of_one_class_and_one_line_is_in_the_help_and_in_the_refusal_of_others() -> None:
    assert "terminal|markdown|latex|csv|tidy|html|titles" in called("--help")
    assert "There are: terminal, markdown, latex, csv, tidy, html, titles" in called("--format", "titel", code=2)


@pytest.mark.usefixtures("titles")
def test_it_is_printed_and_written_as_every_other(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    for name, data in full_store().objects.items():
        store.put(name, data)
    where = ("--store", store.uri, "--table", "7", "--format", "titles")
    assert called(*where) == "Table 7. AUROC on BTAD\n"
    called(*where, "--out", str(tmp_path / "out"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["table-7.lst", "tidy.csv"]
    assert (tmp_path / "out/table-7.lst").read_text() == "Table 7. AUROC on BTAD\n"


@pytest.mark.parametrize("name", [name for name in FORMATS if not report_format(name).whole])
def test_each_format_is_of_a_file_of_its_own_and_writes_what_it_prints(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    form = report_format(name)
    (module,) = {inspect.getmodule(type(form))}
    assert module is not None and form.suffix
    assert sum(target.startswith(f"{module.__name__}:") for target in FORMATS.values()) == 1
    results = full_store().read()
    render_report(results, ["7"], name)
    text = capsys.readouterr().out
    (written, *_) = render_report(results, ["7"], name, tmp_path)
    assert written.suffix == f".{form.suffix}" and text.split()[:3] == written.read_text("utf-8").split()[:3]


def test_formats_are_named_in_one_file() -> None:
    """Elsewhere they are asked for, so that a new one need not be added twice."""
    package = Path(inspect.getfile(registry)).parents[2]
    files = [path for path in package.rglob("*.py") if '"latex"' in path.read_text("utf-8")]
    assert files == [Path(inspect.getfile(registry))]
