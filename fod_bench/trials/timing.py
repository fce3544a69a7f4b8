"""Timing of calls on a device."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

ROUND_SECONDS = 0.05
"""A round of training steps lasts at least so long, since waiting for a GPU after each step would slow it down."""


def seconds_each(call: Callable[[], object], calls: int, device: torch.device) -> float:
    """Wall time of a call, in seconds: the mean of so many, until the device has ended the last."""
    start = time.perf_counter()
    for _ in range(calls):
        call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - start) / calls
