"""Mean features: the average over the training pictures at each position (Section 3.4, Appendix B.3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mean_reference(train: dict[int, NDArray[np.float32]]) -> dict[int, NDArray[np.float32]]:
    """x_ij = (1/n) Σ_k x_ij^k: `{stride: (n, H, W, C)}` to `{stride: (H, W, C)}`, summed in float64."""
    return {stride: features.mean(0, dtype=np.float64).astype(np.float32) for stride, features in train.items()}
