"""Coreset features: a subset of all training features that covers them, by greedy minimax facility location (Eqs. 16, 17)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from fod_bench.errors import TrialError
from fod_bench.features.arrays import as_tensor
from fod_bench.machine.memory import available_memory
from fod_bench.methods.coreset import BLOCK_ROWS, GreedyCoreset
from fod_bench.methods.fod.references.base import Built, FixedReference, LevelFeatures
from fod_bench.methods.fod.references.specs import CoresetReference

_BLOCK_ROWS = BLOCK_ROWS
"""Features that are compared with the chosen ones at once."""
_VECTORS = 2
"""Numbers per feature that the selection keeps beside the feature."""


def coreset_reference(spec: CoresetReference, level: LevelFeatures) -> Built:
    """N_e = per_position·H·W of the training features, laid over the grid. `radius`: how far any is from its nearest."""
    height, width, channels = level.train.shape[1:]
    generator = level.generator(spec.seed)
    dimensions = channels if spec.projection == "none" else min(channels, int(spec.projection))
    _refuse_what_does_not_fit(spec, level, dimensions)
    points = _projected(level, dimensions, generator)  # (n·H·W, dimensions)
    first = int(torch.randint(len(points), (), generator=generator))
    chosen, radius = greedy_coreset(points, spec.per_position * height * width, first)
    places = chosen.cpu().numpy()  # (N_e,)
    if spec.layout == "origin":
        places = places[near_origin(places % (height * width), height, width)]
    features = level.train.reshape(-1, channels)[places]  # (N_e, C)
    # the first H·W fill the grid once, the next a second time
    grid = features.reshape(spec.per_position, height, width, channels).transpose(1, 2, 0, 3)
    return FixedReference(np.ascontiguousarray(grid)), {"radius": radius}


def greedy_coreset(points: Tensor, count: int, first: int) -> tuple[Tensor, float]:
    """`count` of the points, each the one that is farthest from all chosen before it (Eq. 17).

    Args:
        points: (R, D), around the origin: far from it the differences of distances would be rounded away.
        first: where to start, which Eq. 17 leaves open.

    Returns:
        (count,) places in the order of selection, and the largest distance left (the value of Eq. 16).
    """
    selection = GreedyCoreset(points, count, first, block_rows=_BLOCK_ROWS)
    selection.advance(count)
    return selection.picks, selection.radius


def near_origin(origins: NDArray[np.int64], height: int, width: int) -> NDArray[np.int64]:
    """An order of the chosen features that fills the grid, once or several times, with as little moving as possible.

    Args:
        origins: (k·H·W,), the position y·W + x that each was taken from.

    Returns:
        (k·H·W,), which of them goes to cell 0, 1, … of the grid, then again from cell 0.
    """
    cells = np.tile(np.arange(height * width), len(origins) // (height * width))
    vertical = cells[:, None] // width - origins // width
    horizontal = cells[:, None] % width - origins % width
    order: NDArray[np.int64] = linear_sum_assignment(vertical**2 + horizontal**2)[1]
    return order


def _projected(level: LevelFeatures, dimensions: int, generator: torch.Generator) -> Tensor:
    """All training features around their mean, in a Gaussian random projection where they have more channels: (n·H·W, D).

    Such a projection keeps distances, up to a few percent for hundreds of dimensions (Johnson and Lindenstrauss).
    """
    images, height, width, channels = level.train.shape
    matrix = None
    if dimensions < channels:
        matrix = (torch.randn(channels, dimensions, generator=generator) * dimensions**-0.5).to(level.device)
    points = torch.empty(images, height * width, dimensions, device=level.device)
    for image, features in zip(points, level.train, strict=True):
        flat = as_tensor(features).flatten(0, 1).to(level.device)
        image.copy_(flat if matrix is None else flat @ matrix)
    points = points.flatten(0, 1)
    return points.sub_(points.mean(0))


def _refuse_what_does_not_fit(spec: CoresetReference, level: LevelFeatures, dimensions: int) -> None:
    images, height, width, _ = level.train.shape
    needed = images * height * width * (dimensions + _VECTORS) * 4
    if spec.layout == "origin":  # what every feature would have to move to every cell, and what it is made of
        needed += 3 * 8 * (spec.per_position * height * width) ** 2
    available = available_memory(level.device)
    if available is not None and needed > available:
        raise TrialError(
            f"the coreset of level {level.stride} needs {needed / 2**30:.1f} GiB for {images * height * width} features in "
            f"{dimensions} dimensions, and {available / 2**30:.1f} GiB are there; a smaller `projection` needs less"
        )
