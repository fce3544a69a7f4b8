"""The RBF target correlation (Eq. 5), as its two factors over the rows and columns of the patch grid."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from fod_bench.methods.fod.correlation import implementation

LOWEST_EXPONENT = -40.0
"""Of a factor: what is below e^−40 = 4e-18, and so nothing beside 1, is 0. Products of two factors are then 0 or normal numbers;
others cost an Intel processor as much as a hundred multiplications each."""


def kernel_widths(raw: Tensor) -> Tensor:
    """σ from the learned projection's output: 3^(sigmoid(5·raw) + 1e-5) − 1, between 0 and 2 patches; any shape."""
    return torch.pow(3.0, torch.sigmoid(raw * 5.0) + 1e-5) - 1.0


def target_factors(widths: Tensor, height: int, width: int, references: int = 1) -> tuple[Tensor, Tensor]:
    """Rows of the target T of Eq. 5, divided by their sums, as factors over y and x.

    T[i, (y, x)] = factor_y[i, y] · factor_x[i, x] for patch i at (i // width, i % width). The kernel's own 1/(2πσ₁σ₂)
    cancels in the division. Several references of one position share its part of the row equally: they stand side by side, as
    though the grid were that many times as wide.

    Args:
        widths: (B, h, N, 2), σ of each patch and head: vertical, horizontal; N = height·width.
        references: M, references per position.

    Returns:
        (B, h, N, height) and (B, h, N, width·M); every row sums to one.
    """
    if widths.dtype == torch.float32 and implementation(widths.device) == "numba":
        from fod_bench.methods.fod.correlation.numba import factor_numba

        return _over_grid(factor_numba, widths, height, width, references)
    return target_factors_plain(widths, height, width, references)


def target_factors_plain(widths: Tensor, height: int, width: int, references: int = 1) -> tuple[Tensor, Tensor]:
    """`target_factors` by operations of PyTorch."""
    return _over_grid(_factor, widths, height, width, references)


def _over_grid(
    factor: Callable[[Tensor, int, int], Tensor], widths: Tensor, height: int, width: int, references: int
) -> tuple[Tensor, Tensor]:
    vertical, horizontal = widths.unbind(-1)
    over_y, over_x = factor(vertical, width, height), factor(horizontal, 1, width)
    return over_y, over_x if references == 1 else over_x.repeat_interleave(references, -1) / references


def _factor(sigma: Tensor, step: int, length: int) -> Tensor:
    """Normalised Gaussian of width `sigma` (B, h, N) on 0..length-1, around the place i // step of patch i, counted anew after
    each `length`: (B, h, N, length)."""
    places = torch.arange(length, device=sigma.device)
    position = torch.arange(sigma.shape[-1], device=sigma.device) // step % length
    squared = (places - position[:, None]).square().to(sigma)  # (N, length)
    # softmax(−Δ²/2σ²) is the Gaussian divided by its sum, and stays finite for the narrowest kernel
    exponent = (-0.5 / sigma.square()).unsqueeze(-1) * squared
    torch.threshold_(
        exponent.detach(), LOWEST_EXPONENT, -math.inf
    )  # entries of 0 have no gradient, so it needs no mask
    return torch.softmax(exponent, -1)
