"""Buffers of a thread that are used again: given back in between, their memory would have to be paged in anew each time, which
costs a sixth of a step on a CPU."""

from __future__ import annotations

import math
import threading

import torch
from torch import Tensor


class _Workspace(threading.local):
    def __init__(self) -> None:
        self._flat: dict[tuple[str, torch.dtype], Tensor] = {}
        self._cut: dict[tuple[str, torch.dtype, tuple[int, ...]], Tensor] = {}

    def take(self, shape: tuple[int, ...], dtype: torch.dtype, name: str) -> Tensor:
        cut = self._cut.get((name, dtype, shape))
        if cut is None:
            elements, flat = math.prod(shape), self._flat.get((name, dtype))
            with torch.inference_mode(False):  # a tensor made in inference mode could not be written to in training
                if flat is None or flat.numel() < elements:
                    self._cut.clear()
                    flat = self._flat[name, dtype] = torch.empty(elements, dtype=dtype)
                cut = self._cut[name, dtype, shape] = flat[:elements].view(shape)
        return cut


_WORKSPACE = _Workspace()


def workspace(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, *names: str) -> list[Tensor]:
    """A buffer of this thread for each name, with no particular content."""
    if device.type != "cpu":  # the device's own allocator keeps what it is given back
        return [torch.empty(shape, dtype=dtype, device=device) for _ in names]
    return [_WORKSPACE.take(shape, dtype, name) for name in names]
