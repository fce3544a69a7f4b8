"""What lies in a bucket's data set: a file at its root that names every other file with its size and SHA-256.

    fod-bench-manifest.json    {"format": 1, "files": {"bottle/train/good/000.png": [71231, "9f86…"], …}}

It is written last, so that all that it names is there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fod_bench.datasets.parallel import in_threads
from fod_bench.datasets.walk import is_visible, special_files
from fod_bench.errors import DatasetError, plain_message
from fod_bench.store.folder import files

MANIFEST = "fod-bench-manifest.json"
MAX_BYTES = 256 << 20
"""Of a manifest: some two million files."""
_LONGEST = 255
"""Bytes of a file's or folder's name, which file systems take."""


class Listed(NamedTuple):
    """A file of a data set."""

    size: int
    """Bytes."""
    digest: str
    """SHA-256, in hexadecimal."""

    @staticmethod
    def of(content: bytes) -> Listed:
        """A file of this content."""
        return Listed(len(content), hashlib.sha256(content).hexdigest())


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal[1]
    files: dict[
        str,
        tuple[Annotated[int, Field(ge=0)], Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]],
    ]


def parse_manifest(content: bytes, place: str) -> dict[str, Listed]:
    """Posix path below the root to what is there. Raises `DatasetError` for what is no manifest, or names a file elsewhere."""
    try:
        found = _Content.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise DatasetError(f"{place} is no manifest of a data set: {at}: {plain_message(first)}") from None
    for name in found.files:
        if not _is_below(name):
            raise DatasetError(f"{place} names {name!r}, which is no path of a file below it: nothing of it is read")
    folders = {str(parent) for name in found.files for parent in Path(name).parents}
    for name in found.files.keys() & folders:
        raise DatasetError(f"{place} names {name!r} as a file and as a folder: nothing of it is read")
    return {name: Listed(*entry) for name, entry in found.files.items()}


def dump_manifest(listed: Mapping[str, Listed]) -> bytes:
    """The manifest as it is stored, a line for each file."""
    lines = [f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(listed[name])}" for name in sorted(listed)]
    return ('{"format": 1, "files": {\n' + ",\n".join(lines) + "\n}}\n").encode()


def files_below(folder: Path) -> dict[str, Path]:
    """Posix path to file, of everything in a data set's folder that may be read: hidden files and a manifest are passed over.

    Raises `DatasetError` where there is nothing, something that cannot be listed, or a name that no manifest can have.
    """
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder}")
    if special := special_files(folder):
        raise DatasetError(f"{special[0]} is no file but a pipe, a socket or a device: move it away")
    found: dict[str, Path] = {}
    for path in _walked(folder, ()):
        name = path.relative_to(folder).as_posix()
        if name == MANIFEST:
            continue
        if not _is_below(name):
            raise DatasetError(f"{path} has a name that is no UTF-8, or too long: rename it")
        found[name] = path
    if not found:
        raise DatasetError(f"{folder} holds no file")
    return dict(sorted(found.items()))


def list_files(paths: Mapping[str, Path]) -> dict[str, Listed]:
    """The manifest of files on disk, every one read. Raises `DatasetError` naming one that cannot be read."""

    def listed(path: Path) -> Listed:
        try:
            with path.open("rb") as file:
                digest = files.digest_of(file)
                return Listed(file.tell(), digest)
        except OSError as error:
            raise DatasetError(f"file {path} cannot be read: {error.strerror or error}") from error

    return dict(zip(paths, in_threads(listed, list(paths.values())), strict=True))


def content_name(listed: Iterator[Listed]) -> str:
    """What stands for the content of several files, one after the other: hexadecimal, as a SHA-256."""
    lines = (f"{entry.digest} {entry.size}\n" for entry in listed)
    return hashlib.sha256(("files\n" + "".join(lines)).encode()).hexdigest()


def _is_below(name: str) -> bool:
    """Whether it is the path of a file below a root, and nowhere else, as every file system takes it."""
    try:
        parts = name.encode().split(b"/")
    except UnicodeEncodeError:
        return False
    return all(part not in (b"", b".", b"..") and b"\0" not in part and len(part) <= _LONGEST for part in parts)


def _walked(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    """Visible files at any depth. Raises `DatasetError`; a folder that leads back to one above is passed over."""
    try:
        status = folder.stat()
        with os.scandir(folder) as listed:
            entries = [entry for entry in listed if is_visible(entry.name)]
    except OSError as error:
        raise DatasetError(f"folder {folder} cannot be listed: {error.strerror or error}") from error
    own = status.st_dev, status.st_ino
    if own in above:
        return
    for entry in entries:
        path = folder / entry.name
        if path.is_dir():
            yield from _walked(path, (*above, own))
        else:
            yield path
