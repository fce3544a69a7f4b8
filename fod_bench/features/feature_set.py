"""A category's features as arrays, and how they lie in a store: two tensor files and a manifest that names them, written last.

    features/<feature key>/manifest.json
    features/<feature key>/<claim name>/train.safetensors, test.safetensors

Each is made under a claim, so what an earlier holder writes late lies where no manifest points.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fod_bench.datasets import LeftOut
from fod_bench.errors import DamagedObjectError
from fod_bench.records.claims import Claim, LostClaimError
from fod_bench.records.names import feature_file_name, features_folder, manifest_name
from fod_bench.store import ObjectMissingError, Store
from fod_bench.store.base import is_name
from fod_bench.store.reading import reading
from fod_bench.store.tensors import load_tensors, save_tensors


@dataclass(frozen=True)
class FeatureSet:
    """Features of one category from one backbone. Shape letters: n training and m test pictures, s the picture's side."""

    key: str
    train: dict[int, NDArray[np.float32]]
    """`{stride: (n, s/stride, s/stride, C)}`."""
    test: dict[int, NDArray[np.float32]]
    """`{stride: (m, s/stride, s/stride, C)}`."""
    masks: NDArray[np.uint8]
    """(p, s, s) of 0 and 1; 1 is defective. Of the p test pictures whose defective pixels are known: all, or those of `masked`."""
    labels: NDArray[np.uint8]
    """(m,) of 0 (good) and 1 (defective)."""
    manifest: dict[str, Any]
    """What the features were made of: images' names, backbone, digest of its weights, preprocessing, versions; `notes`, what was
    odd about the images and masks; where images are cropped, what that leaves out of defects; where not all defective images have
    a mask also `masks`, `some` or `none`, and `without_mask`, their names."""
    masked: NDArray[np.bool_] | None = None
    """(m,), true for the normal images and the defective ones with a mask; None where that is all."""

    def left_out(self) -> LeftOut:
        """What a crop leaves out of the defects; features made before images could be cropped do not say it."""
        return LeftOut(**self.manifest.get("left_out", {}))

    def nbytes(self) -> int:
        """Size of all arrays in bytes."""
        levels = [*self.train.values(), *self.test.values()]
        return sum(array.nbytes for array in levels) + self.masks.nbytes + self.labels.nbytes


def save_features(features: FeatureSet, claim: Claim) -> None:
    """Write a feature set under a claim of its key.

    Raises:
        LostClaimError: another worker has taken over, or was first; nothing of this one's is left.
        StoreError: the store failed.
    """
    store, about = claim.store, {"key": features.key}
    files = {part: feature_file_name(features.key, claim.name, part) for part in ("train", "test")}
    save_tensors(store, files["train"], _named(features.train), about)
    test = _named(features.test) | {"masks": features.masks, "labels": features.labels}
    if features.masked is not None:
        test["masked"] = features.masked
    save_tensors(store, files["test"], test, about)
    manifest = json.dumps({**features.manifest, "files": files}, indent=1)
    try:
        claim.commit(manifest_name(features.key), manifest.encode())
    except LostClaimError:
        for name in files.values():
            store.delete(name)
        raise


def load_features(store: Store, key: str) -> FeatureSet | None:
    """The stored feature set, memory-mapped; None when there is none.

    Raises:
        DamagedObjectError: bytes of it do not match their checksum, or are gone.
    """
    try:
        content = store.get(manifest_name(key))
    except ObjectMissingError:
        return None
    name = manifest_name(key)
    with reading(name, "manifest", store.location(name)):
        manifest = json.loads(content)
        files = manifest.pop("files")
        names = [files[part] for part in ("train", "test")]
        if not all(is_name(file) and file.startswith(features_folder(key)) for file in names):
            raise ValueError("its files do not belong to it")
    try:
        (train, _), (test, _) = (load_tensors(store, file) for file in names)
    except ObjectMissingError as error:
        raise DamagedObjectError(f"features {key} are damaged: {error}") from error
    with reading(names[1], "features", store.location(names[1])):
        masks, labels, masked = test.pop("masks"), test.pop("labels"), test.pop("masked", None)
        found = FeatureSet(key, _by_stride(train), _by_stride(test), masks, labels, manifest, masked)
        _check(found)
    return found


def drop_features(store: Store, key: str) -> None:
    """Remove a feature set, manifest first, so that no reader takes the rest for whole."""
    store.delete(manifest_name(key))
    for info in list(store.list(features_folder(key))):
        store.delete(info.name)


def _check(features: FeatureSet) -> None:
    """Raises ValueError for arrays that do not fit each other."""
    masks, labels, masked = features.masks, features.labels, features.masked
    if masked is not None and (masked.dtype != np.bool_ or masked.shape != labels.shape):
        raise ValueError(f"which images have masks is told by {masked.shape} {masked.dtype}, of labels {labels.shape}")
    known = len(labels) if masked is None else int(masked.sum())
    if not features.train or features.train.keys() != features.test.keys():
        raise ValueError("train and test have other levels")
    for stride in features.train:
        train, test = features.train[stride], features.test[stride]
        if (
            train.dtype != np.float32
            or test.dtype != np.float32
            or train.ndim != 4
            or train.shape[1:] != test.shape[1:]
        ):
            raise ValueError(f"level {stride} has the shapes {train.shape} {train.dtype} and {test.shape} {test.dtype}")
        if len(test) != len(labels) or len(masks) != known:
            raise ValueError(f"{len(test)} images with {len(masks)} masks, of {known}, and {len(labels)} labels")
    if masks.dtype != np.uint8 or labels.dtype != np.uint8 or masks.ndim != 3 or labels.ndim != 1:
        raise ValueError(f"masks {masks.shape} {masks.dtype} and labels {labels.shape} {labels.dtype}")


def _named(levels: dict[int, NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
    return {f"level_{stride}": array for stride, array in levels.items()}


def _by_stride(tensors: dict[str, NDArray[Any]]) -> dict[int, NDArray[np.float32]]:
    levels = {int(name.removeprefix("level_")): array for name, array in tensors.items()}
    return dict(sorted(levels.items()))
