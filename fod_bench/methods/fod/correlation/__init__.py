"""The correlation operator: attention, its divergence from an RBF target, and its entropy.

One I2Correlation branch needs from its attention matrix S and its target matrix T (both N×M, rows summing to one):

    output      S·V                                                        Eq. 4 and 9
    divergence  Σ_j (T − S)·(log(T + ε) − log(S + ε))   per row            Eq. 6, both directions of the KL divergence at once
    entropy     −Σ_j S·log(S + ε)                       per row            Eq. 7

Normalised rows of the RBF kernel (Eq. 5) are an outer product of a row over the grid's y and a row over its x, so N×(H+W)
numbers stand for T. Four implementations give the same numbers (but see `Correlation.entropy`):

    plain    the equations as written; autograd keeps every N×M tensor
    tiled    PyTorch, block by block of query rows; keeps nothing of size N×M; any device
    numba    the same, the loops over a block in compiled code, or whole heads; a CPU
    triton   kernels that do the same on a GPU

Shape letters: B images, h heads, N query patches, M = H·W reference patches, d channels of one head.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal, get_args

import torch
from torch import Tensor

from fod_bench.methods.fod.correlation.inputs import Inputs
from fod_bench.methods.fod.correlation.plain import correlate_plain
from fod_bench.methods.fod.correlation.result import EPSILON, Correlation
from fod_bench.methods.fod.correlation.tiled import correlate_tiled

__all__ = ["EPSILON", "IMPLEMENTATIONS", "VARIABLE", "Correlation", "correlate", "correlate_as_one", "implementation"]

Implementation = Literal["plain", "tiled", "numba", "triton"]
IMPLEMENTATIONS: tuple[Implementation, ...] = get_args(Implementation)

VARIABLE = "FOD_BENCH_CORRELATION"
"""Environment variable that names the implementation; when unset or empty it is the fastest: numba on a CPU, triton on a GPU."""


def correlate(query: Tensor, key: Tensor, value: Tensor, target_y: Tensor, target_x: Tensor) -> Correlation:
    """Attention with scale 1/√d, its divergence from the target and its entropy.

    Args:
        query: (B, h, N, d).
        key, value: (B, h, M, d), M = H·W, in row-major order of the grid.
        target_y: (B, h, N, H), the target's factor over the grid's rows; every row sums to one.
        target_x: (B, h, N, W), its factor over the grid's columns; every row sums to one.

    Raises:
        ValueError: shapes do not go together, one of them is empty, or the implementation asked for cannot be had (see
            `implementation`).
    """
    Inputs(query, key, value, target_y, target_x).check()
    return _function(implementation(query.device, query.dtype))(query, key, value, target_y, target_x)


def _function(chosen: Implementation) -> Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Correlation]:
    """What compiles is imported where it is used."""
    if chosen == "triton":
        from fod_bench.methods.fod.correlation.triton import correlate_triton

        return correlate_triton
    if chosen == "numba":
        from fod_bench.methods.fod.correlation.numba import correlate_numba

        return correlate_numba
    return correlate_plain if chosen == "plain" else correlate_tiled


def correlate_as_one(query: Tensor, key: Tensor, value: Tensor, target_y: Tensor, target_x: Tensor) -> Correlation:
    """`correlate` with the heads of all images as those of one: where it goes image by image, small ones cost less so."""
    heads = (tensor.flatten(0, 1)[None] for tensor in (query, key, value, target_y, target_x))  # (1, B·h, …)
    return Correlation(*(part[0].unflatten(0, query.shape[:2]) for part in correlate(*heads)))


def implementation(device: torch.device, dtype: torch.dtype = torch.float32) -> Implementation:
    """The implementation that `VARIABLE` names, else for float32 numba on a CPU and triton on a GPU that has it, and tiled.

    Raises:
        ValueError: the variable names none, or one that is not installed or not for this device.
    """
    asked = os.environ.get(VARIABLE)
    if not asked:
        if dtype != torch.float32:
            return "tiled"
        if device.type == "cuda" and find_spec("triton") is not None:
            return "triton"
        return "numba" if device.type == "cpu" else "tiled"
    for name in IMPLEMENTATIONS:
        if name == asked:
            if name == "triton" and find_spec("triton") is None:
                raise ValueError(f"{VARIABLE}=triton: the package triton is not installed; install it, or name tiled")
            if name == "numba" and device.type != "cpu":
                raise ValueError(
                    f"{VARIABLE}=numba: it works on a CPU, and this is {device.type}; name tiled or triton"
                )
            return name
    raise ValueError(f"{VARIABLE}={asked}: there is no such implementation; there are {', '.join(IMPLEMENTATIONS)}")
