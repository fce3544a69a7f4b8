"""What a patch is: the levels' features at one position of the finest grid, as one vector.

Shape letters: H×W the finest level's grid, h×w another level's, C a level's channels, D numbers of a patch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class Embedding:
    """Patches of images, one image at a time, so that they do not depend on which others there are."""

    def __init__(self, setting: Mapping[str, Any]) -> None:
        self.levels: list[int] = sorted(setting["levels"])  # the finest first
        self.official = setting["embedding"] == "official"
        if self.official:
            self._pretrain: int = setting["pretrain_dimension"]
            self._target: int = setting["target_dimension"]

    def dimension(self, channels: Mapping[int, int]) -> int:
        """D, for levels of so many channels."""
        return self._target if self.official else sum(channels[level] for level in self.levels)

    def __call__(self, features: Mapping[int, Tensor]) -> Tensor:
        """The patches (H·W, D) of an image, row by row.

        Args:
            features: `{stride: (h, w, C)}`; pooled for `concat`, as the backbone gives them for `official`.
        """
        grid = features[self.levels[0]].shape[:2]
        maps = [features[level].permute(2, 0, 1) for level in self.levels]  # (C, h, w)
        if self.official:
            # Aligning is linear, so that pooling before it is the same, but for rounding, and less work.
            maps = [self._neighbourhoods(values) for values in maps]  # (P, h, w)
        laid = torch.cat([_aligned(values, grid) for values in maps]).flatten(1)  # (D or levels·P, H·W)
        if self.official:
            laid = adaptive_means(laid, self._target)
        return laid.T.contiguous()

    def _neighbourhoods(self, values: Tensor) -> Tensor:
        """Of a level (C, h, w) each position's 3×3 neighbourhood, zeros outside, averaged to (P, h, w)."""
        unfolded = functional.unfold(values[None], 3, padding=1)[0]  # (C·9, h·w): all 9 of a channel, then of the next
        return adaptive_means(unfolded, self._pretrain).view(-1, *values.shape[1:])


def adaptive_means(values: Tensor, count: int) -> Tensor:
    """`torch.nn.functional.adaptive_avg_pool1d` along the first axis, (n, X) to (count, X), many times as fast.

    Number i is the mean of those from ⌊i·n/count⌋ to ⌈(i+1)·n/count⌉ − 1; they overlap where count does not divide n.
    """
    number = torch.arange(count, device=values.device)
    first = number * len(values) // count
    width = -(-(number + 1) * len(values) // count) - first
    total = values[first]
    for further in range(1, -(-len(values) // count) + 1):
        there = torch.nonzero(width > further)[:, 0]
        if len(there):
            total.index_add_(0, there, values[first[there] + further])
    return total.div_(width[:, None])


def _aligned(values: Tensor, grid: torch.Size) -> Tensor:
    """A level (C, h, w) on the finest level's grid: (C, H, W)."""
    if values.shape[1:] == grid:
        return values
    return functional.interpolate(values[None], size=tuple(grid), mode="bilinear", align_corners=False)[0]
