"""What is true of a category's test images, labels and masks, and how it lies in a store: one tensor file, whole or not there.

truth/<truth key>.safetensors
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from fod_bench.datasets import Category, LeftOut, preprocess_mask
from fod_bench.datasets.names import counted, listed, printable
from fod_bench.errors import DatasetError
from fod_bench.evaluation.evaluate import Truth
from fod_bench.features.request import TruthRequest
from fod_bench.records.names import truth_name
from fod_bench.store import Store
from fod_bench.store.reading import reading
from fod_bench.store.tensors import load_tensors, save_tensors


class _About(BaseModel):
    """What is read of `TruthSet.about`."""

    model_config = ConfigDict(strict=True)

    key: str
    category: str
    images: list[str]
    notes: list[str]
    left_out: LeftOut = LeftOut()


@dataclass(frozen=True)
class TruthSet:
    """What is true of the test images, and what a person should know of them."""

    key: str
    truth: Truth
    about: dict[str, Any]
    """Layout, category, fingerprint; `images`, the test images' names; `notes`, what is odd about images and masks; where images
    are cropped `left_out`, what that leaves out of defects; where not all defective images have a mask `without_mask`, their
    names."""

    def told(self) -> list[str]:
        """What a person should know, a line each, with its heading."""
        category = self.about["category"]
        lines = [f"data      {category}: {note}" for note in self.about["notes"]]
        said = LeftOut(**self.about.get("left_out", {})).summary(category)
        return [*lines, *([f"cropped   {said}"] if said is not None else [])]


def require_images(category: Category) -> None:
    """Raises `DatasetError` when a split is empty."""
    for split, samples in (("training", category.train), ("test", category.test)):
        if not samples:
            raise DatasetError(f"category {category.name}: no {split} image")


def make_truth(request: TruthRequest) -> TruthSet:
    """Read labels and masks. Raises `DatasetError` when a mask cannot be read, or a split is empty; names it."""
    category, resize = request.category, request.resize
    require_images(category)
    known = [sample for sample in category.test if sample.masked]
    masks = np.zeros((len(known), resize.size, resize.size), np.uint8)  # (p, s, s)
    vanished, left_out = [], LeftOut()
    for mask, sample in zip(masks, known, strict=True):
        drawn = category.read_mask(sample)
        if drawn is not None:
            mask[:] = preprocess_mask(drawn, resize)
            left_out.add(sample.name, drawn, mask, resize)
            if drawn.any() and not mask.any() and sample.name not in left_out.wholly:
                vanished.append(sample.name)
    labels = np.array([sample.label for sample in category.test], np.uint8)
    about: dict[str, Any] = {
        **request.describe(),
        "layout": category.layout,
        "category": category.name,
        "fingerprint": request.fingerprint,
        "images": [sample.name for sample in category.test],
        "notes": [*category.noticed(), *_vanished(vanished, resize.size)],
    }
    if resize.shorter_side is not None:
        about["left_out"] = asdict(left_out)
    masked = None
    if len(known) < len(category.test):
        masked = np.array([sample.masked for sample in category.test])
        about["without_mask"] = [sample.name for sample in category.test if not sample.masked]
    return TruthSet(request.key, Truth(labels, masks, masked), about)


def save_truth(store: Store, made: TruthSet) -> None:
    """Write it under its key, unless it is there already. Raises `StoreError`."""
    arrays: dict[str, NDArray[Any]] = {"labels": made.truth.labels, "masks": made.truth.masks}
    if made.truth.masked is not None:
        arrays["masked"] = made.truth.masked
    save_tensors(store, truth_name(made.key), arrays, {"key": made.key, "about": json.dumps(made.about)}, new=True)


def load_truth(store: Store, key: str) -> TruthSet:
    """The stored truth, memory-mapped. Raises `ObjectMissingError`, `DamagedObjectError`."""
    name = truth_name(key)
    arrays, metadata = load_tensors(store, name)
    with reading(name, "truth of a category", store.location(name)):
        labels, masks, masked = arrays["labels"], arrays["masks"], arrays.get("masked")
        about = json.loads(metadata["about"])
        checked = _About.model_validate_json(metadata["about"])
        known = len(labels) if masked is None else int(masked.sum())
        if masks.dtype != np.uint8 or labels.dtype != np.uint8 or masks.ndim != 3 or labels.ndim != 1:
            raise ValueError(f"masks {masks.shape} {masks.dtype} and labels {labels.shape} {labels.dtype}")
        if masked is not None and (masked.dtype != np.bool_ or masked.shape != labels.shape):
            raise ValueError(
                f"which images have masks is told by {masked.shape} {masked.dtype}, of labels {labels.shape}"
            )
        if len(masks) != known or len(checked.images) != len(labels) or checked.key != key:
            raise ValueError(
                f"{len(labels)} labels with {len(masks)} masks, of {known}, and {len(checked.images)} names"
            )
        if masks.shape[1] != masks.shape[2] or labels.max(initial=0) > 1 or masks.max(initial=0) > 1:
            raise ValueError("labels and masks are not of 0 and 1, or masks not square")
    return TruthSet(key, Truth(labels, masks, masked), about)


def _vanished(names: list[str], size: int) -> list[str]:
    """A line on the defects that are too small for the image size, if there are any."""
    if not names:
        return []
    verb = "vanishes" if len(names) == 1 else "vanish"
    return [
        f"{counted(len(names), 'defect')} {verb} at {size}×{size}, no pixel of the mask being left, and counts as normal in pixel "
        f"metrics: {listed([printable(name) for name in names])}"
    ]
