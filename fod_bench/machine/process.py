"""Knowing a process from any machine, and whether it is dead where that can be told."""

from __future__ import annotations

import os
import socket
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class ProcessId(BaseModel):
    """A process, told apart from every other, on this machine and elsewhere."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str
    """Name of its machine, for people."""
    space: str
    """Boot and process-number space in which `number` means this process; empty where the system does not tell."""
    number: int
    started: str
    """Start time as the kernel counts it: a number is used again, the pair is not."""

    @staticmethod
    def own() -> ProcessId:
        """The running process."""
        number = os.getpid()
        return ProcessId(host=socket.gethostname(), space=_space(), number=number, started=_started(number) or "")

    def is_dead(self) -> bool:
        """True when this machine knows that it has ended; False for a living or stopped one, and for one it cannot see."""
        return bool(self.space) and self.space == _space() and _started(self.number) != self.started


@lru_cache(maxsize=1)
def _space() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(number: int) -> str | None:
    """Start time of a process; None when there is none, or only its remains."""
    try:
        fields = Path(f"/proc/{number}/stat").read_bytes().decode(errors="replace").rpartition(")")[2].split()
    except FileNotFoundError:
        return None
    return None if fields[0] in "ZX" else fields[19]
