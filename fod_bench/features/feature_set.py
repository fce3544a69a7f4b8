"""A category's features as arrays, and how they lie in a store: two tensor files and a manifest, which is written last."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fod_bench.errors import DamagedObjectError
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
    """(m, s, s) of 0 and 1; 1 is defective."""
    labels: NDArray[np.uint8]
    """(m,) of 0 (good) and 1 (defective)."""
    manifest: dict[str, Any]
    """What the features were made of: pictures' names, backbone, digest of its weights, preprocessing, versions."""

    def nbytes(self) -> int:
        """Size of all arrays in bytes."""
        levels = [*self.train.values(), *self.test.values()]
        return sum(array.nbytes for array in levels) + self.masks.nbytes + self.labels.nbytes


def manifest_name(key: str) -> str:
    """Store name of the manifest of a feature set; where it exists, the set is whole."""
    return f"features/{key}/manifest.json"


def save_features(store: Store, features: FeatureSet) -> None:
    """Write a feature set. Raises `StoreError`."""
    key = {"key": features.key}
    save_tensors(store, f"features/{features.key}/train.safetensors", _named(features.train), key)
    test = _named(features.test) | {"masks": features.masks, "labels": features.labels}
    save_tensors(store, f"features/{features.key}/test.safetensors", test, key)
    store.put(manifest_name(features.key), json.dumps(features.manifest, indent=1).encode())


def load_features(store: Store, key: str) -> FeatureSet | None:
    """The stored feature set, memory-mapped where the store allows; None when it is not there or not whole.

    Raises:
        DamagedObjectError: bytes of it do not match their checksum.
    """
    try:
        manifest = json.loads(store.get(manifest_name(key)))
        train, _ = load_tensors(store, f"features/{key}/train.safetensors")
        test, _ = load_tensors(store, f"features/{key}/test.safetensors")
    except ObjectMissingError:
        return None
    except json.JSONDecodeError as error:
        raise DamagedObjectError(f"{store.location(manifest_name(key))}: no manifest ({error})") from error
    masks, labels = test.pop("masks"), test.pop("labels")
    return FeatureSet(key, _by_stride(train), _by_stride(test), masks, labels, manifest)


def drop_features(store: Store, key: str) -> None:
    """Remove a feature set, manifest first, so that no reader takes the rest for whole."""
    for name in ("manifest.json", "train.safetensors", "test.safetensors"):
        store.delete(f"features/{key}/{name}")


def _named(levels: dict[int, NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
    return {f"level_{stride}": array for stride, array in levels.items()}


def _by_stride(tensors: dict[str, NDArray[Any]]) -> dict[int, NDArray[np.float32]]:
    levels = {int(name.removeprefix("level_")): array for name, array in tensors.items()}
    return dict(sorted(levels.items()))
