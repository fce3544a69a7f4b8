"""A category of the paper's size: random features at EfficientNet-b6's widths, and the paper's setting."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np

SIZE = 256
WIDTHS = {8: (72, 256), 16: (200, 512)}
"""`{stride: (channels, d_m)}`."""
TRAIN, TEST, GOOD = 240, 110, 30
"""Images to train on, images to test on, and how many of these are without a defect."""


def data(train: int = TRAIN) -> Any:
    """Features, and masks with a square defect of 2 % of the image, as a trial gets them."""
    import torch

    from fod_bench.evaluation.evaluate import Truth
    from fod_bench.methods.base import Context, Split
    from fod_bench.methods.fod.references.build import build_references
    from fod_bench.methods.fod.references.specs import MeanReference
    from fod_bench.trials.data import TrialData

    rng = np.random.default_rng(0)
    masks, labels = np.zeros((TEST, SIZE, SIZE), np.uint8), np.arange(TEST) >= GOOD
    for mask in masks[GOOD:]:
        y, x = rng.integers(0, SIZE - 37, 2)
        mask[y : y + 37, x : x + 37] = 1

    def features(images: int) -> dict[int, Any]:
        return {
            level: rng.standard_normal((images, SIZE // level, SIZE // level, channels), dtype=np.float32)
            for level, (channels, _) in WIDTHS.items()
        }

    learnt, tested = features(train), features(TEST)
    references = build_references(MeanReference(), learnt, tested, torch.device("cpu"))
    truth, context = Truth(labels.astype(np.uint8), masks), Context(SIZE, references)
    return TrialData(Split(pooled=learnt), Split(pooled=tested), truth, context)


def method(given: Any, device: Any) -> Any:
    """FOD on it, in the paper's setting."""
    from fod_bench.methods.fod.method import FodMethod

    return FodMethod(SETTING, given.train, given.context, 0, device)


SETTING = {
    "levels": list(WIDTHS),
    "d_model": {str(level): d_model for level, (_, d_model) in WIDTHS.items()},
    "heads": 8,
    "layers": 3,
    "views": "full",
    "learning_rate": 1e-4,
    "batch_size": 1,
    "lambda1": 0.5,
    "lambda2": 0.5,
    "optimization": "two_phase",
}
"""The paper's."""


def evaluated(parts: Any, truth: Any, count: int | None = None) -> Any:
    """Metrics of the first `count` scorings, of all by default, from what the detector gave."""
    from fod_bench.evaluation.evaluate import evaluate
    from fod_bench.methods.fod.method import FodMethod

    return evaluate(islice(FodMethod.scorings(SETTING, parts, SIZE), count), truth)
