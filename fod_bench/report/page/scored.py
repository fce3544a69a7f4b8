"""What a trial's kept scores show: curves, histograms and maps, of the epoch that the report's numbers are of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fod_bench.evaluation.evaluate import Truth
from fod_bench.evaluation.metric import Side
from fod_bench.evaluation.ranking import RankedPositives, UndefinedMetricError, rank_positives
from fod_bench.features.truth import TruthSet, load_truth
from fod_bench.records.record import SELECTED_WEIGHTS, Record
from fod_bench.records.scores import LAST, load_scores
from fod_bench.report.kept import UNUSABLE
from fod_bench.report.page.curves import Curve, Histogram, best_threshold, histogram, precision_recall, roc
from fod_bench.report.results import Selection
from fod_bench.schema.hidden import hidden
from fod_bench.store.base import Store

OVERLAY_SIDE = 128
"""Pixels of a map's side that are kept for the page, at most: the browser enlarges it, and maps are smooth."""
LOW, HIGH = 0.5, 0.999
"""Quantiles of all pixels of a category between which the colours of its maps lie."""

NOT_KEPT = (
    "The scores of its test images are not in the store, so there are no curves of them and no gallery. `keep_scores: selected` in "
    "the job file, which is the default, has them kept; a training that has a record is not run again, so run the job with another "
    "`--store`."
)


@dataclass(frozen=True)
class SideShown:
    """What the scores of images, or of pixels, show."""

    epoch: int | None
    """Number of epochs trained when they were made."""
    roc: Curve | None
    precision_recall: Curve | None
    histogram: Histogram
    undefined: str
    """Why there are no curves; empty where there are."""


@dataclass(frozen=True)
class Scored:
    """A trial's scores under one scoring."""

    images: NDArray[np.float64]
    """(m,) scores of the test images."""
    threshold: float
    """The score at which F1 over the images is highest; the largest normal score where that is not defined."""
    levels: NDArray[np.uint8]
    """(m, t, t): score maps on one scale, 0 at `low` and 255 at `high`."""
    low: float
    high: float
    image: SideShown
    pixel: SideShown
    truth: TruthSet


@dataclass(frozen=True)
class _Maps:
    epoch: int | None
    pixels: NDArray[np.float32]
    images: NDArray[np.float64]


def scored(store: Store, record: Record, score: str, selection: Selection) -> Scored | str:
    """The kept scores of a trial under the scoring `score`; a string says why there are none."""
    if "truth" not in record.sets:
        return "The record was made by an earlier version, which kept no scores of the test images."
    try:
        truth = load_truth(store, record.sets["truth"])
        maps = _Reader(store, record, score)
        sides = {side: maps.of(side, selection) for side in ("image", "pixel")}
        image, pixel = sides["image"], sides["pixel"]
        if image is None or pixel is None:
            return NOT_KEPT
        if len(image.images) != len(truth.truth.labels):
            return "The kept scores do not fit the labels in the store."
        return _shown(image, pixel, truth)
    except UNUSABLE as error:
        return hidden(f"The kept scores cannot be used: {error}")


class _Reader:
    """Reads the scores of each epoch of a record once."""

    def __init__(self, store: Store, record: Record, score: str) -> None:
        self._store, self._record, self._score = store, record, score
        self._read: dict[int | None, _Maps | None] = {}

    def of(self, side: Side, selection: Selection) -> _Maps | None:
        """Of the epoch that was selected for a side, or of the last one where that was not kept."""
        wanted = next((epoch for epoch, metric in SELECTED_WEIGHTS.items() if metric.startswith(side)), LAST)
        for epoch in dict.fromkeys([wanted if selection == "best" else LAST, LAST]):
            found = self._maps(epoch)
            if found is not None:
                return found
        return None

    def _maps(self, epoch: str) -> _Maps | None:
        from fod_bench.trials.scores import as_tensors, scorings

        record = self._record
        metric = SELECTED_WEIGHTS.get(epoch)
        at = record.best(record.primary_score, metric)[1] if metric else record.epochs
        if self._read.get(at) is None:
            kept = load_scores(self._store, record, epoch)
            self._read[at] = None
            if kept is not None:
                maps = next(scorings(record, as_tensors(kept), self._score), None)
                if maps is None:
                    raise ValueError(f"they have no scoring {self._score!r}")
                self._read[at] = _Maps(at, maps.pixels.numpy(), maps.images.double().numpy())
        return self._read[at]


def _shown(image: _Maps, pixel: _Maps, truth: TruthSet) -> Scored:
    labels = truth.truth.labels.astype(bool)
    ranked = _ranked(lambda: rank_positives(image.images, labels, "image"))
    normal = image.images[~labels]
    fallback = float(normal.max() if normal.size else np.median(image.images))
    low, high = (float(value) for value in np.quantile(image.pixels[:, ::2, ::2], (LOW, HIGH)))
    high = high if high > low else low + 1.0
    levels = np.clip((reduced(image.pixels) - low) / (high - low), 0, 1)
    return Scored(
        image.images,
        best_threshold(ranked) if isinstance(ranked, RankedPositives) else fallback,
        np.round(levels * 255).astype(np.uint8),
        low,
        high,
        _side(image.epoch, ranked, histogram(image.images, labels, *_range(image.images))),
        _pixels(pixel, truth.truth),
        truth,
    )


def _pixels(maps: _Maps, truth: Truth) -> SideShown:
    known, masks = truth.known(maps.pixels), truth.masks.astype(bool)
    ranked = _ranked(lambda: rank_positives(known, masks, "pixel"))
    if isinstance(ranked, str):
        ranked = truth.no_defective_pixel or ranked
    low, high = (float(value) for value in np.quantile(known[:, ::2, ::2], (0.001, 0.999))) if known.size else (0, 1)
    return _side(maps.epoch, ranked, histogram(known, masks, low, high))


def _side(epoch: int | None, ranked: RankedPositives | str, shares: Histogram) -> SideShown:
    if isinstance(ranked, str):
        return SideShown(epoch, None, None, shares, ranked)
    return SideShown(epoch, roc(ranked), precision_recall(ranked), shares, "")


def _ranked(rank: Callable[[], RankedPositives]) -> RankedPositives | str:
    try:
        return rank()
    except UndefinedMetricError as error:
        return str(error)


def _range(scores: NDArray[Any]) -> tuple[float, float]:
    return float(scores.min()), float(scores.max())


def reduced(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps (m, s, s) to at most `OVERLAY_SIDE` pixels a side by means over boxes, (m, t, t)."""
    side = min(maps.shape[-1], OVERLAY_SIDE)
    if side == maps.shape[-1]:
        return maps
    smaller = [Image.fromarray(one).resize((side, side), Image.Resampling.BOX) for one in maps]
    return np.stack([np.asarray(one) for one in smaller])
