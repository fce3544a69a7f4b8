"""Files that are whole or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from fod_bench.errors import FodBenchError


def write_whole(path: Path, pieces: Iterable[str | bytes], what: str) -> Path:
    """Write a file so that a reader sees the old one or the new one, never a part; text becomes UTF-8.

    `what`: the file in words. Raises `FodBenchError` for a place that cannot be written, such as a full disk.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:200]}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                for piece in pieces:
                    file.write(piece.encode() if isinstance(piece, str) else piece)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise FodBenchError(f"{what} cannot be written to {path}: {error.strerror or error}") from error
    return path
