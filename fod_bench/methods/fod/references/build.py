"""From a reference's settings and a feature set to the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fod_bench.errors import TrialError
from fod_bench.methods.fod.references.base import Built, LevelFeatures, References
from fod_bench.methods.fod.references.codebook import codebook_reference
from fod_bench.methods.fod.references.coreset import coreset_reference
from fod_bench.methods.fod.references.mean import mean_reference
from fod_bench.methods.fod.references.nearest import nearest_reference
from fod_bench.methods.fod.references.prototype import prototype_reference
from fod_bench.methods.fod.references.specs import ReferenceSpec

_BUILDERS: dict[str, Callable[[Any, LevelFeatures], Built]] = {
    "mean": mean_reference,
    "nearest": nearest_reference,
    "coreset": coreset_reference,
    "prototype": prototype_reference,
    "codebook": codebook_reference,
}


def build_references(
    spec: ReferenceSpec,
    train: Mapping[int, NDArray[np.float32]],
    test: Mapping[int, NDArray[np.float32]],
    device: torch.device,
    name: str = "",
) -> References:
    """References of every level, from features `{stride: (n, H, W, C)}` of the training and the test images.

    A level's reference depends on its own features and the spec alone. Test features are only looked up in what training
    features gave.

    Raises:
        TrialError: they cannot be made: too few images, too little memory; says what would do.
    """
    problem = spec.too_few(len(next(iter(train.values()))))
    if problem is not None:
        raise TrialError(problem)
    levels, facts = {}, dict[str, dict[str, float]]()
    for stride in train:
        features = LevelFeatures(stride, train[stride], test[stride], device, name)
        levels[stride], found = _BUILDERS[spec.kind](spec, features)
        for fact, value in found.items():
            facts.setdefault(fact, {})[str(stride)] = value
    return References(levels, facts)
