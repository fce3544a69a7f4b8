"""FOD's reference features for the rest of the program: see `fod_bench.methods.settings.ReferenceMaker`."""

from __future__ import annotations

import torch

from fod_bench.features.feature_set import FeatureSet
from fod_bench.methods.fod.references.base import References
from fod_bench.methods.fod.references.build import build_references
from fod_bench.methods.fod.references.specs import ReferenceSpec
from fod_bench.methods.fod.references.stored import load_references as load
from fod_bench.methods.fod.references.stored import save_references as save

__all__ = ["load", "make", "save"]


def make(spec: ReferenceSpec, features: FeatureSet, device: torch.device) -> References:
    """References of every level of a feature set. Raises as `build_references`."""
    return build_references(spec, features.train, features.test, device, features.manifest["category"])
