"""Where this program keeps files of its own on a machine."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/fod-bench`, by default `~/.cache/fod-bench`: what can be made or read again."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "fod-bench"
