"""Coreset features: a subset of all training features that covers them, by greedy minimax facility location (Eqs. 16, 17)."""

from __future__ import annotations

import heapq
import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from fod_bench.errors import TrialError
from fod_bench.features.arrays import as_tensor
from fod_bench.machine.memory import available_memory
from fod_bench.methods.fod.references.base import Built, FixedReference, LevelFeatures
from fod_bench.methods.fod.references.specs import CoresetReference

_BLOCK_ROWS = 1024
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

    Only the distance of every point to its nearest chosen one is kept, never those between points. And distances can only
    shrink, so a block of points whose largest one, as last seen, is below another's need not be looked at again before that.

    Args:
        points: (R, D), around the origin: far from it the differences of distances would be rounded away.
        first: where to start, which Eq. 17 leaves open.

    Returns:
        (count,) places in the order of selection, and the largest distance left (the value of Eq. 16).
    """
    blocks = [_Block(part) for part in points.split(_BLOCK_ROWS)]
    chosen = torch.empty(count, dtype=torch.int64)
    known = points.new_empty(count, points.shape[1])  # (count, D), the features chosen so far
    farthest = [(-math.inf, number) for number in range(len(blocks))]  # a heap: largest half squared distance, negative
    pick = first
    for number in range(count):
        chosen[number] = pick
        known[number] = points[pick]
        blocks[pick // _BLOCK_ROWS].take(pick % _BLOCK_ROWS)
        while blocks[at := farthest[0][1]].compared <= number:
            heapq.heapreplace(farthest, (-blocks[at].compare(known[: number + 1]), at))
        pick = at * _BLOCK_ROWS + blocks[at].farthest
    return chosen, math.sqrt(max(0.0, -2.0 * farthest[0][0]))


class _Block:
    """Some of the points, and how far each is from the nearest of the chosen ones that it was compared with.

    Of ‖x − c‖²/2 = ‖x‖²/2 + ‖c‖²/2 − x·c the first part is the point's own; the rest is kept as its least over all c.
    """

    def __init__(self, points: Tensor) -> None:
        self.points = points  # (rows, D)
        self.compared = 0
        """Chosen points, the first ones, that were compared with."""
        self.farthest = 0
        """The point that is farthest from them."""
        self._lengths = points.square().sum(1).mul_(0.5)
        self._least = torch.full_like(self._lengths, torch.inf)

    def take(self, row: int) -> None:
        """This one is chosen, once, even where all others are its equals."""
        self._least[row] = -torch.inf

    def compare(self, chosen: Tensor) -> float:
        """Compare with those of the chosen points (k, D) that are new: the largest half squared distance there is now."""
        new = chosen[self.compared :]
        distance = torch.addmm(new.square().sum(1).mul_(0.5), self.points, new.T, alpha=-1)  # (rows, new)
        torch.minimum(self._least, distance.amin(1), out=self._least)
        largest, row = torch.add(self._lengths, self._least).max(0)
        self.compared, self.farthest = len(chosen), int(row)
        return float(largest)


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
    pictures, height, width, channels = level.train.shape
    matrix = None
    if dimensions < channels:
        matrix = (torch.randn(channels, dimensions, generator=generator) * dimensions**-0.5).to(level.device)
    points = torch.empty(pictures, height * width, dimensions, device=level.device)
    for picture, features in zip(points, level.train, strict=True):
        flat = as_tensor(features).flatten(0, 1).to(level.device)
        picture.copy_(flat if matrix is None else flat @ matrix)
    points = points.flatten(0, 1)
    return points.sub_(points.mean(0))


def _refuse_what_does_not_fit(spec: CoresetReference, level: LevelFeatures, dimensions: int) -> None:
    pictures, height, width, _ = level.train.shape
    needed = pictures * height * width * (dimensions + _VECTORS) * 4
    if spec.layout == "origin":  # what every feature would have to move to every cell, and what it is made of
        needed += 3 * 8 * (spec.per_position * height * width) ** 2
    available = available_memory(level.device)
    if available is not None and needed > available:
        raise TrialError(
            f"the coreset of level {level.stride} needs {needed / 2**30:.1f} GiB for {pictures * height * width} features in "
            f"{dimensions} dimensions, and {available / 2**30:.1f} GiB are there; a smaller `projection` needs less"
        )
