"""When, where and with what a trial ran, as its record tells it."""

from __future__ import annotations

import platform
from datetime import datetime, timezone

import torch

from fod_bench import __version__


def now() -> str:
    """UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def device_name(device: torch.device) -> str:
    """The GPU's name, or `cpu` with the kind of processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})"


def versions() -> dict[str, str]:
    """Of what the result rests on."""
    return {"fod-bench": __version__, "torch": torch.__version__, "python": platform.python_version()}
