"""Mean features: the average over the training images at each position (Section 3.4, Appendix B.3)."""

from __future__ import annotations

import numpy as np

from fod_bench.methods.fod.references.base import Built, FixedReference, LevelFeatures
from fod_bench.methods.fod.references.specs import MeanReference


def mean_reference(spec: MeanReference, level: LevelFeatures) -> Built:
    """x_ij^f = (1/n) Σ_k x_ij^k, one image read after the other and summed in float64."""
    total = np.zeros(level.train.shape[1:])  # (H, W, C)
    for image in level.train:
        total += image
    mean = (total / len(level.train)).astype(np.float32)
    return FixedReference(mean[:, :, None]), {}
