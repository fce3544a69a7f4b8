"""The metrics: one entry each, with its formula on the host and on a device. A new metric is one more entry.

Every metric is of the order of scores alone: it needs where the positive (defective) scores stand among the negative ones. Shape
letters: P positive and N negative samples. On a device nothing may wait for it: there a formula is of tensors alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from fod_bench.evaluation.on_device import RankedOnDevice
    from fod_bench.evaluation.ranking import RankedPositives

MetricName = str
"""Key of `METRICS`, e.g. `image_auroc`. A stored record may name one that this version does not have."""

Side = Literal["image", "pixel"]

MAX_FALSE_POSITIVE_RATE = 0.3
"""Upper end of the integral of AUPRO, as usual in the field."""


@dataclass(frozen=True)
class Metric:
    """One metric; higher is better."""

    title: str
    """Within a sentence."""
    side: Side
    """What a sample is."""
    host: Callable[[RankedPositives, NDArray[np.float64]], float]
    """Its value, from ranked scores and, of pixels, `ranking.region_weights` (P,)."""
    device: Callable[[RankedOnDevice], Tensor] | None = None
    """The same of scores on a device, as a tensor () of float64 there; only pixel metrics are computed there."""


def _auroc(ranked: RankedPositives, weights: NDArray[np.float64]) -> float:
    return ranked.auroc()


def _auroc_on_device(ranked: RankedOnDevice) -> Tensor:
    wins = (ranked.lower.sum() + ranked.lower_or_equal.sum()).double()
    return wins / ranked.number(2.0 * ranked.positives * ranked.negatives)


def _f1_max(ranked: RankedPositives, weights: NDArray[np.float64]) -> float:
    return ranked.f1_max()


def _f1_max_on_device(ranked: RankedOnDevice) -> Tensor:
    taken, false = ranked.true_positives, ranked.negatives - ranked.lower  # (P,) each
    return (2 * taken / (ranked.positives + taken + false)).amax()


def _aupro(ranked: RankedPositives, weights: NDArray[np.float64]) -> float:
    return ranked.aupro(weights, MAX_FALSE_POSITIVE_RATE)


def _aupro_on_device(ranked: RankedOnDevice) -> Tensor:
    limit = MAX_FALSE_POSITIVE_RATE
    begin, end = (
        (ranked.negatives - below) / ranked.number(ranked.negatives) for below in (ranked.lower_or_equal, ranked.lower)
    )  # (P,)
    rise, inside = end - begin, end.clamp(max=limit) - begin
    gained = (inside / rise).where(rise > 0, 1.0) * inside / 2 + (limit - end).clamp(min=0)
    return (ranked.weights * gained.where(begin < limit, 0.0)).sum() / limit


def _average_precision(ranked: RankedPositives, weights: NDArray[np.float64]) -> float:
    """Precision at each positive's score, averaged over the positives: the sum of precision times gain in recall over all
    thresholds, without interpolation; of tied scores each takes the precision that all of them have together."""
    positives = ranked.scores.size
    taken = positives - np.searchsorted(
        ranked.scores, ranked.scores, side="left"
    )  # (P,) positives that score as high or higher
    false = ranked.negatives - ranked.lower  # (P,)
    return float(np.mean(taken / (taken + false)))


def _average_precision_on_device(ranked: RankedOnDevice) -> Tensor:
    taken = ranked.true_positives
    return (taken / (taken + (ranked.negatives - ranked.lower))).mean()


METRICS: dict[MetricName, Metric] = {
    "image_auroc": Metric("image AUROC", "image", _auroc),
    "pixel_auroc": Metric("pixel AUROC", "pixel", _auroc, _auroc_on_device),
    "pixel_aupro": Metric("pixel AUPRO", "pixel", _aupro, _aupro_on_device),
    "image_f1_max": Metric("image F1-max", "image", _f1_max),
    "pixel_f1_max": Metric("pixel F1-max", "pixel", _f1_max, _f1_max_on_device),
    "image_ap": Metric("image AP", "image", _average_precision),
    "pixel_ap": Metric("pixel AP", "pixel", _average_precision, _average_precision_on_device),
}
"""By name, in the order in which they are listed. Area under the ROC curve; area under per-region overlap up to a rate of false
positives; maximum of F1 over all thresholds; average precision."""


def of_side(side: Side) -> dict[MetricName, Metric]:
    """The metrics of images or of pixels."""
    return {name: metric for name, metric in METRICS.items() if metric.side == side}


CostName = Literal["gflops", "learnable_params_m", "train_s_per_epoch", "inference_fps"]
COSTS: tuple[CostName, ...] = get_args(CostName)


def values_of(side: Side, ranked: RankedPositives, weights: NDArray[Any]) -> dict[MetricName, float]:
    """Every metric of a side from ranked scores on the host."""
    return {name: metric.host(ranked, weights) for name, metric in of_side(side).items()}
