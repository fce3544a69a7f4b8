"""A category's features and images as arrays, and from and to a store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fod_bench.features.request import FeatureRequest, SetRequest
from fod_bench.features.stored_set import drop_set, load_set, save_set
from fod_bench.records.claims import Claim
from fod_bench.records.names import FEATURES, IMAGES, manifest_name
from fod_bench.store import Store
from fod_bench.store.reading import reading

_INSIDE = ("masks", "labels", "masked")
"""Arrays beside the features in sets of older versions; they are in a truth of its own now."""


@dataclass(frozen=True)
class FeatureSet:
    """Features of one category from one backbone. Shape letters: n training and m test images, s the image's side."""

    key: str
    train: dict[int, NDArray[np.float32]]
    """`{stride: (n, s/stride, s/stride, C)}`."""
    test: dict[int, NDArray[np.float32]]
    """`{stride: (m, s/stride, s/stride, C)}`."""
    manifest: dict[str, Any]
    """What the features were made of: images' names, backbone, digest of its weights, preprocessing, versions."""
    root: ClassVar[str] = FEATURES

    def nbytes(self) -> int:
        """Size of all arrays in bytes."""
        return sum(array.nbytes for array in (*self.train.values(), *self.test.values()))

    def save(self, claim: Claim) -> None:
        """Write the set under a claim of its key. Raises as `save_set`."""
        save_set(claim, self.root, _named(self.train), _named(self.test), self.manifest)


@dataclass(frozen=True)
class ImageSet:
    """Images of one category, decoded and resized, RGB."""

    key: str
    train: NDArray[np.uint8]
    """(n, s, s, 3)."""
    test: NDArray[np.uint8]
    """(m, s, s, 3)."""
    manifest: dict[str, Any]
    """What they are: names, preprocessing, versions."""
    root: ClassVar[str] = IMAGES

    def nbytes(self) -> int:
        """Size of all arrays in bytes."""
        return self.train.nbytes + self.test.nbytes

    def save(self, claim: Claim) -> None:
        """Write the set under a claim of its key. Raises as `save_set`."""
        save_set(claim, self.root, {"images": self.train}, {"images": self.test}, self.manifest)


MadeSet: TypeAlias = FeatureSet | ImageSet
"""What a `SetRequest` asks for."""


def root_of(request: SetRequest) -> str:
    """Beginning of the names of such sets."""
    return FEATURES if isinstance(request, FeatureRequest) else IMAGES


def manifest_of(request: SetRequest) -> str:
    """Store name of the set's manifest."""
    return manifest_name(request.key, root_of(request))


def load_features(store: Store, key: str) -> FeatureSet | None:
    """The stored feature set, memory-mapped; None when there is none. Raises `DamagedObjectError`."""
    found = load_set(store, key, FEATURES)
    if found is None:
        return None
    with reading(manifest_name(key), "features", store.location(manifest_name(key))):
        train, test = _by_stride(found.train), _by_stride(found.test)
        if not train or train.keys() != test.keys():
            raise ValueError("train and test have other levels")
        lengths = [{len(array) for array in split.values()} for split in (train, test)]
        for stride, array in train.items():
            shapes = f"{array.shape} {array.dtype} and {test[stride].shape} {test[stride].dtype}"
            floats = array.dtype == test[stride].dtype == np.float32
            if not floats or array.ndim != 4 or array.shape[1:] != test[stride].shape[1:]:
                raise ValueError(f"level {stride} has the shapes {shapes}")
        if any(len(counts) != 1 for counts in lengths):
            raise ValueError("its levels are of different numbers of images")
    return FeatureSet(key, train, test, found.manifest)


def load_images(store: Store, key: str) -> ImageSet | None:
    """The stored images, memory-mapped; None when there are none. Raises `DamagedObjectError`."""
    found = load_set(store, key, IMAGES)
    if found is None:
        return None
    name = manifest_name(key, IMAGES)
    with reading(name, "images", store.location(name)):
        train, test = found.train["images"], found.test["images"]
        for array in (train, test):
            if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1:] != (*train.shape[1:2] * 2, 3):
                raise ValueError(
                    f"the images have the shapes {train.shape} {train.dtype} and {test.shape} {test.dtype}"
                )
    return ImageSet(key, train, test, found.manifest)


def load(store: Store, form: str, key: str) -> MadeSet | None:
    """The stored set of a form, see `FeatureRequest.form`; None when there is none. Raises `DamagedObjectError`."""
    return load_images(store, key) if form == "images" else load_features(store, key)


def drop(store: Store, request: SetRequest) -> None:
    """Remove a set."""
    drop_set(store, request.key, root_of(request))


def _named(levels: dict[int, NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
    return {f"level_{stride}": array for stride, array in levels.items()}


def _by_stride(tensors: dict[str, NDArray[Any]]) -> dict[int, NDArray[np.float32]]:
    levels = {int(name.removeprefix("level_")): array for name, array in tensors.items() if name not in _INSIDE}
    return dict(sorted(levels.items()))
