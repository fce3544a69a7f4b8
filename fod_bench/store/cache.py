"""What a node has read from a distant store, kept on its own disk under its SHA-256.

    <folder>/<digest>                an object's content; the time of the file is that of its last use
    <folder>/.temporary/<digest>     one that is being read, locked by who reads it

All processes of a node share the folder, and several nodes may. A file here is never changed, only removed, so what was opened
stays whole. Nothing is lost when all of it goes, and nothing fails when there is no room for it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from fod_bench.errors import StoreError
from fod_bench.machine import system
from fod_bench.machine.cache_folder import cache_folder
from fod_bench.store.folder import files

_LOG = logging.getLogger(__name__)

_GIB = 1 << 30
_DEFAULT_BYTES = 50 * _GIB
_STALLED_SECONDS = 60.0
"""A reader that has written nothing for so long is not waited for."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DIGEST = re.compile(r"[0-9a-f]{64}")

Pieces = Callable[[], Iterator[bytes | memoryview]]
Check = Callable[[BinaryIO], bool]
"""Whether what is read from a file's beginning is what its name stands for."""


class NodeCache:
    """A bounded folder of files named by their content."""

    def __init__(self, folder: Path, limit_bytes: int | None = None) -> None:
        """`limit_bytes`: what all files may take; None: 50 GiB, but no more than half of what the disk has for them."""
        self._folder, self._limit = folder, limit_bytes
        self._temporary = folder / ".temporary"
        self._checked: set[tuple[str, int]] = set()
        self._warned = False

    @classmethod
    def of_this_node(cls) -> NodeCache:
        """The one that `FOD_BENCH_CACHE` (a folder) and `FOD_BENCH_CACHE_GIB` (its size; 0: none) describe.

        Raises `StoreError` for a size that is none.
        """
        folder, size = os.environ.get("FOD_BENCH_CACHE"), os.environ.get("FOD_BENCH_CACHE_GIB")
        if size is not None and not re.fullmatch(r"[0-9]+(\.[0-9]*)?", size):
            raise StoreError(f"FOD_BENCH_CACHE_GIB is {size!r}; it should be a number of GiB, such as 20")
        limit = None if size is None else int(float(size) * _GIB)
        return cls(Path(folder).expanduser() if folder else cache_folder() / "objects", limit)

    def open(self, digest: str, size: int, pieces: Pieces, check: Check | None = None) -> BinaryIO:
        """A file with the content of SHA-256 `digest` and `size` bytes, open for reading.

        With `check` the name `digest` may stand for the content in another way, by which a file that is there is checked.

        What is not there yet is read from `pieces()`, once for all who want it at the same time. `pieces` raises whatever it
        likes when it cannot give all of it, or when it was not what `digest` says; nothing of it is kept then. Raises
        `StoreError` when there is room for it neither on disk nor in memory.
        """
        if not _DIGEST.fullmatch(digest):
            raise StoreError(f"{digest!r} is no SHA-256 in hexadecimal")
        if self._limit == 0:
            return _in_memory(pieces)
        try:
            try:
                return self._kept(digest, check) or self._filled(digest, size, pieces, check)
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                self._make_room(size, at_least=size)
                return self._filled(digest, size, pieces, check)
        except OSError as error:
            if not self._warned:
                self._warned = True
                _LOG.warning(
                    "cache     %s cannot be used (%s): what is read is kept in memory; let FOD_BENCH_CACHE name another folder",
                    self._folder,
                    error.strerror,
                )
            return _in_memory(pieces)

    def _kept(self, digest: str, check: Check | None) -> BinaryIO | None:
        """The file that is there. Its content is checked when this process uses it for the first time."""
        path = self._folder / digest
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return None
        known = digest, os.fstat(file.fileno()).st_ino
        try:
            if known not in self._checked:
                if not (check(file) if check else files.digest_of(file) == digest):
                    _LOG.warning("damaged   %s in this node's cache: read anew", path)
                    file.close()
                    path.unlink(missing_ok=True)
                    return None
                file.seek(0)
                self._checked.add(known)
            with contextlib.suppress(OSError):  # another user's cache
                os.utime(path)
        except OSError:
            file.close()
            raise
        return file

    def _filled(self, digest: str, size: int, pieces: Pieces, check: Check | None) -> BinaryIO:
        """The file, read from `pieces` here or by another meanwhile."""
        files.make_folder(self._temporary)
        self._sweep()
        self._make_room(size)
        path = self._temporary / digest
        with self._locked(path) as file:
            kept = self._kept(digest, check)
            if kept is not None:
                path.unlink()
                return kept
            try:
                file.truncate(0)
                _reserve(file, size)
                for piece in pieces():
                    file.write(piece)
                file.flush()
                opened = path.open("rb")
                path.replace(self._folder / digest)
            except BaseException:
                with contextlib.suppress(OSError):
                    path.unlink()
                raise
        self._checked.add((digest, os.fstat(opened.fileno()).st_ino))
        with contextlib.suppress(OSError):
            self._make_room(0)  # others may have filled it up at the same time
        return opened

    @contextlib.contextmanager
    def _locked(self, path: Path) -> Iterator[BinaryIO]:
        """The file `path`, new or left by one who died, locked. Raises `OSError` when its owner does not go on with it."""
        while True:
            with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
                seen, since = -1, time.monotonic()
                while not system.try_lock(file):
                    status = os.fstat(file.fileno())
                    if status.st_mtime_ns != seen:
                        seen, since = status.st_mtime_ns, time.monotonic()
                    elif time.monotonic() - since > _STALLED_SECONDS:
                        raise OSError(errno.EBUSY, f"another process has stopped in the middle of {path}")
                    time.sleep(0.02)
                if _is_at(path, file):  # and not moved to its place, or removed, while we waited
                    yield file
                    return

    def _make_room(self, size: int, at_least: int = 0) -> None:
        """Remove what was not used for longest until `size` more bytes are within the limit, and `at_least` bytes are gone.

        Raises `OSError` when the limit is less than `size`.
        """
        held: list[tuple[float, int, Path]] = []
        taken = sum(status.st_blocks * 512 for _, status in _entries(self._temporary))
        for path, status in _entries(self._folder):
            if _DIGEST.fullmatch(path.name):
                held.append((status.st_mtime, status.st_size, path))
        taken += sum(bytes_ for _, bytes_, _ in held)
        limit = self._limit
        if limit is None:
            limit = min(_DEFAULT_BYTES, (shutil.disk_usage(self._folder).free + taken) // 2)
        if size > limit:
            raise OSError(errno.E2BIG, f"{size / _GIB:.1f} GiB are more than the {limit / _GIB:.1f} GiB it may hold")
        goal = min(limit - size, taken - at_least)
        for _, bytes_, path in sorted(held):
            if taken <= goal:
                break
            path.unlink(missing_ok=True)
            taken -= bytes_

    def _sweep(self) -> None:
        """Remove what killed processes left."""
        for path, _ in _entries(self._temporary):
            with contextlib.suppress(OSError), path.open("rb") as file:
                if system.try_lock(file) and _is_at(path, file):
                    path.unlink()


def _in_memory(pieces: Pieces) -> BinaryIO:
    """A file without a name that lies in memory."""
    try:
        file = system.memory_file()
    except OSError as error:
        raise StoreError(f"no room for a file in memory: {error.strerror}") from error
    try:
        for piece in pieces():
            file.write(piece)
        file.seek(0)
    except OSError as error:
        file.close()
        raise StoreError(f"no room for a file in memory: {error.strerror}") from error
    except BaseException:
        file.close()
        raise
    return file


def _reserve(file: BinaryIO, size: int) -> None:
    """Take the room on disk beforehand, where the file system can: a disk too full is then found before all is read."""
    try:
        system.reserve(file, size)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise


def _entries(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Files in `folder` that are still there when they are looked at."""
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                if entry.is_file(follow_symlinks=False):
                    yield Path(entry.path), entry.stat()


def _is_at(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
