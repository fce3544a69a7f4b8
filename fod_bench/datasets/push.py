"""Bringing a data set into a bucket: every file, then the manifest that names them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fod_bench.datasets.manifest import MANIFEST, Listed, dump_manifest, files_below, list_files
from fod_bench.datasets.parallel import in_threads
from fod_bench.datasets.walk import is_visible
from fod_bench.errors import DatasetError
from fod_bench.store.address import bucket_address
from fod_bench.store.base import ObjectMissingError
from fod_bench.store.folder import files as durable

_WHAT = "data set"


@dataclass
class Pushed:
    """What was brought there."""

    uri: str
    """The root, as a job takes it."""
    files: int = 0
    bytes: int = 0
    there: int = 0
    """Files that were there already."""


def push(folder: Path, uri: str, sent: Callable[[int], object] = lambda size: None) -> Pushed:
    """Write the files of a data set below `uri`, those that are not there yet, and then its manifest.

    `sent` is told the size of each file that is there by now.

    Raises `DatasetError` for a file that cannot be read, `StoreError` for the bucket's faults.
    """
    from fod_bench.store.s3.files import BucketFiles, FileInfo

    bucket = BucketFiles(bucket_address(uri, _WHAT), _WHAT)
    paths = files_below(folder)
    with suppress(ObjectMissingError):
        bucket.read(MANIFEST, 0)  # whether the bucket is there at all
    listed = list_files(paths)
    pushed = Pushed(bucket.uri)

    def write(name: str) -> tuple[str, Listed, bool]:
        entry = listed[name]
        if bucket.info(name) == FileInfo(*entry):
            return name, entry, False
        info = bucket.write(name, paths[name])
        return name, Listed(info.size, info.digest or entry.digest), True

    written: dict[str, Listed] = {}
    for name, entry, new in in_threads(write, list(paths)):
        written[name] = entry
        pushed.files += 1
        pushed.bytes += entry.size if new else 0
        pushed.there += not new
        sent(entry.size)
    bucket.write(MANIFEST, dump_manifest(written))
    return pushed


def write_manifest(folder: Path) -> tuple[Path, int]:
    """Write the manifest of a folder into it, to be copied with it; its path, and how many files it names.

    Raises `DatasetError` when something cannot be read or written.
    """
    content = list_files(files_below(folder))
    path = folder / MANIFEST
    temporary = folder / f".{MANIFEST}.new"
    try:
        temporary.write_bytes(dump_manifest(content))
        durable.move(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DatasetError(f"{path} cannot be written: {error.strerror or error}") from error
    return path, len(content)


def write_bucket_manifest(uri: str) -> tuple[str, int]:
    """Write the manifest of the files that lie below `uri`, each of which is read; its place, and how many files it names.

    Raises `DatasetError` where there is none, `StoreError` for the bucket's faults.
    """
    from fod_bench.store.s3.files import BucketFiles

    bucket = BucketFiles(bucket_address(uri, _WHAT), _WHAT)
    sizes = {
        name: size
        for name, size in bucket.list()
        if name != MANIFEST and not name.endswith("/") and all(map(is_visible, name.split("/")))
    }
    if not sizes:
        raise DatasetError(f"{bucket.uri} holds no file")

    def listed(name: str) -> Listed:
        try:
            content = bucket.read(name, sizes[name])
        except ObjectMissingError:
            content = None
        if content is None:
            raise DatasetError(f"{bucket.location(name)} changed while it was read; write the manifest again")
        return Listed.of(content)

    found = dict(zip(sizes, in_threads(listed, list(sizes)), strict=True))
    bucket.write(MANIFEST, dump_manifest(found))
    return bucket.location(MANIFEST), len(found)
