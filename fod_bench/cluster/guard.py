"""A process beside a run that ends what is left of its Ray, and removes its folder, once the run has ended or was killed.

Ray's own agents outlive a killed run by a minute, and a worker its raylet for good. This is run as a script, and of the standard
library alone, so that it is there at once and takes little. It gets the folder, and waits for the end of its standard input, which
the run holds.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

LOCK = "fod-bench.lock"
"""File in the folder that a run and its guard hold a lock of."""
GRACE_SECONDS = 3.0
"""Time that Ray's processes have to end by themselves."""
_REMOVAL_SECONDS = 10.0


def clean(folder: Path, grace: float = GRACE_SECONDS) -> None:
    """End the processes that belong to `folder`, after `grace` seconds by force, and remove it."""
    end = time.monotonic() + grace
    while left := _processes(folder):
        if time.monotonic() >= end:
            for process in left:
                with suppress(OSError):
                    os.kill(process, signal.SIGKILL)
        time.sleep(0.05)
    _remove(folder)


def _processes(folder: Path) -> list[int]:
    """Living processes of the Ray whose folder it is. Where the system has no `/proc`, none is found."""
    below = f"{folder}/"
    variable = f"RAY_AUTH_TOKEN_PATH={below}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is somebody else's
            if int(entry.name) == os.getpid() or not (command := (entry / "cmdline").read_bytes()):
                continue
            mine = any(line.startswith(variable) for line in (entry / "environ").read_bytes().split(b"\0"))
            if mine or (
                command.startswith(b"ray::") and _has_open(entry, below)
            ):  # whose name lies over its environment
                found.append(int(entry.name))
    return found


def _has_open(entry: Path, below: str) -> bool:
    for descriptor in (entry / "fd").iterdir():
        with suppress(OSError):
            if str(descriptor.readlink()).startswith(below):
                return True
    return False


def _remove(folder: Path) -> None:
    """Remove all, the lock last, so that a later run can go on with it."""
    end = time.monotonic() + _REMOVAL_SECONDS
    while folder.exists() and time.monotonic() < end:
        with suppress(OSError):
            for path in folder.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                elif path.name != LOCK:
                    path.unlink()
            if {path.name for path in folder.iterdir()} <= {LOCK}:
                (folder / LOCK).unlink(missing_ok=True)
                folder.rmdir()
                return
        time.sleep(0.05)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # meant for the run, after which this ends
        signal.signal(number, signal.SIG_IGN)
    while sys.stdin.buffer.read(1):
        pass
    clean(Path(sys.argv[1]))
