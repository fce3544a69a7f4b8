"""What stands in the place of an object in a folder, which anybody may have put there: a file, or what is none."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from fod_bench.store.base import ObjectInfo

NO_OBJECT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""What opening a file raises where there is no object, be it for something that stands on the way."""
DELETE = "delete it to have it made anew"
"""What to do with what stands in an object's place."""


class OddError(Exception):
    """What stands in an object's place is none, and no folder either."""


def regular_file(path: Path) -> BinaryIO:
    """The file at `path`, open for reading. Raises `OddError` for what is no file: a pipe would be waited for without end."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            if not path.is_symlink():  # a folder above it is the link
                raise FileNotFoundError from None
            raise OddError(f"a link that leads to itself stands in its place; {DELETE}") from None
        if error.errno == errno.ENXIO:
            raise OddError(f"no file but a socket or device stands in its place; {DELETE}") from None
        raise
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(handle, "rb")
    os.close(handle)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError
    raise OddError(f"no file but a pipe or device stands in its place; {DELETE}")


def obstacle(top: Path, name: str) -> str | None:
    """What keeps a file from being at `name` below `top`, and what to do.

    A kind's own folder, such as `trials`, is of no single object: what is wrong with it is the store's fault.
    """
    place = top / name
    for folder in [*place.parents[: max(0, name.count("/") - 1)]][::-1]:  # from the kind's folder down
        if os.path.lexists(folder) and not folder.is_dir():
            return f"{folder} is in the way, and no folder; move it away"
    if place.is_dir() and not place.is_symlink():
        return f"a folder stands in its place; move {place} away"
    return None


def info(name: str, path: Path) -> ObjectInfo | None:
    """Size and time of the file at `path`, of anything else that is no folder its own with no size; None for a folder.

    Raises `FileNotFoundError` and its like where there is nothing.
    """
    try:
        status = path.stat()
    except OSError as error:
        if not path.is_symlink():
            if error.errno == errno.ELOOP:  # a folder above it is a link that leads to itself
                raise FileNotFoundError from None
            raise
        status = path.lstat()
        if not (isinstance(error, FileNotFoundError) or error.errno == errno.ELOOP):
            raise
    return info_of(name, status)


def info_of(name: str, status: os.stat_result) -> ObjectInfo | None:
    """The same of what is known to stand there."""
    if stat.S_ISDIR(status.st_mode):
        return None
    return ObjectInfo(name, status.st_size if stat.S_ISREG(status.st_mode) else 0, status.st_mtime, _tag(status))


def _tag(status: os.stat_result) -> str:
    """Another after every change of the file: nobody sets the time of the last change of an inode by hand."""
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_ctime_ns:x}"


def leads_down(entry: os.DirEntry[str], above: tuple[tuple[int, int], ...]) -> bool:
    """Whether it is a folder, or a link to one, that leads to other places than back to those on the way here."""
    try:
        if not entry.is_dir():
            return False
        status = entry.stat()
        return (status.st_dev, status.st_ino) not in above
    except OSError:  # a link that leads to itself, or what went meanwhile
        return False
