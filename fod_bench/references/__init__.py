"""Reference features: what the inter-image branch knows of normal pictures (Appendix B.3)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fod_bench.record import canonical_digest
from fod_bench.references.mean import mean_reference

References = dict[int, NDArray[np.float32]]
"""`{stride: (H, W, C)}`."""

BUILDERS: dict[str, Callable[[References], References]] = {"mean": mean_reference}
"""Kind of reference to the function that makes it from training features `{stride: (n, H, W, C)}`."""


def reference_key(feature_key: str, kind: str) -> str:
    """Key of the reference features of `kind` made from a feature set."""
    return canonical_digest({"features": feature_key, "kind": kind})[:32]


def reference_name(key: str) -> str:
    """Store name of reference features."""
    return f"references/{key}.safetensors"
