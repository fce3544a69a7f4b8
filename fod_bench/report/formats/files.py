"""Writing a report's files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fod_bench.machine.files import write_whole


def write(path: Path, pieces: Iterable[str | bytes]) -> Path:
    """Write a file so that a reader sees the old one or the new one, never a part; text becomes UTF-8.

    Raises `FodBenchError` for a place that cannot be written.
    """
    return write_whole(path, pieces, "the report")
