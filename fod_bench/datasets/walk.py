"""Listing folders: what a person sees in them, and nothing that would hang when it is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fod_bench.datasets.names import composed
from fod_bench.errors import DatasetError

_NOISE = ("thumbs.db", "desktop.ini")
_DEEPEST = 6
"""Folders below a category's own in which files are looked for at most: its split, four for the kind, one for an image's masks."""


def folders(place: Path) -> list[str]:
    """Names of the folders in `place`, sorted, hidden ones left out; none where `place` is no folder."""
    return sorted(path.name for path in _listed(place) if path.is_dir() and not path.name.startswith("."))


def visible_files(place: Path) -> list[Path]:
    """Files in `place`, sorted; hidden ones, what file managers leave behind, and what is no file are passed over.

    A link that leads nowhere is listed, so that reading it says so.
    """
    return [path for path in _visible(place) if path.is_file() or not path.exists()]


def special_files(place: Path, depth: int = _DEEPEST) -> list[Path]:
    """Pipes, sockets and devices in `place` and up to `depth` folders below it, sorted: opening one may never end.

    A folder that several links lead to is looked into once. One that may not be listed is passed over: whoever reads it says so.
    """
    return sorted(_special(place, depth, set()))


def _special(place: Path, depth: int, seen: set[tuple[int, int]]) -> Iterator[Path]:
    try:
        status = place.stat()
        with os.scandir(place) as listed:
            entries = sorted((entry for entry in listed if is_visible(entry.name)), key=lambda entry: entry.name)
    except OSError:
        return
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    for entry in entries:
        if entry.is_file(follow_symlinks=False):  # the listing says so: no file is asked by itself
            continue
        path = place / entry.name
        if path.is_dir():
            if depth:
                yield from _special(path, depth - 1, seen)
        elif path.exists() and not path.is_file():
            yield path


def _visible(place: Path) -> list[Path]:
    return sorted(path for path in _listed(place) if is_visible(path.name) and not path.is_dir())


def is_visible(name: str) -> bool:
    """Whether a person sees it in a folder, and it is none of what file managers leave behind."""
    return not name.startswith(".") and name.lower() not in _NOISE


def _listed(place: Path) -> list[Path]:
    """What lies in `place`; nothing where it is no folder. Raises DatasetError where it may not be looked into."""
    try:
        return list(place.iterdir()) if place.is_dir() else []
    except OSError as error:
        raise DatasetError(f"folder {place} cannot be listed: {error.strerror or error}") from error


def below(place: Path, name: str) -> Path:
    """The folder `name` (a posix path) below `place`; if there is none, one of that name in another form of Unicode."""
    for part in name.split("/"):
        there = place / part
        if not there.is_dir():
            there = next((place / other for other in folders(place) if composed(other) == composed(part)), there)
        place = there
    return place


def subfolders(place: Path, depth: int = 4) -> list[str]:
    """Posix paths below `place` of all visible folders in it, parents first, down to `depth`."""
    found = []
    for name in folders(place):
        found.append(name)
        if depth > 1:
            found += [f"{name}/{below}" for below in subfolders(place / name, depth - 1)]
    return found
