"""Scores of images by a memory of normal patches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from fod_bench.evaluation.maps import ScoreMaps
from fod_bench.methods.base import Batch
from fod_bench.methods.maps import gaussian, upsample
from fod_bench.methods.patchcore.embedding import Embedding
from fod_bench.methods.patchcore.graph import SIGMA
from fod_bench.methods.patchcore.memory import Memory

SCORE = "score"


class PatchCoreDetector:
    """See `fod_bench.methods.base.Detector`."""

    def __init__(self, setting: Mapping[str, Any], rows: Tensor) -> None:
        """With the memory rows (M, D), on the device where images will be."""
        self._embedding = Embedding(setting)
        self._neighbours: int = setting["neighbours"]
        self._reweight: int = setting["reweight"]
        self._dimension = rows.shape[1]
        self._memory = Memory(rows)

    @torch.no_grad()
    def parts(self, images: Batch) -> dict[str, Tensor]:
        """`patches` (n, H, W), the mean squared distance to the nearest rows; with `reweight` also `images` (n,).

        Raises:
            ValueError: the features have other channels than those the memory was made of.
        """
        levels = images.unpooled if self._embedding.official else images.pooled
        height, width = levels[self._embedding.levels[0]].shape[1:3]
        grids, scores = [], []
        for number in range(len(images)):
            patches = self._embedding({level: levels[level][number] for level in self._embedding.levels})
            if patches.shape[1] != self._dimension:
                raise ValueError(f"patches have {patches.shape[1]} numbers, those of the memory {self._dimension}")
            squared, _ = self._memory.nearest(patches, self._neighbours)
            grids.append(squared.mean(1).view(height, width))
            if self._reweight:
                scores.append(self._memory.image_score(patches, self._reweight))
        return {"patches": torch.stack(grids)} | ({"images": torch.stack(scores)} if scores else {})


def scorings(parts: Mapping[str, Tensor], image_size: int) -> Iterator[ScoreMaps]:
    """The one scoring: patch scores in the image's size, smoothed; the image's score is of the patches as they are."""
    patches = parts["patches"]
    maps = gaussian(upsample(patches, image_size, align_corners=False), SIGMA)
    yield ScoreMaps(SCORE, maps, parts["images"] if "images" in parts else patches.amax((1, 2)))
