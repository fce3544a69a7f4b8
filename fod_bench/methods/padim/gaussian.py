"""A Gaussian per position: vectors of all levels, means and Cholesky factors of covariances, distances.

n images, P = H·W positions of the finest level row by row, T channels of all levels together, of which d are kept.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

import torch
from torch import Tensor

RIDGE = 0.01
"""Added to the diagonal of every covariance, so that it can be inverted."""


class NoGaussianError(ValueError):
    """Features that are not finite, or so large that `RIDGE` is lost in rounding: their covariance has no Cholesky factor."""

    def __init__(self, place: int) -> None:
        super().__init__(f"no Gaussian at place {place}")
        self.place = place
        """Which of the positions it is."""


def kept_channels(total: int, keep: int, seed: int) -> list[int]:
    """Numbers of the `keep` channels, of `total`, that are kept, in the order of Python's own `random.sample`.

    Raises ValueError when there are not so many.
    """
    if keep > total:
        raise ValueError(f"channels: {keep} cannot be kept of {total}; take at most {total}, or `all`")
    return random.Random(seed).sample(range(total), keep)


def repeats(grid: tuple[int, int], finest: tuple[int, int]) -> tuple[int, int]:
    """Down and across, over how many positions of the finest grid (H, W) each of a level's is repeated.

    Raises ValueError when that is no whole number.
    """
    if any(fine % coarse for coarse, fine in zip(grid, finest, strict=True)):
        text = f"a level of {grid[0]}×{grid[1]} positions cannot be laid over the finest of {finest[0]}×{finest[1]}"
        raise ValueError(f"{text}: each of its positions has to stand for a whole number of those")
    return finest[0] // grid[0], finest[1] // grid[1]


def vectors(levels: Mapping[int, Tensor], channels: Tensor, positions: Tensor) -> Tensor:
    """The kept numbers (n, b, d) at some positions (b,) of the finest level, from features `{stride: (n, H, W, C)}`.

    All channels of a position are those of the finest level there, then those of the next that covers it, and so on; `channels`
    (d,) says which of them, in which order. Raises ValueError as `repeats`.
    """
    strides = sorted(levels)
    height, width = levels[strides[0]].shape[1:3]
    row, column = positions // width, positions % width  # (b,)
    made = levels[strides[0]].new_empty(len(levels[strides[0]]), len(positions), len(channels))  # (n, b, d)
    first = 0
    for stride in strides:
        features = levels[stride]
        down, across = repeats((features.shape[1], features.shape[2]), (height, width))
        here = (channels >= first) & (channels < first + features.shape[3])  # (d,)
        there = features[:, row // down, column // across]  # (n, b, C)
        made[:, :, here] = there[:, :, channels[here] - first]
        first += features.shape[3]
    return made


def fit(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (b, d) and Cholesky factor (b, d, d) of the covariance over images at b positions, from vectors (n, b, d), in float64.

    The covariance is unbiased, divided by n − 1, with `RIDGE` on its diagonal. Raises `NoGaussianError` where it has no factor.
    """
    wide = samples.double().transpose(0, 1)  # (b, n, d)
    mean = wide.mean(1)
    centred = wide - mean[:, None]
    covariance = (centred.mT @ centred).div_(len(samples) - 1)  # (b, d, d)
    covariance.diagonal(dim1=1, dim2=2).add_(RIDGE)
    factor, failed = torch.linalg.cholesky_ex(covariance)
    wrong = failed.ne(0) | ~factor.isfinite().flatten(1).all(1)
    if wrong.any():
        raise NoGaussianError(int(wrong.nonzero()[0]))
    return mean, factor


def distances(samples: Tensor, mean: Tensor, factor: Tensor) -> Tensor:
    """Mahalanobis distances (n, P), √(δᵀ Σ⁻¹ δ) with δ = x − μ, of vectors (n, P, d) from the Gaussians of their positions.

    With Σ = L·Lᵀ it is the length of L⁻¹·δ, so no inverse is formed.
    """
    offsets = (samples - mean).permute(1, 2, 0)  # (P, d, n)
    return torch.linalg.solve_triangular(factor, offsets, upper=False).norm(dim=1).T


def packed(factor: Tensor) -> Tensor:
    """The lower halves (P, d·(d+1)/2) of Cholesky factors (P, d, d), row by row."""
    row, column = torch.tril_indices(*factor.shape[1:], device=factor.device)
    return factor[:, row, column]


def unpacked(halves: Tensor, d: int) -> Tensor:
    """The factors that `packed` made the lower halves of."""
    factor = halves.new_zeros(len(halves), d, d)
    row, column = torch.tril_indices(d, d, device=halves.device)
    factor[:, row, column] = halves
    return factor
