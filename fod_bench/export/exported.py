"""What a tracker is given of one training, whichever tracker it is: parameters, a value per epoch, the values that tables show."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fod_bench.errors import DamagedObjectError
from fod_bench.records.curves import Curves, read_curves
from fod_bench.records.names import canonical_digest
from fod_bench.records.record import Record
from fod_bench.report import Results
from fod_bench.report.results import part_of
from fod_bench.schema.hidden import hidden
from fod_bench.store import ObjectMissingError, Store

FORMAT = 1
"""Raised when what is exported of the same record changes, so that runs written before are written anew."""

Parameter = str | int | float | bool


@dataclass(frozen=True)
class ExportedRun:
    """One training that has a record."""

    key: str
    """Its train key, by which a tracker's run is found again."""
    digest: str
    """Of all that is exported, so that a run which is there need not be written again."""
    name: str
    """For people: data set, category, row, seed."""
    folder: tuple[str, ...]
    """Its place where runs lie in folders."""
    parameters: Mapping[str, Parameter]
    """What was trained: method, data, seed, every setting; nested ones with dots."""
    facts: Mapping[str, str]
    """How it came about: rows and jobs that it serves, device, host, versions."""
    series: Mapping[str, list[tuple[int, float]]]
    """`loss/<loss>` and `<score>/<metric>` to the epoch and the value, wherever there is one."""
    values: Mapping[str, float]
    """What tables show: `best/<score>/<metric>`, `last/…`, the epochs of both, costs, seconds."""
    started: float
    """Seconds since 1970."""
    finished: float

    def time_of(self, epoch: int) -> float:
        """About when an epoch ended, in seconds since 1970: records keep the two ends only."""
        last = max((at for points in self.series.values() for at, _ in points), default=0)
        return self.started + (self.finished - self.started) * (epoch / last if last else 1.0)

    def by_epoch(self) -> dict[int, dict[str, float]]:
        """The series the other way round, epochs in order."""
        found: dict[int, dict[str, float]] = {}
        for name, points in self.series.items():
            for epoch, value in points:
                found.setdefault(epoch, {})[name] = value
        return dict(sorted(found.items()))


@dataclass(frozen=True)
class Source:
    """The trainings of a report, to be exported."""

    store: Store
    results: Results
    notes: list[str] = field(default_factory=list)
    """What a person should know of what was exported so far."""

    def runs(self) -> Iterator[ExportedRun]:
        """Each training that has a record, once, in the order of the plans. Raises `StoreError`."""
        for key, asked in self._cells().items():
            record = self.results.load(key) if key in self.results.outcomes else None
            if record is not None:
                yield exported(record, self._curves(record), asked)

    def _curves(self, record: Record) -> Curves | None:
        try:
            return read_curves(self.store, record)
        except (ObjectMissingError, DamagedObjectError) as error:
            self.notes.append(f"{record.dataset}/{record.category}, seed {record.seed}: no values per epoch: {error}")
            return None

    def without_record(self) -> int:
        """How many trainings of the plans have none, those whose key is not known each by itself."""
        cells = self._cells()
        unknown = sum(cell.key is None for plan in self.results.plans for cell in plan.cells)
        return unknown + sum(key not in self.results.outcomes for key in cells)

    def _cells(self) -> dict[str, list[tuple[str, str]]]:
        """By train key the (job, row) that ask for it."""
        found: dict[str, list[tuple[str, str]]] = {}
        for plan in self.results.plans:
            for cell in plan.cells:
                if cell.key is not None:
                    found.setdefault(cell.key, []).append((part_of(plan, cell), cell.row))
        return found


def exported(record: Record, curves: Curves | None, asked: Sequence[tuple[str, str]]) -> ExportedRun:
    """What is exported of a record that is `asked` for by these (job, row)."""
    jobs, rows = (list(dict.fromkeys(names)) for names in zip(*asked, strict=True))
    run = record.run
    parameters = {
        **{name: getattr(record, name) for name in ("method", "dataset", "layout", "category", "seed", "fingerprint")},
        **{f"setting.{name}": value for name, value in _flat(record.setting)},
        **{f"features.{name}": value for name, value in _flat(record.features)},
        **{f"reference.{name}": value for name, value in _flat(record.reference or {}) if not name.startswith("facts")},
    }
    facts = {
        "rows": ", ".join(rows),
        "jobs": ", ".join(jobs),
        "primary_score": record.primary_score,
        "result_digest": record.result_digest(),
        **{name: str(getattr(run, name)) for name in ("device", "host", "threads", "packed", "started", "finished")},
        **{f"version.{name}": version for name, version in run.versions.items()},
        **{f"undefined.{metric}": reason for metric, reason in record.undefined.items()},
    }
    content = [
        FORMAT,
        record.model_dump(mode="json"),
        curves is not None,
    ]  # by whom it is asked for may change with every job
    return ExportedRun(
        key=record.key,
        digest=canonical_digest(content),
        name=hidden(f"{record.dataset}/{record.category} · {rows[0]} · seed {record.seed}"),
        folder=(record.dataset, record.category, f"{record.method}-seed{record.seed}-{record.key[:8]}"),
        parameters={name: _shown(value) for name, value in parameters.items()},
        facts={name: hidden(value) for name, value in facts.items()},
        series=dict(_series(curves)) if curves is not None else {},
        values=dict(_values(record)),
        started=datetime.fromisoformat(run.started).timestamp(),
        finished=datetime.fromisoformat(run.finished).timestamp(),
    )


def _series(curves: Curves) -> Iterator[tuple[str, list[tuple[int, float]]]]:
    for name, losses in curves.losses.items():
        yield f"loss/{name}", list(enumerate(losses, 1))
    for score, metrics in curves.metrics.items():
        for metric, values in metrics.items():
            points = [(at, value) for at, value in zip(curves.evaluated, values, strict=True) if value is not None]
            if points:
                yield f"{score}/{metric}", points


def _values(record: Record) -> Iterator[tuple[str, float]]:
    for score, metrics in record.selected.items():
        for metric, (best, best_epoch, last, last_epoch) in metrics.items():
            found = {"best": best, "best_epoch": best_epoch, "last": last, "last_epoch": last_epoch}
            yield from ((f"{kind}/{score}/{metric}", value) for kind, value in found.items() if value is not None)
    yield from ((f"cost/{name}", value) for name, value in record.costs.items())
    yield from ((name, getattr(record.run, name)) for name in ("train_seconds", "evaluate_seconds", "seconds_per_step"))


def _flat(content: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _shown(value: Any) -> Parameter:
    """A value as a tracker takes it; lists as JSON."""
    if isinstance(value, bool | int | float):
        return value
    return hidden(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
