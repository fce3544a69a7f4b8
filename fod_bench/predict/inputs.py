"""The images that a command is given: files, folders, patterns, or names on standard input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fod_bench.datasets.images import IMAGE_TYPES
from fod_bench.errors import UsageError

STDIN = "-"


class Asked(NamedTuple):
    """An image that is asked for."""

    path: str
    name: str
    """What is written for it is named so: its path below the folder that was given, or the file's own name."""


def images_of(given: Sequence[str]) -> list[Asked]:
    """The images that paths, folders and patterns (`*`, `?`, `**`) stand for, in their order; within one sorted by path.

    Of a folder all files in it and below it that have the ending of an image's type. Raises `UsageError` for what is not there, or
    holds no image.
    """
    found: list[Asked] = []
    for one in given:
        path = Path(one)
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_TYPES and file.is_file())
            if not inside:
                raise UsageError(f"{one} holds no image ({', '.join(IMAGE_TYPES)})")
            found += [Asked(str(file), file.relative_to(path).as_posix()) for file in inside]
        elif path.exists():
            found.append(Asked(one, path.name))
        elif any(sign in one for sign in "*?["):
            matching = sorted(file for file in Path(path.anchor).glob(_below_anchor(path)) if file.is_file())
            if not matching:
                raise UsageError(f"no file matches {one}")
            found += [Asked(str(file), file.name) for file in matching]
        else:
            raise UsageError(
                f"there is no {one}: give images, folders, patterns in quotes, or - for paths on standard input"
            )
    return found


def _below_anchor(path: Path) -> str:
    return str(path.relative_to(path.anchor)) if path.anchor else str(path)


def images_from_lines(lines: Iterable[str]) -> Iterator[Asked]:
    """An image for each line, as it comes; empty lines are none."""
    for line in lines:
        path = line.rstrip("\r\n")
        if path:
            yield Asked(path, Path(path).name)
