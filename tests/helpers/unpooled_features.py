"""A synthetic category as methods get it: images, features as the backbone gives them, and smoothed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch

from fod_bench.datasets import (
    Resize,
    Sample,
    SyntheticSettings,
    open_category,
    preprocess_image,
    preprocess_mask,
)
from fod_bench.datasets.preprocess import square
from fod_bench.evaluation.evaluate import Truth
from fod_bench.features.backbone import Backbone
from fod_bench.features.weights import Weights
from fod_bench.methods.base import Split

BACKBONE = "mobilenetv2_100"
LEVELS = (8, 16)


@cache
def synthetic_splits(
    category: str, size: int, train: int, good: int, defective: int, weights: Path | None = None
) -> tuple[Split, Split, Truth]:
    """Training and test split, and the test split's truth, of images of `size` pixels; `defective` of each type of defect.

    Features of a MobileNetV2 of strides 8 and 16 with random weights, or those of a file.
    """
    settings = SyntheticSettings(train=train, test_good=good, test_defect_per_type=defective, size=size)
    found = open_category("synthetic", None, category, synthetic=settings)
    resize = Resize(size)
    given = Weights(BACKBONE, "", weights, None if weights else 0)
    backbone = Backbone(given, LEVELS, image_size=size)

    @torch.inference_mode()
    def split(samples: Sequence[Sample]) -> Split:
        images = np.stack([preprocess_image(found.read_image(sample), resize) for sample in samples])
        maps = backbone.network(torch.from_numpy(images))  # (n, C, H, W) each
        pooled, unpooled = (
            {level: values.contiguous().numpy() for level, values in zip(LEVELS, given, strict=True)}
            for given in (backbone.features(maps, pooled=True), backbone.features(maps, pooled=False))
        )
        pixels = np.stack([square(found.read_image(sample), resize) for sample in samples])
        return Split(pooled, unpooled, pixels)

    masks = np.zeros((len(found.test), size, size), np.uint8)
    for mask, sample in zip(masks, found.test, strict=True):
        drawn = found.read_mask(sample)
        if drawn is not None:
            mask[:] = preprocess_mask(drawn, resize)
    labels = np.array([sample.label for sample in found.test], np.uint8)
    return split(found.train), split(found.test), Truth(labels, masks)
