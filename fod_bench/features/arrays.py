"""Numpy arrays as tensors, without a copy."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from numpy.typing import NDArray


def as_tensor(array: NDArray[Any]) -> torch.Tensor:
    """A tensor on the array's own memory, which may be read only: it is never written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
