"""A category's images, read and resized by threads, and one pass of the frozen backbone over them meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain, islice
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image

from fod_bench import __version__
from fod_bench.datasets import Category, Resize, Sample, preprocess_image, square
from fod_bench.errors import TrialError
from fod_bench.features.backbone import Backbone
from fod_bench.features.feature_set import FeatureSet, ImageSet
from fod_bench.features.request import FeatureRequest, ImageRequest, SetRequest
from fod_bench.features.truth import require_images
from fod_bench.machine.system import cores

BATCH = 16
"""Images per pass of the backbone. Fixed, so that the same images give the same bits wherever they are extracted."""


def extract(requests: Sequence[FeatureRequest], device: torch.device) -> list[FeatureSet]:
    """Features of all of a category's images, of all requests that are made in one pass (equal `made_with`).

    Raises:
        DatasetError: an image cannot be read, or a split is empty; names it.
        WeightsError: the weights do not fit the backbone.
        JobError: the backbone does not give the levels for such images.
        TrialError: `device` does not have the precision, or timm is another version than the planner's.
    """
    request = requests[0]
    category, resize = request.category, request.resize
    require_images(category)
    backbone = Backbone(request.weights, request.levels, request.precision, resize.size).to(device)
    if backbone.maps.distinction != request.maps:
        raise TrialError(
            f"timm {timm.__version__} reads {request.weights.backbone} otherwise ({backbone.maps.distinction or 'plainly'}) than "
            f"where the job was planned ({request.maps or 'plainly'}); use one version of timm everywhere"
        )
    forms = [one.pooled for one in requests]
    train, test = _run(backbone, category, resize, device, forms)
    made = []
    for one in requests:
        channels = {str(level): array.shape[-1] for level, array in train[one.pooled].items()}
        manifest = {**_manifest(one), "channels": channels}
        made.append(FeatureSet(one.key, train[one.pooled], test[one.pooled], manifest))
    return made


def read_images(request: ImageRequest) -> ImageSet:
    """All of a category's images, decoded and resized. Raises `DatasetError` when one cannot be read, or a split is empty."""
    category, resize = request.category, request.resize
    require_images(category)
    train, test = (
        np.stack([image for batch in _read_ahead(category, samples, partial(square, resize=resize)) for image in batch])
        for samples in (_batches(category.train), _batches(category.test))
    )
    return ImageSet(request.key, train, test, _manifest(request))


def _manifest(request: SetRequest) -> dict[str, Any]:
    category = request.category
    return {
        **request.describe(),
        "layout": category.layout,
        "category": category.name,
        "fingerprint": request.fingerprint,
        "train": [sample.name for sample in category.train],
        "test": [sample.name for sample in category.test],
        "versions": {"fod-bench": __version__, "torch": torch.__version__, "timm": timm.__version__},
    }


def _run(
    backbone: Backbone,
    category: Category,
    resize: Resize,
    device: torch.device,
    forms: Sequence[bool],
) -> list[dict[bool, dict[int, NDArray[np.float32]]]]:
    """Of each split `{pooled: {stride: (n, s/stride, s/stride, C)}}`, of the forms asked for."""
    splits = [_batches(samples) for samples in (category.train, category.test)]
    prepared = _read_ahead(
        category, [batch for split in splits for batch in split], partial(preprocess_image, resize=resize)
    )
    made = []
    for split, samples in zip(splits, (category.train, category.test), strict=True):
        features: dict[bool, dict[int, NDArray[np.float32]]] = {pooled: {} for pooled in forms}
        for number, images in enumerate(islice(prepared, len(split))):
            batch = np.stack(images)  # (≤ BATCH, 3, s, s)
            maps = backbone.maps_of(torch.from_numpy(batch).to(device, non_blocking=True))
            for pooled, found in features.items():
                for level, values in zip(backbone.levels, backbone.features(maps, pooled=pooled), strict=True):
                    if level not in found:
                        found[level] = np.empty((len(samples), *values.shape[1:]), np.float32)
                    found[level][number * BATCH :][: len(batch)] = values.cpu().numpy()
        made.append(features)
    return made


def _batches(samples: list[Sample]) -> list[list[Sample]]:
    return [samples[start : start + BATCH] for start in range(0, len(samples), BATCH)]


def _read_ahead(
    category: Category, batches: list[list[Sample]], prepare: Callable[[Image.Image], NDArray[Any]]
) -> Iterator[list[NDArray[Any]]]:
    """Prepared images of each batch in order, with two more batches being read meanwhile."""

    def read(sample: Sample) -> NDArray[Any]:
        return prepare(category.read_image(sample))

    readers = max(1, cores() - 1)
    with ThreadPoolExecutor(readers, thread_name_prefix="read-image") as pool:
        waiting = iter(batches)
        pending: list[list[Future[NDArray[Any]]]] = []
        try:
            while True:
                pending += [
                    [pool.submit(read, sample) for sample in batch] for batch in islice(waiting, 3 - len(pending))
                ]
                if not pending:
                    return
                yield [future.result() for future in pending[0]]
                del pending[0]
        finally:
            for future in chain.from_iterable(pending):
                future.cancel()
