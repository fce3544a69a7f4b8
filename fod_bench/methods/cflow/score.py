"""From likelihoods of a whole test set to its anomaly maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from fod_bench.methods.maps import upsample


def likely(per_dimension: Tensor, size: int) -> Tensor:
    """How likely a level finds every pixel of a test set, (n, size, size) in float64: 1 at the likeliest position of all.

    Args:
        per_dimension: log-likelihoods per dimension (n, H, W) of all test images. The largest of them all is what is compared
            with, so that a level's part in the sum over levels depends on the whole test set.
    """
    wide = per_dimension.double()
    return upsample((wide - wide.max()).exp(), size, align_corners=True)


def anomaly_maps(levels: Mapping[int, Tensor], chosen: Sequence[int]) -> Tensor:
    """Anomaly maps (n, s, s) from what `likely` gives of every level: the largest sum over some levels less that of each pixel."""
    first, *others = chosen
    total = levels[first].clone()
    for level in others:
        total += levels[level]
    return total.neg_().sub_(total.min())
