"""From score maps and masks to metrics, the same for every method."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fod_bench.methods.base import ScoreMaps
from fod_bench.metrics import UndefinedMetricError, image_metrics, pixel_metrics, region_weights
from fod_bench.record import METRICS, MetricName


@dataclass(frozen=True)
class Truth:
    """What a test split's scores are held against."""

    labels: NDArray[np.uint8]
    """(m,), 1 for a defective picture."""
    masks: NDArray[np.uint8]
    """(m, s, s), 1 for a defective pixel."""

    @cached_property
    def region_weights(self) -> NDArray[np.float64]:
        """See `fod_bench.metrics.region_weights`; the regions are found once, not once per scoring."""
        return region_weights(self.masks)


def evaluate(
    scorings: Iterable[ScoreMaps], truth: Truth
) -> tuple[dict[str, dict[MetricName, float | None]], dict[str, str]]:
    """Metrics of every scoring, `{score name: {metric: value}}`, and `{metric: reason}` for those the test split leaves undefined.

    Args:
        scorings: maps (m, s, s) and image scores (m,) of the test pictures.

    Raises:
        NonFiniteScoresError: a score is not finite.
    """
    found: dict[str, dict[MetricName, float | None]] = {}
    undefined: dict[str, str] = {}
    for scoring in scorings:
        values: dict[MetricName, float] = {}
        try:
            values |= image_metrics(scoring.images, truth.labels)
        except UndefinedMetricError as reason:
            undefined |= _undefined("image_", reason)
        try:
            values |= pixel_metrics(scoring.pixels, truth.masks, truth.region_weights)
        except UndefinedMetricError as reason:
            undefined |= _undefined("pixel_", reason)
        found[scoring.score] = {name: values.get(name) for name in METRICS}
    return found, undefined


def _undefined(prefix: str, reason: UndefinedMetricError) -> dict[str, str]:
    return {name: str(reason) for name in METRICS if name.startswith(prefix)}
