"""Anomaly scores of test images, as a method gives them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class ScoreMaps(NamedTuple):
    """Anomaly scores of the test images under one scoring."""

    score: str
    """Score name, e.g. `rec@8+16`."""
    pixels: Tensor
    """(m, s, s), larger is more anomalous; where the method runs."""
    images: Tensor
    """(m,)."""
