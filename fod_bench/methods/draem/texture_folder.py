"""A folder of texture images: what is in it, and the digest by which a training names it. Knows no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fod_bench.datasets.digests import file_digests
from fod_bench.datasets.images import IMAGE_TYPES
from fod_bench.datasets.walk import subfolders, visible_files
from fod_bench.errors import DatasetError

_DIGITS = 16


def texture_files(folder: Path) -> list[Path]:
    """Every image in `folder` and up to four folders deep in it, sorted by path. Raises DatasetError where there is none."""
    if not folder.is_dir():
        raise DatasetError(f"textures: there is no folder {folder}; name a folder of images, or set `textures: drawn`")
    places = [folder, *(folder / name for name in subfolders(folder))]
    found = [path for place in places for path in visible_files(place) if path.suffix.lower() in IMAGE_TYPES]
    if not found:
        types = ", ".join(suffix.removeprefix(".") for suffix in IMAGE_TYPES)
        raise DatasetError(f"textures: no images ({types}) are in folder {folder} or the folders in it")
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def folder_digest(folder: Path) -> str:
    """Digest of the names and contents of a folder's images, 16 hexadecimal digits. Raises DatasetError, as `texture_files`.

    Files are read once; what was found is remembered as it is of data sets.
    """
    files = texture_files(folder)
    digest = hashlib.sha256()
    for path, content in zip(files, file_digests(folder, files), strict=True):
        digest.update(f"{content} {path.relative_to(folder).as_posix()}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:_DIGITS]
