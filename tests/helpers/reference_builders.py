"""Small features and the references made of them, for the tests of the kinds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fod_bench.methods.fod.references.base import ChosenReference, FixedReference, References
from fod_bench.methods.fod.references.build import build_references
from fod_bench.methods.fod.references.specs import reference_spec
from tests.helpers.trial_builders import CPU


def features(images: int = 6, height: int = 3, width: int = 4, channels: int = 5, seed: int = 0) -> NDArray[np.float32]:
    """Random features (images, height, width, channels) far from the origin, read only as a mapped file's are."""
    made = 3 + np.random.default_rng(seed).normal(size=(images, height, width, channels)).astype(np.float32)
    made.flags.writeable = False
    return made


TRAIN, TEST = features(), features(4, seed=1)


def built(spec: Any, train: NDArray[np.float32] = TRAIN, test: NDArray[np.float32] = TEST) -> References:
    return build_references(reference_spec(spec), {8: train}, {8: test}, CPU)


def fixed(spec: Any, train: NDArray[np.float32] = TRAIN) -> NDArray[np.float32]:
    """The one level of a reference that is the same for all images: (H, W, M, C)."""
    level = built(spec, train).levels[8]
    assert isinstance(level, FixedReference) and level.features.dtype == np.float32
    return level.features


def chosen(spec: Any, train: NDArray[np.float32] = TRAIN) -> ChosenReference:
    level = built(spec, train).levels[8]
    assert isinstance(level, ChosenReference) and level.train.dtype == level.test.dtype == np.int32
    return level


def rows(array: NDArray[Any]) -> set[bytes]:
    """The vectors of an array (..., C)."""
    return {vector.tobytes() for vector in array.reshape(-1, array.shape[-1])}
