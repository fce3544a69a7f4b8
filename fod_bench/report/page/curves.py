"""ROC and precision-recall curves and histograms of scores, as few points as a drawing needs; areas are of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fod_bench.evaluation.ranking import RankedPositives

POINTS = 160
"""Points of a curve that are drawn at most."""
BINS = 30


@dataclass(frozen=True)
class Curve:
    """Points of a curve and what stands under it."""

    x: NDArray[np.float64]
    """(k,)."""
    y: NDArray[np.float64]
    """(k,)."""
    area: float

    def points(self) -> list[tuple[float, float]]:
        """The points, one after the other."""
        return list(zip(self.x.tolist(), self.y.tolist(), strict=True))


def roc(ranked: RankedPositives) -> Curve:
    """True-positive rate against false-positive rate; the area is the exact AUROC, ties counted half."""
    positives, negatives = ranked.scores.size, ranked.negatives
    above = positives - np.searchsorted(ranked.scores, ranked.scores, side="right")  # (P,)
    taken = positives - np.searchsorted(ranked.scores, ranked.scores, side="left")  # (P,)
    # Passing down the scores, before and after each positive's own: a step where nothing ties with it, a slope where negatives do.
    false = np.stack([negatives - ranked.lower, negatives - ranked.lower_or_equal], 1)[::-1, ::-1].reshape(-1)
    found = np.stack([taken, above], 1)[::-1, ::-1].reshape(-1)  # (2P,)
    x = np.concatenate([[0.0], false / negatives, [1.0]])
    y = np.concatenate([[0.0], found / positives, [1.0]])
    chosen = _spread(x, y)
    return Curve(x[chosen], y[chosen], ranked.auroc())


def precision_recall(ranked: RankedPositives) -> Curve:
    """Precision against recall, from the highest threshold on; the area is the average precision, without interpolation."""
    positives = ranked.scores.size
    taken = positives - np.searchsorted(ranked.scores, ranked.scores, side="left")  # (P,)
    precision = taken / (taken + ranked.negatives - ranked.lower)
    recall = taken / positives
    x = np.concatenate([[0.0], recall[::-1]])  # from the highest score down
    y = np.concatenate([precision[-1:], precision[::-1]])
    chosen = _spread(x, y)
    return Curve(x[chosen], y[chosen], float(precision.mean()))


def best_threshold(ranked: RankedPositives) -> float:
    """The score at which F1 is highest, a threshold taking every score that is equal or higher."""
    positives = ranked.scores.size
    taken = positives - np.searchsorted(ranked.scores, ranked.scores, side="left")
    f1 = 2 * taken / (positives + taken + ranked.negatives - ranked.lower)
    return float(ranked.scores[int(np.argmax(f1))])


@dataclass(frozen=True)
class Histogram:
    """Shares of normal and of defective samples in bins of equal width."""

    edges: NDArray[np.float64]
    """(bins + 1,)."""
    normal: NDArray[np.float64]
    """(bins,), summing to 1, or to 0 where there are none."""
    defective: NDArray[np.float64]


def histogram(scores: NDArray[Any], defective: NDArray[np.bool_], low: float, high: float) -> Histogram:
    """Of scores of any shape; those beyond `low` and `high` are counted in the last bins."""
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    shares = []
    for group in (scores[~defective], scores[defective]):
        counts, _ = np.histogram(np.clip(group, edges[0], edges[-1]), edges)
        shares.append(counts / max(1, counts.sum()))
    return Histogram(edges, *shares)


def _spread(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.intp]:
    """Which points to draw: evenly along the way from the first to the last, both included."""
    if len(x) <= POINTS:
        return np.arange(len(x))
    way = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    wanted = np.linspace(0.0, way[-1], POINTS)
    return np.unique(np.concatenate([[0], np.searchsorted(way, wanted, side="left").clip(0, len(x) - 1), [len(x) - 1]]))
