"""Ray: whether it is there, and on demand whether it starts."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from importlib import metadata
from pathlib import Path
from typing import Any

from fod_bench.doctor.finding import Finding

_SHARED = Path("/dev/shm")
_LITTLE_SHARED = 2**28
"""Bytes of shared memory below which Ray keeps its objects on the disk."""


StartRay = Callable[[Callable[[str], None]], AbstractContextManager[Any]]
"""Starts a Ray for as long as a block lasts; is given what is told of notes."""


def ray(start: StartRay | None = None) -> Iterator[Finding]:
    """Ray's package, its room in memory, and with `start` a Ray like that of a run, from beginning to end."""
    try:
        said = metadata.version("ray")
    except metadata.PackageNotFoundError:
        yield Finding("Ray", "missing", "is not installed", "pip install ray")
        return
    if _SHARED.is_dir() and (free := shutil.disk_usage(_SHARED).free) < _LITTLE_SHARED:
        yield Finding(
            "Ray", "note", f"/dev/shm has {free // 2**20} MiB free", "docker run --shm-size=2g; else the disk is used"
        )
    if start is None:
        yield Finding("Ray", "ok", f"{said}, not started", "`fod-bench doctor --start-ray` tries")
        return
    notes: list[str] = []
    begun = time.monotonic()
    with start(notes.append):
        took = time.monotonic() - begun
    yield Finding("Ray", "ok", f"{said}, started in {took:.0f} s, closed to others")
    for note in notes:
        yield Finding("Ray", "note", note)
