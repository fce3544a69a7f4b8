"""Exact image and pixel metrics: AUROC, AUPRO and the maximum of F1, all from one sort of the negative scores.

A higher score means more anomalous; labels and masks are booleans or integers, non-zero for a defect. Letters of shapes:
n images, H rows, W columns, P positive (defective) and N negative (normal) samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fod_bench.evaluation.metric import MAX_FALSE_POSITIVE_RATE, MetricName, values_of


class UndefinedMetricError(ValueError):
    """The labels do not define the metric: one class is missing. The text is the reason to show beside n/a."""


class NonFiniteScoresError(ValueError):
    """A score is NaN or infinite."""


@dataclass(frozen=True)
class RankedPositives:
    """Where the positive scores stand among the negative ones: all that the metrics need."""

    scores: NDArray[Any]
    """(P,) positive scores, ascending."""
    order: NDArray[np.intp]
    """(P,) index of each of them among the positives in the order they were given."""
    lower: NDArray[np.intp]
    """(P,) number of negatives with a lower score."""
    lower_or_equal: NDArray[np.intp]
    """(P,) number of negatives with a lower or the same score."""
    negatives: int
    """N."""

    def auroc(self) -> float:
        """Chance that a positive scores higher than a negative, a tie counting half. Sums are of integers, so exact."""
        twice_wins = int(self.lower.sum(dtype=np.int64)) + int(self.lower_or_equal.sum(dtype=np.int64))
        return twice_wins / (2 * self.scores.size * self.negatives)

    def f1_max(self) -> float:
        """Highest F1 over all thresholds, a threshold taking every score that is equal or higher."""
        # A threshold between two positive scores only adds false positives to the higher one's.
        positives = self.scores.size
        true_positives = positives - np.searchsorted(self.scores, self.scores, side="left")  # (P,)
        false_positives = self.negatives - self.lower  # (P,)
        return float(np.max(2 * true_positives / (positives + true_positives + false_positives)))

    def aupro(self, weights: NDArray[np.float64], max_false_positive_rate: float = MAX_FALSE_POSITIVE_RATE) -> float:
        """Normalised area under per-region overlap against false-positive rate, up to a rate.

        `weights` (P,), in the order the positives were given: 1 / (number of regions x size of the pixel's region), so that
        the overlap at a threshold is the sum of the weights of the pixels found.
        """
        # Passing a pixel's score, the threshold lets in the negatives tied with it: the rate goes from `begin` to `end`
        # while the overlap grows by the pixel's weight, along a straight line, and keeps that up to the limit.
        limit = max_false_positive_rate
        begin = (self.negatives - self.lower_or_equal) / self.negatives  # (P,)
        end = (self.negatives - self.lower) / self.negatives  # (P,)
        rise = end - begin
        inside = np.minimum(end, limit) - begin  # part of the rise before the limit, negative beyond it
        gained = np.divide(inside, rise, out=np.ones_like(rise), where=rise > 0)
        area = np.where(begin < limit, gained * inside / 2 + np.maximum(limit - end, 0.0), 0.0)
        area *= weights[self.order]
        # Not by `@`: the threads of its library go on spinning after a product, and the next scoring is being sorted meanwhile.
        return float(area.sum()) / limit


def rank_positives(scores: NDArray[Any], labels: NDArray[Any], sample: str = "sample") -> RankedPositives:
    """Sort the negative scores once and find the positive ones among them.

    Args:
        scores: real numbers of any shape, kept in their own precision; the sorted negatives are the one copy made.
        labels: booleans or integers of the same shape, non-zero for a positive.
        sample: what a score belongs to, for messages: image or pixel.

    Raises:
        ValueError: shapes differ, or the types are not as above.
        NonFiniteScoresError: a score is NaN or infinite.
        UndefinedMetricError: there is no positive or no negative.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.shape != labels.shape:
        raise ValueError(f"scores have shape {scores.shape}, labels {labels.shape}; they must be the same")
    if scores.dtype.kind not in "fiu":
        raise ValueError(f"scores have type {scores.dtype}; real numbers are needed")
    if labels.dtype.kind not in "biu":
        raise ValueError(f"labels have type {labels.dtype}; booleans or integers are needed")
    if scores.size == 0:
        raise UndefinedMetricError("the test split is empty")
    # NaN and infinity show in the extremes, which need no array of flags.
    if not (np.isfinite(scores.min()) and np.isfinite(scores.max())):
        count = scores.size - int(np.isfinite(scores).sum())
        raise NonFiniteScoresError(f"{count} of {scores.size} {sample} scores are not finite")
    scores, positive = scores.reshape(-1), labels.reshape(-1).astype(bool, copy=False)
    positives, negatives = scores[positive], scores[~positive]  # (P,), (N,)
    if positives.size == 0:
        raise UndefinedMetricError(f"no defect in the test split: no {sample} is marked defective")
    if negatives.size == 0:
        raise UndefinedMetricError(f"no normal {sample} in the test split")
    negatives.sort()
    order = np.argsort(positives)
    positives = positives[order]  # searched in order, the negatives are read from end to end once
    lower = np.searchsorted(negatives, positives, side="left")
    lower_or_equal = lower.copy()
    tied = np.flatnonzero(negatives[np.minimum(lower, negatives.size - 1)] == positives)  # the others have no equal
    lower_or_equal[tied] = np.searchsorted(negatives, positives[tied], side="right")
    return RankedPositives(positives, order, lower, lower_or_equal, negatives.size)


def region_weights(masks: NDArray[Any]) -> NDArray[np.float64]:
    """1 / (number of regions x size of its region) for every defective pixel of `masks` (n, H, W), in the masks' order.

    A region is a set of defective pixels of one image that touch along an edge or at a corner (8-connected).
    """
    from scipy.ndimage import label

    touching = np.ones((3, 3), dtype=bool)
    weights: list[NDArray[np.float64]] = []
    regions = 0
    for mask in masks:
        if mask.any():
            numbered, count = label(mask, structure=touching)  # (H, W), 1 to count in the regions
            inside = numbered[numbered > 0]
            weights.append(1.0 / np.bincount(inside)[inside])
            regions += count
    return np.concatenate(weights) / regions if weights else np.zeros(0)


def auroc(scores: NDArray[Any], labels: NDArray[Any]) -> float:
    """Exact area under the ROC curve; ties count half. Arguments and errors as `rank_positives`."""
    return rank_positives(scores, labels).auroc()


def f1_max(scores: NDArray[Any], labels: NDArray[Any]) -> float:
    """Exact maximum of F1 over all thresholds. Arguments and errors as `rank_positives`."""
    return rank_positives(scores, labels).f1_max()


def aupro(scores: NDArray[Any], masks: NDArray[Any], max_false_positive_rate: float = MAX_FALSE_POSITIVE_RATE) -> float:
    """Exact area under the per-region overlap curve up to a false-positive rate in (0, 1], divided by that rate.

    Args:
        scores: (n, H, W).
        masks: (n, H, W), non-zero for a defective pixel; regions as in `region_weights`.
        max_false_positive_rate: share of all normal pixels at which the integral ends.

    Raises: as `rank_positives`; `ValueError` also for another number of axes or a rate out of range.
    """
    if not 0 < max_false_positive_rate <= 1:
        raise ValueError(f"max_false_positive_rate is {max_false_positive_rate}; it must be in (0, 1]")
    masks = _check_maps(scores, masks)
    return rank_positives(scores, masks, "pixel").aupro(region_weights(masks), max_false_positive_rate)


def image_metrics(scores: NDArray[Any], labels: NDArray[Any]) -> dict[MetricName, float]:
    """The image metrics of scores (n,) and labels (n,). Errors as `rank_positives`."""
    if np.ndim(scores) != 1:
        raise ValueError(f"image scores have shape {np.shape(scores)}; one score per image (n,) is needed")
    ranked = rank_positives(scores, labels, "image")
    return values_of("image", ranked, np.zeros(0))


def pixel_metrics(scores: NDArray[Any], masks: NDArray[Any]) -> dict[MetricName, float]:
    """The pixel metrics of score maps and masks (n, H, W), from one sort. Errors as `aupro`."""
    masks = _check_maps(scores, masks)
    return values_of("pixel", rank_positives(scores, masks, "pixel"), region_weights(masks))


def _check_maps(scores: NDArray[Any], masks: NDArray[Any]) -> NDArray[Any]:
    if np.ndim(scores) != 3:
        raise ValueError(f"score maps have shape {np.shape(scores)}; (images, rows, columns) is needed")
    return np.asarray(masks)
