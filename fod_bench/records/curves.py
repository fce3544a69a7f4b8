"""What every epoch of a trial left: losses and metrics, a list each. Written before the trial's record, which names its digest.

Of the curves a record keeps the values that tables show; whoever wants the rest reads them here.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from fod_bench.errors import DamagedObjectError
from fod_bench.evaluation.metric import MetricName
from fod_bench.records.names import canonical_digest, curves_name
from fod_bench.records.record import Record, Selected
from fod_bench.store.base import Store
from fod_bench.store.reading import Share, reading


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EpochResult(_Frozen):
    """What one epoch left: mean training losses, and the metrics of every scoring where it was evaluated."""

    epoch: int
    """Number of epochs trained so far, from 1."""
    losses: dict[str, FiniteFloat]
    metrics: dict[str, dict[MetricName, Share | None]] | None = None
    """`{score name: {metric: value}}`; None for an epoch that was not evaluated. A value is None when undefined."""


class Curves(_Frozen):
    """The epochs of one trial."""

    key: str
    """Its train key."""
    losses: dict[str, list[float]]
    """`{loss: mean of every epoch}`, from epoch 1."""
    evaluated: list[int]
    """Epochs that were evaluated."""
    metrics: dict[str, dict[MetricName, list[Share | None]]] = Field(default_factory=dict)
    """`{score name: {metric: value of every evaluated epoch}}`; None where undefined."""

    @classmethod
    def of(cls, key: str, results: Sequence[EpochResult]) -> Curves:
        """The curves of the epochs 1, 2, … of trial `key`."""
        evaluated = [result for result in results if result.metrics is not None]
        tables = [result.metrics or {} for result in evaluated]
        return cls(
            key=key,
            losses={name: [result.losses[name] for result in results] for name in results[0].losses} if results else {},
            evaluated=[result.epoch for result in evaluated],
            metrics={
                score: {metric: [table.get(score, {}).get(metric) for table in tables] for metric in metrics}
                for score, metrics in (tables[0] if tables else {}).items()
            },
        )

    def selected(self) -> dict[str, dict[MetricName, Selected]]:
        """What a record keeps of them."""
        return {
            score: {metric: self._select(values) for metric, values in metrics.items()}
            for score, metrics in self.metrics.items()
        }

    def digest(self) -> str:
        """SHA-256 over all of it."""
        return canonical_digest(self.model_dump(mode="json"))

    def _select(self, values: Sequence[float | None]) -> Selected:
        defined = [(value, epoch) for value, epoch in zip(values, self.evaluated, strict=True) if value is not None]
        best = max(defined, key=lambda pair: (pair[0], -pair[1])) if defined else (None, None)
        return *best, values[-1], self.evaluated[-1] if values[-1] is not None else None


def read_curves(store: Store, record: Record) -> Curves | None:
    """The curves of a record, None where it has none.

    Raises `DamagedObjectError` when they are not the record's, `ObjectMissingError` when they are gone.
    """
    if not record.curves:
        return None
    name = curves_name(record.key, record.run.claim)
    content = store.get(name)
    with reading(name, "curves of a trial"):
        curves = Curves.model_validate_json(content)
        fits = curves.digest() == record.curves
    if not fits:
        raise DamagedObjectError(f"object {name} is damaged: these are not the curves that its record names")
    return curves
