"""One pass of the frozen backbone over a category: pictures are read and resized by threads while the network computes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from itertools import islice
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray

from fod_bench import __version__
from fod_bench.datasets import Category, LeftOut, Resize, Sample, preprocess_image, preprocess_mask
from fod_bench.datasets.names import counted, listed, printable
from fod_bench.errors import DatasetError, TrialError
from fod_bench.features.backbone import Backbone
from fod_bench.features.feature_set import FeatureSet
from fod_bench.features.request import FeatureRequest
from fod_bench.machine.system import cores

BATCH = 16
"""Pictures per pass of the backbone. Fixed, so that the same pictures give the same bits wherever they are extracted."""


def extract(request: FeatureRequest, device: torch.device) -> FeatureSet:
    """Features of all of a category's pictures, and the test masks.

    Raises:
        DatasetError: a picture or mask cannot be read, or a split is empty; names it.
        WeightsError: the weights do not fit the backbone.
        JobError: the backbone does not give the levels for such images.
        TrialError: `device` does not have the precision, or timm is another version than the planner's.
    """
    category, resize = request.category, request.resize
    for split, samples in (("training", category.train), ("test", category.test)):
        if not samples:
            raise DatasetError(f"category {category.name}: no {split} picture")
    backbone = Backbone(request.weights, request.levels, request.precision, resize.size).to(device)
    if backbone.maps.distinction != request.maps:
        raise TrialError(
            f"timm {timm.__version__} reads {request.weights.backbone} otherwise ({backbone.maps.distinction or 'plainly'}) than "
            f"where the job was planned ({request.maps or 'plainly'}); use one version of timm everywhere"
        )
    train = _run(backbone, category, category.train, resize, device)
    test = _run(backbone, category, category.test, resize, device)
    known = [sample for sample in category.test if sample.masked]
    masks = np.zeros((len(known), resize.size, resize.size), np.uint8)  # (p, s, s)
    vanished = []
    left_out = LeftOut()
    for mask, sample in zip(masks, known, strict=True):
        drawn = category.read_mask(sample)
        if drawn is not None:
            mask[:] = preprocess_mask(drawn, resize)
            left_out.add(sample.name, drawn, mask, resize)
            if drawn.any() and not mask.any() and sample.name not in left_out.wholly:
                vanished.append(sample.name)
    labels = np.array([sample.label for sample in category.test], np.uint8)
    manifest: dict[str, Any] = {
        **request.describe(),
        "layout": category.layout,
        "category": category.name,
        "fingerprint": request.fingerprint,
        "channels": {str(level): array.shape[-1] for level, array in train.items()},
        "train": [sample.name for sample in category.train],
        "test": [sample.name for sample in category.test],
        "notes": [*category.noticed(), *_vanished(vanished, resize.size)],
        "versions": {"fod-bench": __version__, "torch": torch.__version__, "timm": timm.__version__},
    }
    if resize.shorter_side is not None:
        manifest["left_out"] = asdict(left_out)
    masked = None
    if len(known) < len(category.test):
        masked = np.array([sample.masked for sample in category.test])
        manifest["masks"] = "some" if labels[masked].any() else "none"
        manifest["without_mask"] = [sample.name for sample in category.test if not sample.masked]
    return FeatureSet(request.key, train, test, masks, labels, manifest, masked)


def _vanished(names: list[str], size: int) -> list[str]:
    """A line on the defects that are too small for the image size, if there are any."""
    if not names:
        return []
    verb = "vanishes" if len(names) == 1 else "vanish"
    return [
        f"{counted(len(names), 'defect')} {verb} at {size}×{size}, no pixel of the mask being left, and counts as normal in pixel "
        f"metrics: {listed([printable(name) for name in names])}"
    ]


def _run(
    backbone: Backbone, category: Category, samples: list[Sample], resize: Resize, device: torch.device
) -> dict[int, NDArray[np.float32]]:
    """`{stride: (n, s/stride, s/stride, C)}` of the samples."""
    features: dict[int, NDArray[np.float32]] = {}
    start = 0
    for batch in _read_ahead(category, samples, resize):
        pictures = torch.from_numpy(batch).to(device, non_blocking=True)
        for level, values in zip(backbone.levels, backbone(pictures), strict=True):
            if level not in features:
                features[level] = np.empty((len(samples), *values.shape[1:]), np.float32)
            features[level][start : start + len(batch)] = values.cpu().numpy()
        start += len(batch)
    return features


def _read_ahead(category: Category, samples: list[Sample], resize: Resize) -> Iterator[NDArray[np.float32]]:
    """Batches (≤ BATCH, 3, s, s) in order, with two more batches being read meanwhile."""

    def read(sample: Sample) -> NDArray[np.float32]:
        return preprocess_image(category.read_image(sample), resize)

    readers = max(1, cores() - 1)
    with ThreadPoolExecutor(readers, thread_name_prefix="read-picture") as pool:
        waiting = iter(samples)
        pending: list[Future[NDArray[np.float32]]] = []
        try:
            while True:
                pending += [pool.submit(read, sample) for sample in islice(waiting, 3 * BATCH - len(pending))]
                if not pending:
                    return
                yield np.stack([future.result() for future in pending[:BATCH]])
                del pending[:BATCH]
        finally:
            for future in pending:
                future.cancel()
