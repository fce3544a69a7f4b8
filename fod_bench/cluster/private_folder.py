"""The folder of a Ray of one's own: sockets, logs and token, for this user alone. It goes with the run."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fod_bench.cluster import guard
from fod_bench.errors import ClusterError
from fod_bench.machine import system

_PREFIX = "fod-"  # short, see `longest_place`
_SOCKET_BYTES = 103 if sys.platform == "darwin" else 107
"""Longest path of a socket that the system takes."""
_BELOW = len(f"/{_PREFIX}12345678/r/session_2026-01-31_23-59-59_123456_4194304/sockets/plasma_store")
"""What Ray's longest path of a socket has below the place of this folder."""


@contextmanager
def private_folder(note: Callable[[str], None]) -> Iterator[Path]:
    """A new folder of mode 0700 with a short path.

    When the block ends, or this process is killed, a guard ends what is left of the Ray in it and removes it; if the guard is
    killed too, a later run does.

    It lies in `RAY_TMPDIR`, else where `TMPDIR` says, else in `/tmp`. Where that has too long a path for Ray's sockets it lies
    in `/tmp`, and `note` is told.

    Raises:
        ClusterError: there is no place for it; says what to set.
    """
    place = _place(note)
    remove_orphans(place)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))  # of mode 0700
    lock = _locked(folder)
    guarding = subprocess.Popen(
        [sys.executable, "-I", guard.__file__, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        pass_fds=[lock],
        start_new_session=True,
    )
    try:
        yield folder
    finally:
        os.close(lock)
        guarding.communicate()


def remove_orphans(place: Path) -> None:
    """Clean up after runs in `place` that were killed with their guards: folders of this user that nobody holds the lock of."""
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # it is just going, or somebody's own
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                continue
            lock = os.open(folder / guard.LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                if system.try_lock(lock):
                    guard.clean(folder, grace=0.0)
            finally:
                os.close(lock)


def longest_place() -> int:
    """Bytes that the path of the place of this folder may have."""
    return _SOCKET_BYTES - _BELOW


def _place(note: Callable[[str], None]) -> Path:
    wanted = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()).absolute()
    with suppress(OSError):  # Ray makes it, too
        wanted.mkdir(parents=True, exist_ok=True)
    if not _can_be_used(wanted):
        raise ClusterError(
            f"Ray needs a temporary folder, and {wanted} cannot be written; set RAY_TMPDIR to one that can, with a path "
            f"of at most {longest_place()} characters"
        )
    if _length(wanted) <= longest_place():
        return wanted
    usual = Path("/tmp")
    if not _can_be_used(usual):
        raise ClusterError(
            f"Ray makes sockets in its temporary folder, for which the path {wanted} is too long: {_length(wanted)} characters, "
            f"of at most {longest_place()}; set RAY_TMPDIR to a folder with a shorter one"
        )
    note(
        f"Ray's temporary folder is in {usual}: the path {wanted} is too long for its sockets ({_length(wanted)} characters, of "
        f"at most {longest_place()}); RAY_TMPDIR chooses another"
    )
    return usual


def _can_be_used(place: Path) -> bool:
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)


def _length(place: Path) -> int:
    return len(os.fsencode(place))


def _locked(folder: Path) -> int:
    """Open the folder's lock, held for as long as this process or its guard lives; nobody sees it before it is held."""
    lock = os.open(folder / f"{guard.LOCK}.new", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    with suppress(OSError):  # a file system without locks, on which nobody else gets it either
        system.try_lock(lock)
    (folder / f"{guard.LOCK}.new").rename(folder / guard.LOCK)
    return lock
