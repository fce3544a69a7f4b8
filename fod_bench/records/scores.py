"""Scores of a trial's test images as they are kept beside its record: what its detector gave of them, at the epochs kept.

    trials/<train key>/<claim>/scores-<epoch kept>.safetensors

From them a metric, a figure or a gallery is made without a training. Image by image in the order of the truth that the record
names. Maps of more than `FULL_PRECISION` numbers an image are kept in float16, as differences from their
median, scaled to its range: most numbers lie near the median, and float16 is finest near zero.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fod_bench.records.checkpoints import State
from fod_bench.records.names import scores_name
from fod_bench.records.record import SELECTED_WEIGHTS, Record
from fod_bench.store import ObjectMissingError, Store
from fod_bench.store.reading import reading
from fod_bench.store.tensors import load_tensors, save_tensors

LAST = "last"
EPOCHS = (*SELECTED_WEIGHTS, LAST)
"""Names of the epochs of which scores can be kept."""
_LARGEST_SCALE = float(np.finfo(np.float32).max)
FULL_PRECISION = 64 * 64
"""Numbers of an image up to which a part is kept in float32."""
_LARGEST = 32768.0
"""What the largest magnitude of a part in float16 is scaled to: smaller ones keep their digits over 1e9 of range."""


def kept_bytes(numbers: int) -> int:
    """Bytes that a part of so many numbers an image takes for each image."""
    return numbers * (4 if numbers <= FULL_PRECISION else 2)


def save_scores(store: Store, key: str, claim: str, epoch: str, parts: State) -> None:
    """Keep what the detector gave of all test images, arrays (m, ...) of float32. Raises `StoreError`."""
    arrays: dict[str, NDArray[Any]] = {}
    scales: dict[str, float] = {}
    centres: dict[str, float] = {}
    for name, part in parts.items():
        if math.prod(part.shape[1:]) > FULL_PRECISION:
            centres[name] = float(np.median(part))
            differences = part - np.float32(centres[name])
            scales[name] = max(float(np.abs(differences).max()) / _LARGEST, float(np.finfo(np.float32).tiny))
            arrays[name] = (differences / np.float32(scales[name])).astype(np.float16)
        else:
            arrays[name] = part
    about = {"key": key, "scales": json.dumps(scales), "centres": json.dumps(centres)}
    save_tensors(store, scores_name(key, claim, epoch), arrays, about)


def load_scores(store: Store, record: Record, epoch: str) -> State | None:
    """The scores of an epoch that is kept, arrays (m, ...) of float32; None where the record has none of it.

    Raises `DamagedObjectError`.
    """
    if not record.run.claim:
        return None
    name = scores_name(record.key, record.run.claim, epoch)
    try:
        arrays, about = load_tensors(store, name)
    except ObjectMissingError:
        return None
    with reading(name, "scores of a trial", store.location(name)):
        scales: dict[str, float] = json.loads(about["scales"])
        centres: dict[str, float] = json.loads(about.get("centres", "{}"))  # older ones are scaled alone
        images = record.counts.test_good + record.counts.test_defect
        if about["key"] != record.key or {len(array) for array in arrays.values()} != {images}:
            raise ValueError(f"they are of another trial, or not of its {images} test images")
        found = {part: array.astype(np.float32) for part, array in arrays.items()}
        for part, scale in scales.items():
            if not 0.0 < scale < _LARGEST_SCALE:
                raise ValueError(f"part {part!r} is scaled by {scale!r}")
            if not math.isfinite(centre := centres.get(part, 0.0)):
                raise ValueError(f"the centre of part {part!r} is {centre!r}")
            found[part] = found[part] * np.float32(scale) + np.float32(centre)
    return found
