"""The images that a command is given: files, folders, patterns, or names on standard input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fod_bench.datasets.folder import FOLDER_TYPES
from fod_bench.datasets.walk import folders, is_visible, visible_files
from fod_bench.errors import UsageError

STDIN = "-"


class InputImage(NamedTuple):
    """An image that is to be scored."""

    path: str
    name: str
    """What is written for it is named so: its path below the folder, or below the part of a pattern without signs, that was given;
    of one that was given by itself the file's name."""


def images_of(given: Sequence[str]) -> list[InputImage]:
    """The images that paths, folders and patterns (`*`, `?`, `**`) stand for, in their order; within one sorted by path.

    Of a folder all files in it and below it that have the ending of an image's type, hidden ones left out. Raises `UsageError` for
    what is not there, or holds no image, `DatasetError` for a folder that may not be looked into.
    """
    found: list[InputImage] = []
    for one in given:
        path = Path(one)
        if path.is_dir():
            inside = sorted(_images_below(path))
            if not inside:
                raise UsageError(f"{one} holds no image ({', '.join(FOLDER_TYPES)})")
            found += _named_below(path, inside)
        elif path.exists():
            found.append(InputImage(one, path.name))
        elif _is_pattern(one):
            fixed = next(parent for parent in path.parents if not _is_pattern(str(parent)))
            matching = sorted(_matching(fixed, path.relative_to(fixed)))
            if not matching:
                raise UsageError(f"no file matches {one}")
            found += _named_below(fixed, matching)
        else:
            raise UsageError(
                f"there is no {one}: give images, folders, patterns in quotes, or - for paths on standard input"
            )
    return found


def _images_below(folder: Path) -> Iterator[Path]:
    """Links to folders are not followed: they may lead in a circle."""
    yield from (file for file in visible_files(folder) if file.suffix.lower() in FOLDER_TYPES)
    for name in folders(folder):
        if not (folder / name).is_symlink():
            yield from _images_below(folder / name)


def _matching(folder: Path, pattern: Path) -> Iterator[Path]:
    """Files below the folder; hidden ones only of a pattern that says so by a dot, as in a shell."""
    hidden_too = any(part.startswith(".") for part in pattern.parts)
    for file in folder.glob(str(pattern)):
        if file.is_file() and (hidden_too or all(map(is_visible, file.relative_to(folder).parts))):
            yield file


def _named_below(folder: Path, files: Iterable[Path]) -> list[InputImage]:
    return [InputImage(str(file), file.relative_to(folder).as_posix()) for file in files]


def _is_pattern(path: str) -> bool:
    return any(sign in path for sign in "*?[")


def images_from_lines(lines: Iterable[str]) -> Iterator[InputImage]:
    """An image for each line, as it comes; empty lines are none."""
    for line in lines:
        path = line.rstrip("\r\n")
        if path:
            yield InputImage(path, Path(path).name)
