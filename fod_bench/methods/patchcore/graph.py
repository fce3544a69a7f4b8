"""PatchCore as one graph of plain operations, from features to map and score: what `Embedding` and `Memory` do, for many images at
once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fod_bench.methods.base import Batch
from fod_bench.methods.maps import blur_matrix, upsample
from fod_bench.methods.patchcore.embedding import Embedding, adaptive_means

SIGMA = 4.0
"""Of the Gaussian that smooths maps, in pixels."""


class PatchCoreGraph(nn.Module):
    """See `fod_bench.methods.base.Exportable`. The memory is part of it. Shape letters as in `Memory` and `Embedding`."""

    def __init__(self, setting: Mapping[str, Any], rows: Tensor, channels: Sequence[int], image_size: int) -> None:
        """With the memory rows (M, D), for levels of so many channels, the finest first."""
        super().__init__()
        embedding = Embedding(setting)
        self._levels, self._official, self._size = embedding.levels, embedding.official, image_size
        self._neighbours = min(int(setting["neighbours"]), len(rows))
        self._reweight = min(int(setting["reweight"]), len(rows))
        self._weighted = bool(setting["reweight"])
        centre = rows.mean(0)
        self.register_buffer("centre", centre)
        self.register_buffer("rows", rows - centre)
        self.register_buffer("lengths", (rows - centre).square().sum(1).mul(-0.5))
        self.register_buffer("blur", blur_matrix(image_size, SIGMA))
        if self._official:
            pretrained: int = setting["pretrain_dimension"]
            for level, count in zip(self._levels, channels, strict=True):
                self.register_buffer(f"means_{level}", _means(9 * count, pretrained))
            total = pretrained * len(self._levels)
            self.register_buffer("means", _means(total, setting["target_dimension"]))

    def forward(self, images: Batch) -> tuple[Tensor, Tensor]:
        levels = images.unpooled if self._official else images.pooled
        height, width = levels[self._levels[0]].shape[1:3]
        queries = self._patches(levels, (height, width)) - self.get_buffer("centre")  # (n, H·W, D)
        squared, _ = self._nearest(queries, self._neighbours)
        patches = squared.mean(-1)  # (n, H·W)
        grids = patches.unflatten(1, (height, width))
        blur = self.get_buffer("blur")
        maps = blur @ upsample(grids, self._size, align_corners=False) @ blur.mT
        return maps, self._image_scores(queries) if self._weighted else patches.amax(1)

    def _patches(self, levels: Mapping[int, Tensor], grid: tuple[int, int]) -> Tensor:
        laid = []
        for level in self._levels:
            maps = levels[level].permute(0, 3, 1, 2)  # (n, C, h, w)
            if self._official:
                unfolded = functional.unfold(maps, 3, padding=1)  # (n, C·9, h·w)
                maps = (self.get_buffer(f"means_{level}") @ unfolded).unflatten(2, maps.shape[2:])
            if tuple(maps.shape[2:]) != tuple(grid):
                maps = functional.interpolate(maps, size=grid, mode="bilinear", align_corners=False)
            laid.append(maps)
        vectors = torch.cat(laid, 1).flatten(2)  # (n, D or levels·P, H·W)
        if self._official:
            vectors = self.get_buffer("means") @ vectors
        return vectors.mT

    def _nearest(self, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Squared distances (n, H·W, k) and numbers of the nearest rows, from the nearest on."""
        rows = self.get_buffer("rows")
        closeness = queries @ rows.T + self.get_buffer("lengths")  # (n, H·W, M)
        numbers = closeness.topk(count, -1).indices
        return (rows[numbers] - queries[:, :, None]).square().sum(-1), numbers

    def _image_scores(self, queries: Tensor) -> Tensor:
        """Eq. 7, as in `Memory.image_score`."""
        rows = self.get_buffer("rows")
        squared, numbers = self._nearest(queries, 1)  # (n, H·W, 1)
        at = squared.argmax(1, keepdim=True)  # (n, 1, 1)
        score = squared.gather(1, at)[:, 0, 0].sqrt()
        if self._reweight == 1:
            return score
        nearest = rows[numbers.gather(1, at)[:, 0, 0]]  # (n, D)
        patch = queries.gather(1, at.expand(-1, -1, queries.shape[2]))  # (n, 1, D)
        around = (nearest @ rows.T + self.get_buffer("lengths")).topk(self._reweight, -1).indices  # (n, b)
        distances = (rows[around] - patch).square().sum(-1).sqrt()  # (n, b)
        largest = distances.amax(1)
        return score * (1 - (score - largest).exp() / (distances - largest[:, None]).exp().sum(1))


def _means(length: int, count: int) -> Tensor:
    """`adaptive_means` as a matrix (count, length)."""
    return adaptive_means(torch.eye(length), count)
