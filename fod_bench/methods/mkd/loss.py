"""How far the cloner's maps are from the source's, for the loss and for the score.

    score_b = Σ_l [1 − cos(c_lb, s_lb) + λ · mean((c_lb − s_lb)²)]

over images b and levels l, c and s being the maps of cloner and source, flattened for the cosine: one direction per image and
level, not one per position. The loss is the mean over images of the same sum over all trained levels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor
from torch.nn import functional

_SMALLEST_NORM = 1e-8


def differences(cloned: Mapping[int, Tensor], source: Mapping[int, Tensor], levels: Collection[int]) -> Tensor:
    """Sums over levels of 1 − cosine and of the mean squared error, of each image: (2, n). Maps are (n, C, h, w)."""
    directions, errors = [], []
    for level in levels:
        given, wanted = cloned[level].flatten(1), source[level].flatten(1)  # (n, C h w)
        directions.append(1 - functional.cosine_similarity(given, wanted, dim=1, eps=_SMALLEST_NORM))
        errors.append((given - wanted).square().mean(1))
    return torch.stack([torch.stack(directions).sum(0), torch.stack(errors).sum(0)])


def total(parts: Tensor, mse_weight: float) -> Tensor:
    """Direction + λ · error, of parts (2, ...)."""
    return parts[0] + mse_weight * parts[1]
