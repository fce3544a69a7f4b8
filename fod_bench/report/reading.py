"""Reading a store's runs and records into results."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence, Set
from functools import partial
from typing import TYPE_CHECKING, cast

from fod_bench.errors import FodBenchError, UsageError
from fod_bench.job.stored import RunJobs
from fod_bench.records.failures import KeptFailure, last_failure
from fod_bench.records.index.trials import Trials
from fod_bench.records.names import job_name, record_name
from fod_bench.records.record import Record, Selected
from fod_bench.records.run import RunPlan
from fod_bench.records.run_reader import RunReader
from fod_bench.report.kept import computed
from fod_bench.report.results import Outcome, Request, Results
from fod_bench.report.usable import UsableRecords, cells_by_key
from fod_bench.report.words import describe_damaged, nearest
from fod_bench.store.many import read_many

if TYPE_CHECKING:
    from fod_bench.job import Job
    from fod_bench.store.base import Store

COMPARED = 100
"""Of so many trainings at most each record is compared with its curves: of a hundred epochs they take some milliseconds to read."""


def read_results(store: Store, run_ids: Sequence[str] | None = None) -> Results:
    """Read the plans of `store`, of some runs or of all, and the records of their cells.

    A damaged plan or record is left out and named in `Results.damaged`. A store without any run gives results without plans. Raises
    `FodBenchError` when no run can be read, `UsageError` for a run id that it does not have, `StoreError` when it cannot be read.
    """
    reader = RunReader(store)
    available = reader.run_ids()
    for run_id in run_ids or ():
        if run_id not in available:
            there = nearest(run_id, available) if available else "it has none"
            raise UsageError(f"no run {run_id!r} in store {store.uri}: {there}")
    runs = reader.read(run_ids, drivers=False)
    if available and not runs.plans:
        raise FodBenchError(f"no readable run in store {store.uri}: {describe_damaged(runs.damaged)}")
    return results_of(store, runs.plans[::-1], RunJobs(store).job, damaged=runs.damaged)


def results_of(
    store: Store,
    plans: Sequence[RunPlan],
    job_of: Callable[[str], Job | None],
    *,
    request: Request | None = None,
    damaged: dict[str, str] | None = None,
) -> Results:
    """Read the records of the cells of `plans`, oldest first; see `Results`. Raises `StoreError`."""
    damaged = {} if damaged is None else damaged
    cells = cells_by_key(plans)
    scores = {key: {cell.score for cell in asked} for key, asked in cells.items()}
    records = UsableRecords(store, cells, damaged)

    def look(key: str, content: bytes | None = None) -> Outcome | KeptFailure | None:
        """The outcome of a training, whose record is `content` or read; of one that has no record, why it failed, where it did."""
        record = records.load(key, with_curves=len(cells) <= COMPARED, content=content)
        if record is not None:
            return _outcome(record, scores[key], computed(store, record, scores[key]))
        return None if record_name(key) in damaged else last_failure(store, key)

    seen: dict[str, Outcome | KeptFailure | None] = {
        key: None if content is None else look(key, content) for key, content in Trials(store).records(cells)
    }
    left = [key for key in cells if key not in seen]
    seen |= zip(left, read_many(look, left), strict=True)
    found = {key: seen[key] for key in cells}
    for name in filter(
        damaged.__contains__, map(record_name, cells)
    ):  # in the order of the cells, however they were read
        damaged[name] = damaged.pop(name)
    return Results(
        tuple(plans),
        {key: seen for key, seen in found.items() if isinstance(seen, Outcome)},
        partial(records.load, with_curves=True),
        lambda key: store.location(record_name(key)),
        damaged,
        {key: seen for key, seen in found.items() if isinstance(seen, KeptFailure)},
        job_of,
        lambda plan: _stored_command(store, plan),
        store,
        request,
    )


def _stored_command(store: Store, plan: RunPlan) -> str | None:
    """The command that goes on with a run, from the job that it left in a store which is a folder."""
    if "://" in store.uri or not store.exists(job_name(plan.run_id)):
        return None
    return shlex.join(["fod-bench", "run", store.location(job_name(plan.run_id)), "--store", store.uri])


def _outcome(record: Record, scores: Set[str], more: dict[str, dict[str, Selected]]) -> Outcome:
    """What tables need of a record, and the metrics `more` that it lacks."""
    size, backbone, precision = (record.features.get(name) for name in ("image_size", "backbone", "precision"))
    batch = record.setting.get("batch_size")
    return Outcome(
        key=record.key,
        seed=record.seed,
        selected={
            score: cast("dict[str, Selected]", record.selected[score]) | more.get(score, {})
            for score in record.selected
            if score in scores
        },
        computed=frozenset(metric for metrics in more.values() for metric in metrics),
        costs=record.costs,
        undefined=record.undefined,
        epochs=record.epochs,
        image_size=size if isinstance(size, int) else None,
        backbone=None if not backbone else f"{backbone} in {precision}" if precision else str(backbone),
        batch_size=batch if isinstance(batch, int) else None,
        device=record.run.device,
        threads=record.run.threads,
        unmasked=record.counts.test_unmasked,
        vanished=record.counts.test_vanished,
    )
