"""The rooms as they are told and as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fod_bench"


def folders() -> list[str]:
    """Every package below `fod_bench`, as `report/formats/`."""
    return [
        f"{init.parent.relative_to(PACKAGE).as_posix()}/"
        for init in PACKAGE.rglob("__init__.py")
        if init.parent != PACKAGE
    ]


def told() -> list[str]:
    """The folders of the table in docs/architecture.md."""
    return re.findall(r"^\| `([a-z0-9_/]+/)` \|", (ROOT / "docs/architecture.md").read_text(), flags=re.M)


def test_the_folder_list_is_the_folder_list() -> None:
    assert sorted(told()) == sorted(folders())


def test_the_rooms_stand_in_the_order_in_which_lint_has_them() -> None:
    tomllib = pytest.importorskip("tomllib")  # from Python 3.11 on
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [
        layer
        for layer in next(c for c in contracts if c["type"] == "layers")["layers"]
        if layer not in ("text", "errors")
    ]
    assert [f"{layer}/" for layer in layers] == [folder for folder in told() if folder.count("/") == 1]


def test_few_files_lie_loose_at_the_top() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} <= {"__init__", "__main__", "errors", "text"}
