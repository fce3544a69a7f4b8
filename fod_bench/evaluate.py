"""From score maps and masks to metrics, the same for every method."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fod_bench.methods.base import ScoreMaps
from fod_bench.metrics import (
    RankedPositives,
    UndefinedMetricError,
    image_metrics,
    rank_positives,
    ranked_pixel_metrics,
    region_weights,
)
from fod_bench.record import METRICS, MetricName


@dataclass(frozen=True)
class Truth:
    """What a test split's scores are held against, one evaluation after the other."""

    labels: NDArray[np.uint8]
    """(m,), 1 for a defective picture."""
    masks: NDArray[np.uint8]
    """(m, s, s), 1 for a defective pixel."""
    _defective: dict[torch.device, Tensor] = field(default_factory=dict, compare=False)

    @cached_property
    def region_weights(self) -> NDArray[np.float64]:
        """See `fod_bench.metrics.region_weights`."""
        return region_weights(self.masks)

    def defective(self, device: torch.device) -> Tensor:
        """Which pixels are, (m·s·s,), on a device."""
        if device not in self._defective:
            self._defective[device] = torch.from_numpy(self.masks.reshape(-1) > 0).to(device)
        return self._defective[device]


def evaluate(
    scorings: Iterable[ScoreMaps], truth: Truth
) -> tuple[dict[str, dict[MetricName, float | None]], dict[str, str]]:
    """Metrics of every scoring, `{score name: {metric: value}}`, and `{metric: reason}` for those the test split leaves undefined.

    Raises:
        NonFiniteScoresError: a score is not finite.
    """
    found: dict[str, dict[MetricName, float | None]] = {}
    undefined: dict[str, str] = {}
    for scoring in scorings:
        values: dict[MetricName, float] = {}
        try:
            values |= image_metrics(scoring.images.cpu().numpy(), truth.labels)
        except UndefinedMetricError as reason:
            undefined |= _undefined("image_", reason)
        try:
            values |= ranked_pixel_metrics(_rank(scoring.pixels, truth), truth.region_weights)
        except UndefinedMetricError as reason:
            undefined |= _undefined("pixel_", reason)
        found[scoring.score] = {name: values.get(name) for name in METRICS}
    return found, undefined


def _undefined(prefix: str, reason: UndefinedMetricError) -> dict[str, str]:
    return {name: str(reason) for name in METRICS if name.startswith(prefix)}


def _rank(pixels: Tensor, truth: Truth) -> RankedPositives:
    """The defective pixels among the others of `pixels` (m, s, s), sorted where they lie. Errors as `rank_positives`."""
    ranked = None if pixels.device.type == "cpu" else rank_on_device(pixels, truth.defective(pixels.device))
    return ranked or rank_positives(pixels.cpu().numpy(), truth.masks, "pixel")


def rank_on_device(pixels: Tensor, defective: Tensor) -> RankedPositives | None:
    """The same as `rank_positives`, made by torch: only the defective pixels' places leave the device.

    None where there is nothing to rank: a class is missing, or a score is not finite.
    """
    flat = pixels.flatten()
    positives, negatives = flat[defective], flat[~defective]  # (P,), (N,)
    if not positives.numel() or not negatives.numel() or not bool(flat.isfinite().all()):
        return None
    positives, order = positives.sort()
    negatives = negatives.sort().values
    lower, lower_or_equal = (torch.searchsorted(negatives, positives, right=right) for right in (False, True))
    scores, index, below, not_above = (part.cpu().numpy() for part in (positives, order, lower, lower_or_equal))
    return RankedPositives(scores, index, below, not_above, negatives.numel())
