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
from fod_bench.store import ObjectMissingError, Store
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


def manifest_name(key: str) -> str:
    """Store name of the manifest of a feature set; where it exists, the set is whole."""
    return f"features/{key}/manifest.json"


def save_features(features: FeatureSet, claim: Claim) -> None:
    """Write a feature set under a claim of its key.

    Raises:
        LostClaimError: another worker has taken over, or was first; nothing of this one's is left.
        StoreError: the store failed.
    """
    store, about = claim.store, {"key": features.key}
    files = {part: f"features/{features.key}/{claim.name}/{part}.safetensors" for part in ("train", "test")}
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
    try:
        manifest = json.loads(content)
        files = manifest.pop("files")
        train, _ = load_tensors(store, files["train"])
        test, _ = load_tensors(store, files["test"])
    except ObjectMissingError as error:
        raise DamagedObjectError(f"features {key} are damaged: {error}") from error
    except (json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise DamagedObjectError(f"{store.location(manifest_name(key))}: no manifest ({error!r})") from error
    masks, labels, masked = test.pop("masks"), test.pop("labels"), test.pop("masked", None)
    return FeatureSet(key, _by_stride(train), _by_stride(test), masks, labels, manifest, masked)


def drop_features(store: Store, key: str) -> None:
    """Remove a feature set, manifest first, so that no reader takes the rest for whole."""
    store.delete(manifest_name(key))
    for info in list(store.list(f"features/{key}/")):
        store.delete(info.name)


def _named(levels: dict[int, NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
    return {f"level_{stride}": array for stride, array in levels.items()}


def _by_stride(tensors: dict[str, NDArray[Any]]) -> dict[int, NDArray[np.float32]]:
    levels = {int(name.removeprefix("level_")): array for name, array in tensors.items()}
    return dict(sorted(levels.items()))
