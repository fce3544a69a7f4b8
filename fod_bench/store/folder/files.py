"""Durable steps on files, of which a store in a folder is made. POSIX only; all of them raise `OSError`."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_CHUNK_BYTES = 1 << 20
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """The rest of `file`, a mebibyte at a time."""
    while piece := file.read(_CHUNK_BYTES):
        yield piece


def digest_of(file: BinaryIO) -> str:
    """SHA-256 of the rest of `file`, in hexadecimal."""
    digest = hashlib.sha256()
    for piece in pieces(file):
        digest.update(piece)
    return digest.hexdigest()


def copy(source: BinaryIO, target: BinaryIO) -> str:
    """Copy the rest of `source` to `target`, make it durable, and return its SHA-256."""
    digest = hashlib.sha256()
    for piece in pieces(source):
        digest.update(piece)
        target.write(piece)
    target.flush()
    os.fsync(target.fileno())
    return digest.hexdigest()


def move(source: Path, path: Path) -> None:
    """Give the file `source` the name `path`, durably, in place of a file of that name."""
    source.replace(path)
    sync(path.parent)


def move_new(source: Path, path: Path) -> bool:
    """Give the file `source` the name `path`, durably; False when there is a file of that name already.

    Atomic where the file system has hard links; elsewhere the caller's lock must keep others out.
    """
    try:
        path.hardlink_to(source)
    except FileExistsError:
        if not path.is_file():
            raise
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        source.replace(path)
    sync(path.parent)
    return True


def sync(folder: Path) -> None:
    """Make the entries of `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Make `folder` and its parents, durably, where they are missing."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        sync(made.parent)


def remove(path: Path, top: Path) -> None:
    """Remove the file `path`, durably, and the folders between it and `top` that are empty then. Missing is fine."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()
        sync(path.parent)
    folder = path.parent
    with contextlib.suppress(OSError):  # the first that is not empty ends it
        while folder != top:
            folder.rmdir()
            folder = folder.parent
