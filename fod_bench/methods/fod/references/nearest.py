"""Nearest features: for each position of an image, the nearest normal feature around it (Eqs. 14 and 15)."""

from __future__ import annotations

import torch
from torch import Tensor

from fod_bench.features.arrays import as_tensor
from fod_bench.methods.fod.references.base import Built, ChosenReference, LevelFeatures
from fod_bench.methods.fod.references.specs import NearestReference

_BLOCK_ELEMENTS = 1 << 22
"""Distances held at once."""


def nearest_reference(spec: NearestReference, level: LevelFeatures) -> Built:
    """The nearest features of all training and test images, as places among the training features."""
    train, test = (as_tensor(features).to(level.device) for features in (level.train, level.test))
    chosen = nearest(train, train, spec.neighbourhood, exclude_self=spec.exclude_self)
    found = nearest(test, train, spec.neighbourhood)
    return ChosenReference(chosen.cpu().numpy(), found.cpu().numpy()), {}


def nearest(images: Tensor, train: Tensor, neighbourhood: int, *, exclude_self: bool = False) -> Tensor:
    """x_ij^f = argmin over x of ‖x_ij − x‖ among all training features at most ⌊p/2⌋ rows and columns from (i, j).

    Each position is one product of its features with those around it, so memory beside the features is a block of distances.

    Args:
        images: (q, H, W, C), any images' features.
        train: (n, H, W, C).
        neighbourhood: p, odd. The square is cut off at the border of the grid.
        exclude_self: `images` are `train`, and none may find features of its own, at any position.

    Returns:
        (q, H, W) int32, rows of the training features taken as (n·H·W, C).
    """
    height, width = train.shape[1:3]
    reach = neighbourhood // 2
    # the place of every training feature: (n, H, W)
    places = torch.arange(train.shape[:3].numel(), dtype=torch.int32, device=train.device).view(train.shape[:3])
    found = torch.empty(images.shape[:3], dtype=torch.int32, device=train.device)
    for y in range(height):
        rows = slice(max(0, y - reach), y + reach + 1)
        for x in range(width):
            columns = slice(max(0, x - reach), x + reach + 1)
            around = train[:, rows, columns].flatten(1, 2)  # (n, w, C), w positions
            # Distances are taken from the mean, since far from the origin their small differences would be rounded away.
            centre = around.mean((0, 1))
            candidates = (around - centre).flatten(0, 1)  # (n·w, C)
            queries = images[:, y, x] - centre  # (q, C)
            found[:, y, x] = places[:, rows, columns].flatten()[_closest(queries, candidates, len(train), exclude_self)]
    return found


def _closest(queries: Tensor, candidates: Tensor, images: int, exclude_self: bool) -> Tensor:
    """For each query (q, C) its nearest candidate (n·w, C), of which query k's own image has the k-th w: (q,)."""
    # ‖q − c‖² = ‖q‖² − 2 (q·c − ‖c‖²/2), so the nearest has the largest bracket
    lengths = candidates.square().sum(1).mul_(-0.5)  # (n·w,)
    best = []
    for block in torch.arange(len(queries), device=queries.device).split(max(1, _BLOCK_ELEMENTS // len(candidates))):
        closeness = torch.addmm(lengths, queries[block], candidates.T)  # (R, n·w)
        if exclude_self:
            closeness.unflatten(1, (images, -1))[torch.arange(len(block), device=block.device), block] = -torch.inf
        best.append(closeness.argmax(1))
    return torch.cat(best)
