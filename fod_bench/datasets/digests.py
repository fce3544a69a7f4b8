"""Digests of files, remembered between runs so that an unchanged data set is not read twice."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from fod_bench.datasets.parallel import in_threads
from fod_bench.errors import DatasetError
from fod_bench.machine.cache_folder import cache_folder

_FORMAT = 2
"""Of the cache; one of another format is made anew."""

_SETTLED_NS = 2_000_000_000  # a file touched more recently could change again without its time stamps moving


class _Entry(NamedTuple):
    """What is known of a file."""

    identity: tuple[int, ...]
    """See `_identity`; while it is the same, so is the content."""
    digest: str


def file_digests(folder: Path, paths: Iterable[Path]) -> list[str]:
    """SHA-256 (hex) of each of `paths` (all below `folder`), in order; remembered in one small JSON file per folder.

    A file counts as unchanged while its path, size, both time stamps (modified and changed), inode and device are. A cache that is
    damaged or cannot be written costs time only. Raises DatasetError naming a file that cannot be read.
    """
    digests, _ = _digests(folder, list(paths), trusting=True)
    return digests


def file_digests_anew(folder: Path, paths: Iterable[Path]) -> tuple[list[str], list[Path]]:
    """`file_digests` with every file read, and the files of which the cache had another digest; it is put right."""
    return _digests(folder, list(paths), trusting=False)


def _digests(folder: Path, paths: list[Path], trusting: bool) -> tuple[list[str], list[Path]]:
    cache = cache_folder() / "digests" / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:24]}.json"
    known = _load(cache)
    names = [path.relative_to(folder).as_posix() for path in paths]
    now = time.time_ns()

    def digest(path: Path, name: str) -> tuple[_Entry, bool]:
        """The file's entry, and whether it may be remembered."""
        try:
            with path.open("rb") as file:  # opened first: a network file system asks its server only then
                status = os.fstat(file.fileno())
                remembered = known.get(name)
                if trusting and remembered is not None and remembered.identity == _identity(status):
                    return remembered, True
                content = hashlib.sha256(file.read()).hexdigest()
                steady = _identity(os.fstat(file.fileno())) == _identity(status)
        except OSError as error:
            raise DatasetError(f"file {path} cannot be read: {error.strerror or error}") from error
        settled = now - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS  # not so one from the future
        return _Entry(_identity(status), content), steady and settled

    found = list(in_threads(lambda pair: digest(*pair), list(zip(paths, names, strict=True))))
    asked = set(names)
    others = {name: entry for name, entry in known.items() if name not in asked}
    keep = others | {name: entry for name, (entry, lasting) in zip(names, found, strict=True) if lasting}
    if keep != known:
        _save(cache, keep)
    wrong = [
        path
        for path, name, (entry, _) in zip(paths, names, found, strict=True)
        if name in known and known[name].identity == entry.identity and known[name].digest != entry.digest
    ]
    return [entry.digest for entry, _ in found], wrong


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """Size, times of modification and of change in ns, inode and device.

    Anyone may set the time of modification, and files may be exchanged by renaming them or a folder above. The time of change
    is set by the file system alone, the inode tells one file from another.
    """
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev


def _load(cache: Path) -> dict[str, _Entry]:
    """Path below the folder to what is known of the file."""
    try:
        content = json.loads(cache.read_text())
        if content["format"] != _FORMAT:
            return {}
        files = content["files"].items()
        return {str(name): _Entry(tuple(map(int, identity)), str(digest)) for name, (identity, digest) in files}
    except (OSError, ValueError, TypeError, AttributeError, LookupError):
        return {}


def _save(cache: Path, known: dict[str, _Entry]) -> None:
    """Replace the cache in one move: a reader beside us sees the old file or the new one."""
    with contextlib.suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=cache.parent, prefix=".digests-")
        try:
            with os.fdopen(handle, "w") as file:
                json.dump({"format": _FORMAT, "files": known}, file)
            Path(temporary).replace(cache)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
