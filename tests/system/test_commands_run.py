"""Every command of README, CONTRIBUTING and docs/ is run, as written or smaller; a table has what is not run, with the reason."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from fod_bench.cli.app import app
from tests.helpers.commands import Bench
from tests.helpers.dataset_builders import image
from tests.helpers.written_commands import (
    CODES,
    NOT_RUN,
    PAGES,
    REDUCED,
    ROOT,
    Written,
    arguments,
    expected_code,
    why_not_run,
    written,
)

ALL = [command for page in PAGES for command in dict.fromkeys(written(page))]
_OWN = {
    "bolts": ("good/{}.png", "bad/{}.png"),
    "photos": ("good/IMG_0{}.png", "bad/IMG_9{}.png"),
    "my-parts/washer": ("OK/{}.png", "NG/{}.png"),
}
_MINE = "name: mine\ndatasets: {{bolts: {{layout: folder, root: bolts}}}}\nsettings: {{backbone: resnet18, weights: random, {}}}\n"


@pytest.fixture(scope="module")
def reader(bench: Bench) -> Iterator[Bench]:
    """A folder such as a reader of the pages has: job files, the published sets (drawn), images of one's own."""
    folder = bench.folder
    shutil.copytree(ROOT / "fod_bench/jobs", folder / "jobs")
    drawn = bench.start_process(
        sys.executable, str(ROOT / "tests/helpers/paper_data.py"), str(folder / "data")
    ).finished()
    assert drawn.code == 0, drawn.err
    for number, (name, kinds) in enumerate(_OWN.items()):
        for place, count in zip(kinds, (6, 3), strict=True):
            for index in range(count):
                image(folder / name / place.format(index), (64, 64), 20 * number + 5 * index + 60 * (count == 3))
    for index in range(2):
        image(folder / f"my-parts/washer/rework/2024/{index}.png", (64, 64), 200 + index)
    (folder / "jobs/mine.yaml").write_text(_MINE.format("image_size: 64, epochs: 1, d_model: {8: 16, 16: 16}"))
    bench.environment["FOD_DATA"] = str(folder / "data")
    yield bench


def in_process(bench: Bench, words: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Run a command that starts no Ray here, which spares its imports."""
    for name, value in bench.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(bench.folder / "hub"))
    monkeypatch.chdir(bench.folder)
    result = CliRunner().invoke(app, words)
    return result.exit_code, result.stdout + result.stderr


def filled(command: Written, bench: Bench) -> Written:
    """The command with a run and a folder that are here, where a page has an example's."""
    line = command.line.replace("/data/parts", "bolts")
    if "paper-1a2b3c4d" in line:
        runs = sorted(path.name for path in (bench.folder / "results/store/runs").glob("paper-*"))
        line = line.replace("paper-1a2b3c4d", runs[0])
    return command._replace(line=line)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(command.page == page and not why_not_run(command) for command in ALL)]
)
def test_the_commands_of_a_page_are_run(page: str, reader: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (command for command in ALL if command.page == page and why_not_run(command) is None):
        real = filled(command, reader)
        words = arguments(real)
        if words[0] == "init":
            made = words[words.index("--out") + 1] if "--out" in words else f"{words[1]}.yaml"
            (reader.folder / made).unlink(missing_ok=True)
        if words[:2] == ["data", "synth"]:
            shutil.rmtree(reader.folder / words[2], ignore_errors=True)
        if words[0] == "run":
            done = reader.start(*words).finished()
            code, said = done.code, done.out + done.err
        else:
            code, said = in_process(reader, words, monkeypatch)
        assert code == expected_code(command), f"{command} ended with {code}:\n{said}"
        assert "Traceback" not in said, f"{command}:\n{said}"


def test_the_tables_have_no_more_than_the_pages() -> None:
    lines = [str(command) for command in ALL]
    for pattern in (*NOT_RUN, *CODES, *REDUCED):
        assert any(re.search(pattern, line) for line in lines), f"{pattern} fits no command any more"


def test_most_commands_are_run() -> None:
    named = [command for command in ALL if "fod-bench " in command.line and not command.page.endswith("clusters.md")]
    run = [command for command in named if why_not_run(command) is None]
    assert len(run) > 0.8 * len(named)
