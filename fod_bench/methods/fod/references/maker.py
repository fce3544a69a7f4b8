"""FOD's reference features for the rest of the program: see `fod_bench.methods.settings.ReferenceMaker`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fod_bench.features.feature_set import FeatureSet
from fod_bench.methods.fod.references.base import ChosenReference, References
from fod_bench.methods.fod.references.build import build_references
from fod_bench.methods.fod.references.specs import ReferenceSpec
from fod_bench.methods.fod.references.stored import load_references as load
from fod_bench.methods.fod.references.stored import save_references as save

__all__ = ["complete", "load", "make", "rows", "save"]


def make(spec: ReferenceSpec, features: FeatureSet, device: torch.device) -> References:
    """References of every level of a feature set. Raises as `build_references`."""
    return build_references(spec, features.train, features.test, device, str(features.manifest.get("category", "")))


def rows(made: References) -> tuple[dict[int, NDArray[np.int32]], dict[int, NDArray[np.int32]]]:
    """Of references that depend on the image, the rows of the training and of the test images; nothing of others."""
    chosen = {level: each for level, each in made.levels.items() if isinstance(each, ChosenReference)}
    return {level: each.train for level, each in chosen.items()}, {level: each.test for level, each in chosen.items()}


def complete(made: References, train: Callable[[], Mapping[int, NDArray[np.float32]]]) -> References:
    """The references with their tables, which are the training features `{stride: (n, H, W, C)}` where they name no other; `train`
    is called only then."""

    def with_table(level: int) -> Any:
        each = made.levels[level]
        if isinstance(each, ChosenReference) and each.table is None:
            return replace(each, table=train()[level])
        return each

    return References({level: with_table(level) for level in made.levels}, made.facts)
