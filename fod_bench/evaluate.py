"""From score maps and masks to metrics, the same for every method."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fod_bench.methods.base import ScoreMaps
from fod_bench.metrics import UndefinedMetricError, image_metrics, pixel_metrics
from fod_bench.record import METRICS, MetricName


def evaluate(
    scorings: Iterable[ScoreMaps], labels: NDArray[np.uint8], masks: NDArray[np.uint8]
) -> tuple[dict[str, dict[MetricName, float | None]], dict[str, str]]:
    """Metrics of every scoring, `{score name: {metric: value}}`, and `{metric: reason}` for those the test split leaves undefined.

    Args:
        scorings: maps (m, s, s) and image scores (m,) of the test pictures.
        labels: (m,), 1 for a defective picture.
        masks: (m, s, s), 1 for a defective pixel.

    Raises:
        NonFiniteScoresError: a score is not finite.
    """
    found: dict[str, dict[MetricName, float | None]] = {}
    undefined: dict[str, str] = {}
    for scoring in scorings:
        values: dict[MetricName, float] = {}
        for prefix, measure, scores, truth in (
            ("image_", image_metrics, scoring.images, labels),
            ("pixel_", pixel_metrics, scoring.pixels, masks),
        ):
            try:
                values |= measure(scores, truth)
            except UndefinedMetricError as reason:
                undefined |= {name: str(reason) for name in METRICS if name.startswith(prefix)}
        found[scoring.score] = {name: values.get(name) for name in METRICS}
    return found, undefined
