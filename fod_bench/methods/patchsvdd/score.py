"""From the distances of patches to maps of pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

import torch
from torch import Tensor

from fod_bench.methods.patchsvdd.cost import PATCHES, RULES, STRIDES, Rule


def to_pixels(scores: Tensor, patch: int, size: tuple[int, int]) -> Tensor:
    """A map (n, h, w) of the scores (n, rows, columns) of patches of `patch` pixels: every pixel has the mean score of the patches
    that cover it, and 0 where none does. Patch (i, j) covers the pixels from row i·S and column j·S on, S being its stride."""
    rows, columns = (
        _shares(side, count, patch, scores.device, scores.dtype)
        for side, count in zip(size, scores.shape[1:], strict=True)
    )
    return rows @ scores @ columns.mT


@lru_cache(maxsize=16)
def _shares(side: int, count: int, patch: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Along one axis the part (side, count) that each patch has in a pixel's mean; which patches cover a pixel is a matter of its
    row and of its column, each by itself. Kept where it is used."""
    with torch.inference_mode(False):  # kept for later calls, which may be in another mode
        before = torch.arange(side)[:, None] - STRIDES[patch] * torch.arange(count)
        covered = ((before >= 0) & (before < patch)).double()
        return (covered / covered.sum(1, keepdim=True).clamp(min=1)).to(device, dtype)


def score_maps(parts: Mapping[str, Tensor], size: tuple[int, int]) -> Iterator[tuple[Rule, Tensor, Tensor]]:
    """Of each rule the maps (n, h, w) and the image scores (n,), which are their maxima.

    Args:
        parts: `patch64` and `patch32`, the scores of patches (n, rows, columns).
        size: the images' height and width.
    """
    large, small = (to_pixels(parts[f"patch{patch}"], patch, size) for patch in PATCHES)
    for rule in RULES:
        if rule == "sum":
            maps = large + small
        elif rule == "mult":
            maps = large * small
        else:
            maps = large if rule == "patch64" else small
        yield rule, maps, maps.amax((1, 2))
