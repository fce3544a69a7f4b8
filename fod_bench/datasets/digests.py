"""Digests of files, remembered between runs so that an unchanged data set is not read twice."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fod_bench.errors import DatasetError
from fod_bench.machine.cache_folder import cache_folder

_SETTLED_NS = 2_000_000_000  # a file touched more recently could change again without its time stamp moving

_Known = dict[str, tuple[int, int, str]]  # path below the folder -> size, modification time in ns, digest


def file_digests(folder: Path, paths: Iterable[Path]) -> list[str]:
    """SHA-256 (hex) of each of `paths` (all below `folder`), in order; remembered in one small JSON file per folder.

    A file counts as unchanged while its path, size and modification time are. A cache that is damaged or cannot be
    written costs time only. Raises DatasetError naming a file that cannot be read.
    """
    paths = list(paths)
    cache = cache_folder() / "digests" / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:24]}.json"
    known = _load(cache)
    now = time.time_ns()

    def digest(path: Path) -> tuple[int, int, str]:
        try:
            status = path.stat()
            remembered = known.get(path.relative_to(folder).as_posix())
            if remembered is not None and remembered[:2] == (status.st_size, status.st_mtime_ns):
                return remembered
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise DatasetError(f"file {path} cannot be read: {error.strerror or error}") from error
        return status.st_size, status.st_mtime_ns, content

    with ThreadPoolExecutor(max_workers=min(8, 2 * (os.cpu_count() or 1))) as pool:
        found = list(pool.map(digest, paths))
    keep = {
        path.relative_to(folder).as_posix(): entry
        for path, entry in zip(paths, found, strict=True)
        if now - entry[1] > _SETTLED_NS
    }
    if not keep.items() <= known.items():
        _save(cache, known | keep)
    return [content for *_, content in found]


def _load(cache: Path) -> _Known:
    try:
        content = json.loads(cache.read_text())
        return {str(path): (int(size), int(time_ns), str(sha)) for path, (size, time_ns, sha) in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _save(cache: Path, known: _Known) -> None:
    """Replace the cache in one move: a reader beside us sees the old file or the new one."""
    with contextlib.suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=cache.parent, prefix=".digests-")
        try:
            with os.fdopen(handle, "w") as file:
                json.dump(known, file)
            Path(temporary).replace(cache)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
