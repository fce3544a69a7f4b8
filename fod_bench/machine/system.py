"""What differs between operating systems: Linux has all of it, macOS what is needed, Windows lacks locks on files."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from fod_bench.errors import FodBenchError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

EXCLUSIVE = fcntl.LOCK_EX if fcntl else 2
SHARED = fcntl.LOCK_SH if fcntl else 1

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
"""There where the driver of an NVIDIA GPU is loaded, whatever PyTorch makes of it; of Linux alone."""
_CGROUPS = Path("/sys/fs/cgroup")


def require_file_locks(what: str) -> None:
    """Raise `FodBenchError` where the system has no advisory locks on open files; `what` needs them."""
    if fcntl is None:
        raise FodBenchError(
            f"{what} needs the file locks of Linux and macOS, which {sys.platform} does not have; on Windows use WSL "
            "(Windows Subsystem for Linux)"
        )


def try_lock(handle: BinaryIO | int, kind: int = EXCLUSIVE) -> bool:
    """Lock an open file, unless somebody else has it: then False. The lock goes when the file is closed or its owner dies."""
    require_file_locks("a lock")
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def reserve(file: BinaryIO, size: int) -> None:
    """Take the room on disk beforehand, where the system can. Raises `OSError`, of several kinds where the file system cannot."""
    if size and hasattr(os, "posix_fallocate"):  # macOS has it not
        os.posix_fallocate(file.fileno(), 0, size)


def memory_file() -> BinaryIO:
    """An empty file without a name: in memory, or in the temporary folder where the system has no such files."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("fod-bench"), "w+b")
    file: BinaryIO = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - the caller closes it
    return file


def cores(groups: Path = _CGROUPS, membership: Path = Path("/proc/self/cgroup")) -> int:
    """Processor cores that this process may use: those it is bound to, as many as its control groups grant, at least one."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([bound, *(int(granted) for granted in _granted(groups, membership))]))


def _granted(groups: Path, membership: Path) -> Iterator[float]:
    """Cores' worth of time per time that each control group around this process grants, of version 2 and 1."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, place = line.split(":", 2)
        top = groups
        if controllers:
            if "cpu" not in controllers.split(","):
                continue
            top = next((groups / name for name in (controllers, "cpu") if (groups / name).is_dir()), groups)
        # In a container the path may be one of the machine's, of which only the top is seen.
        folder = top / place.lstrip("/")
        for around in (folder, *folder.parents):
            if around == top or top in around.parents:
                yield from _quota(around, bool(controllers))


def _quota(folder: Path, first_version: bool) -> Iterator[float]:
    try:
        if first_version:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        else:
            quota, period = (folder / "cpu.max").read_text().split()
        if quota != "max" and int(quota) > 0 and int(period) > 0:
            yield int(quota) / int(period)
    except (OSError, ValueError):
        return
