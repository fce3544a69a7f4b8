"""Reference features: what the inter-image branch knows of normal pictures (Appendix B.3)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fod_bench.references.mean import mean_reference

References = dict[int, NDArray[np.float32]]
"""`{stride: (H, W, C)}`."""

BUILDERS: dict[str, Callable[[References], References]] = {"mean": mean_reference}
"""Kind of reference to the function that makes it from training features `{stride: (n, H, W, C)}`."""
