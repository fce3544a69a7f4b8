"""Ray is imported in `cluster/` alone, and nothing below it imports `cluster/`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import fod_bench

PACKAGE = Path(fod_bench.__file__).parent


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module


def users(of: str) -> set[str]:
    """First folder of every file that imports `of` or what is in it."""
    return {
        path.relative_to(PACKAGE).parts[0]
        for path in PACKAGE.rglob("*.py")
        if any(name == of or name.startswith(f"{of}.") for name in imported(path))
    }


def test_ray_is_known_in_one_room() -> None:
    assert users("ray") == {"cluster"}


def test_the_room_of_ray_is_entered_from_the_command_line_only() -> None:
    assert users("fod_bench.cluster") == {"cli", "cluster"}
