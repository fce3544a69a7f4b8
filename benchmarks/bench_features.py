"""Feature extraction, reading and resizing included, against the backbone alone on images that are in memory."""

from __future__ import annotations

import time

import torch

from benchmarks import Result

IMAGES = 96
SIZE = 256


def run() -> list[Result]:
    """Time of the extraction over that of the backbone alone, for JPEG-sized work on EfficientNet-b6."""
    import tempfile
    from pathlib import Path

    from fod_bench.datasets import SyntheticSettings, open_category, write_synthetic
    from fod_bench.features.backbone import Backbone
    from fod_bench.features.extract import BATCH, extract
    from fod_bench.features.request import FeatureRequest
    from fod_bench.features.weights import resolve_weights

    torch.set_num_threads(2)
    weights = resolve_weights("tf_efficientnet_b6.aa_in1k", "random", 0, download=False)
    with tempfile.TemporaryDirectory() as folder:
        settings = SyntheticSettings(train=IMAGES - 8, test_good=4, test_defect_per_type=1, size=512)
        write_synthetic(Path(folder) / "set", settings, ["weave"])
        category = open_category("folder", Path(folder) / "set", "weave")
        request = FeatureRequest(category, category.fingerprint(), weights, SIZE, (8, 16))
        backbone, images = Backbone(weights, (8, 16)), torch.rand(BATCH, 3, SIZE, SIZE)
        backbone(images)
        ratios = []
        for _ in range(2):
            start = time.perf_counter()
            count = len(category.samples)
            for first in range(0, count, BATCH):
                backbone(images[: min(BATCH, count - first)])
            alone = time.perf_counter() - start
            start = time.perf_counter()
            extract([request], torch.device("cpu"))[0]
            ratios.append((time.perf_counter() - start) / alone)
    return [Result("feature extraction: time / backbone alone", min(ratios), 1.15, "×", higher_is_better=False)]
