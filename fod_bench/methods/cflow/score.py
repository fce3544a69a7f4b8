"""From likelihoods of a whole test set to its anomaly maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from fod_bench.methods.maps import upsample


def likely(per_dimension: Tensor, size: int, peak: float | None = None) -> Tensor:
    """How likely a level finds every pixel of a test set, (n, size, size) in float64: 1 at the likeliest position of all.

    Args:
        per_dimension: log-likelihoods per dimension (n, H, W) of all test images. The largest of them all is what is compared
            with, so that a level's part in the sum over levels depends on the whole test set.
        peak: that largest one, where these are not all images of the set.
    """
    wide = per_dimension.double()
    return upsample((wide - (wide.max() if peak is None else peak)).exp(), size, align_corners=True)


def anomaly_maps(levels: Mapping[int, Tensor], chosen: Sequence[int], largest: float | None = None) -> Tensor:
    """Anomaly maps (n, s, s) from what `likely` gives of every level: the largest sum over some levels less that of each pixel.

    `largest`: the largest sum of the whole test set, where these are not all images of it.
    """
    negative = sums(levels, chosen).neg_()
    return negative.sub_(negative.min() if largest is None else -largest)


def sums(levels: Mapping[int, Tensor], chosen: Sequence[int]) -> Tensor:
    """Sums (n, s, s) over some levels of what `likely` gives of every one."""
    first, *others = chosen
    total = levels[first].clone()
    for level in others:
        total += levels[level]
    return total
