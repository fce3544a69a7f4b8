"""The commands that the pages show a reader: where they are found, what they are run with, and which of them cannot be run here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
_FIRST = ("README.md", "docs/quickstart.md", "docs/own-images.md", "docs/data.md", "docs/paper.md", "docs/report.md")
PAGES = [
    *_FIRST,
    *sorted(
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"))
        if path.relative_to(ROOT).as_posix() not in _FIRST
    ),
]
"""Pages in an order in which what one makes is there for the next."""


class Written(NamedTuple):
    """A line for a shell, as a page has it."""

    page: str
    line: str

    def __str__(self) -> str:
        return f"{self.page}: {self.line}"


NOT_RUN = {
    r": make (demo|setup|test|lint|site|bench)": "sets up or runs what runs this test",
    r": source ": "enters an environment; the tests are in one",
    r": export FOD_DATA": "set for all commands, to images that are drawn",
    r": python tests/helpers/paper_data\.py": "run before all others: it draws the images",
    r": pip install": "installs; the environment of the tests is not changed",
    r"docs/clusters\.md: ": "needs docker, or an account with AWS or Google; tests/clusters checks what can be checked",
    r": (RAY_AUTH_MODE=token )?ray ": "starts a cluster: tests/system/test_local_cluster.py does",
    r" --address HOST:6379": "needs a cluster: tests/system/test_local_cluster.py has one",
    r": fod-bench --install-completion": "changes the files of the user's shell: tests/cli/test_completion.py asks as a shell does",
    r": fod-bench data fetch mvtec --accept-licence": "downloads 5 GB: tests/datasets/test_fetch.py has a server of its own",
    r" --watch": "goes on until it is interrupted: tests/runs/test_status.py",
    r": (prometheus|tensorboard|wandb) ": "a program of others, which goes on or wants an account",
    r": fod-bench export mlflow quickstart --to http": "needs a server: tests/export/test_export.py writes to a folder",
    r" s3://BUCKET/": "needs a bucket: tests/system/test_submit.py has one",
    r" s3://bucket/prefix": "needs a bucket: tests/records/test_housekeeping_copy.py has one",
}
"""Patterns of commands that are not run, each with the reason."""

_SMALL = "image_size=64 epochs=1 limit_train=2 limit_test=4 backbone=resnet18 weights=random width=4 repeats=2 fiber=16 blocks=2"
_REDUCED = (*(word for each in _SMALL.split() for word in ("--set", each)), "--set", "d_model={4: 16, 8: 16, 16: 16}")
_ONE_OF_FOD = ("--set", "image_size=64", "--set", "epochs=1", "--set", "backbone=resnet18", "--set", "weights=random")
_SMALL_FOD = (*_ONE_OF_FOD, "--set", "d_model={8: 16, 16: 16}")
_TABLE_12 = (*_SMALL_FOD, "--set", "limit_train=2")
REDUCED = {
    r"run jobs/paper\.yaml --store results/reduced": ("--only", "*/btad/01"),
    r"run jobs/paper\.yaml --only ": _REDUCED,
    r"run jobs/paper\.yaml --set 'datasets.mvtec.categories": (*_REDUCED, "--only", "FOD/mvtec/screw"),
    r"run jobs/paper\.yaml --set 'seeds": (*_REDUCED, "--only", "FOD/btad/01"),
    r"run jobs/paper\.yaml": (*_REDUCED, "--only", "*/mvtec/bottle"),
    r"run jobs/table12": (*_TABLE_12, "--only", "*/bottle"),
    r"(run|report|plan) jobs/folder\.yaml": _SMALL_FOD,
    r"run (bolts|photos)\.yaml": _SMALL_FOD,
    r"(report|plan|doctor) (bolts|photos)\.yaml": _SMALL_FOD,
    r"run quickstart": ("--set", "epochs=1", "--only", "*/weave"),
    r"(report|store gc) jobs/paper": _REDUCED,
    r"report jobs/table12": _TABLE_12,
    r"(figure . jobs/|export (wandb|tensorboard) )quickstart": ("--set", "epochs=1"),
    r"(predict|export onnx) FOD/mvtec/bottle": ("--seed", "3407"),
}
"""What is added to commands that would take too long, or want weights that are downloaded."""

CODES = {
    r": fod-bench data fetch mvtec$": 2,  # shows the licence, which is not accepted
    r"data check data/(mvtec|btad)": 1,  # drawn images, fewer than were published
    r"data check my-parts --resize": 1,  # of layout folder's own names, without --good and --bad
}
"""Exit codes other than 0."""


def written(page: str) -> Iterator[Written]:
    """Every line for a shell of a page: in its blocks of bash and console, and indented ones that begin with `fod-bench`."""
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    for kind, block in re.findall(r"^ *```(bash|console)\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE):
        for line in map(str.strip, block.splitlines()):
            if kind == "console" and not line.startswith("$ "):
                continue
            yield from _tidied(page, line.removeprefix("$ "))
    for line in re.findall(r"^ {4}(fod-bench .*)", text, flags=re.MULTILINE):
        yield from _tidied(page, line)


def _tidied(page: str, line: str) -> Iterator[Written]:
    line = re.sub(r" +", " ", re.sub(r"(^|\s+)# .*", "", line)).strip()
    if line:
        yield Written(page, line)


def why_not_run(command: Written) -> str | None:
    """The reason why a command is not run; None where it is."""
    return next((reason for pattern, reason in NOT_RUN.items() if re.search(pattern, str(command))), None)


def arguments(command: Written) -> list[str]:
    """The words after `fod-bench`, with what is added to make it small."""
    words = shlex.split(command.line)
    assert words[0] == "fod-bench", f"{command}: say in {Path(__file__).name} why it is not run"
    return words[1:] + list(next((extra for pattern, extra in REDUCED.items() if re.search(pattern, command.line)), ()))


def expected_code(command: Written) -> int:
    """Its exit code."""
    return next((code for pattern, code in CODES.items() if re.search(pattern, str(command))), 0)
