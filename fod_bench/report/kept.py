"""Metrics that a record lacks, computed from the scores that were kept beside it: a new metric needs no training.

Scores are kept of the last epoch and of those that are best on the test data by image and by pixel AUROC. So the last value is that
of the last epoch; the best one is that of the epoch which AUROC of the same side selected, not the metric's own best.
"""

from __future__ import annotations

from collections.abc import Collection

from fod_bench.errors import DamagedObjectError, JobError
from fod_bench.evaluation.metric import METRICS, MetricName
from fod_bench.evaluation.ranking import NonFiniteScoresError
from fod_bench.records.record import Record, Selected
from fod_bench.records.scores import LAST, load_scores
from fod_bench.store.base import ObjectMissingError, Store

_SELECTING: dict[str, tuple[str, MetricName]] = {
    "image": ("best_image", "image_auroc"),
    "pixel": ("best_pixel", "pixel_auroc"),
}
"""Of each side the epoch that is kept, and the metric that selected it."""


UNUSABLE = (
    *(ObjectMissingError, DamagedObjectError, NonFiniteScoresError),
    *(JobError, ImportError, KeyError, ValueError, RuntimeError),
)
"""What kept scores, or a method that is not installed here or makes its maps otherwise by now, may come to."""


def lacking(record: Record, score: str) -> list[MetricName]:
    """Metrics of a scoring that were not measured when the record was made, and that are defined for it."""
    return [name for name in METRICS if name not in record.selected[score] and name not in record.undefined]


def computed(store: Store, record: Record, scores: Collection[str]) -> dict[str, dict[MetricName, Selected]]:
    """`{score name: {metric: values}}` of what the record lacks, as far as its scores were kept and can be read."""
    wanted = {score: lacking(record, score) for score in scores if score in record.selected}
    if not any(wanted.values()) or "truth" not in record.sets:
        return {}
    epochs = {side: _evaluated(store, record, part) for side, (part, _) in _SELECTING.items()}
    last = _evaluated(store, record, LAST)
    found: dict[str, dict[MetricName, Selected]] = {}
    for score, metrics in wanted.items():
        for metric in metrics:
            side = METRICS[metric].side
            _, at = record.best(record.primary_score, _SELECTING[side][1])
            best, final = (values.get(score, {}).get(metric) for values in (epochs[side], last))
            if best is not None or final is not None:
                ended = record.epochs if final is not None else None
                found.setdefault(score, {})[metric] = (best, at if best is not None else None, final, ended)
    return found


def _evaluated(store: Store, record: Record, epoch: str) -> dict[str, dict[MetricName, float | None]]:
    """Every metric of every scoring at an epoch that is kept; nothing where its scores cannot be had."""
    from fod_bench.evaluation.evaluate import evaluate
    from fod_bench.features.truth import load_truth
    from fod_bench.trials.scores import as_tensors, scorings

    try:
        kept = load_scores(store, record, epoch)
        if kept is None:
            return {}
        truth = load_truth(store, record.sets["truth"]).truth
        return evaluate(scorings(record, as_tensors(kept)), truth)[0]
    except UNUSABLE:
        return {}
