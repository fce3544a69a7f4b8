"""Reading a store's runs and records into results."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence, Set
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from pydantic import ValidationError

from fod_bench.errors import DamagedObjectError, FodBenchError, UsageError
from fod_bench.job.stored import RunJobs
from fod_bench.records.names import failure_name, job_name, record_name
from fod_bench.records.record import Record, Selected
from fod_bench.records.run import Cell, RunPlan
from fod_bench.records.run_reader import RunReader
from fod_bench.report.kept import computed
from fod_bench.report.results import Outcome, Request, Results
from fod_bench.report.words import describe_damaged, nearest
from fod_bench.store.base import ObjectMissingError, obstacle
from fod_bench.store.many import read_many
from fod_bench.store.reading import describe

if TYPE_CHECKING:
    from fod_bench.job import Job
    from fod_bench.store.base import Store

T = TypeVar("T")


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
    scores: dict[str, set[str]] = {}
    for plan in plans:
        for cell in plan.cells:
            if cell.key:
                scores.setdefault(cell.key, set()).add(cell.score)

    told = {cell.key: cell for plan in plans for cell in plan.cells if cell.key}

    def load(key: str) -> Record | None:
        return _read(store, record_name(key), partial(_usable_record, told[key]), damaged)

    def outcome(key: str) -> Outcome | str | None:
        """The outcome; of a training that has none but failed, its key."""
        record = load(key)
        if record is not None:
            return _outcome(record, scores[key], computed(store, record, scores[key]))
        return key if store.exists(failure_name(key)) else None

    keys = list(scores)
    found = read_many(outcome, keys)
    return Results(
        tuple(plans),
        {entry.key: entry for entry in found if isinstance(entry, Outcome)},
        load,
        {key: store.location(record_name(key)) for key in keys},
        damaged,
        frozenset(entry for entry in found if isinstance(entry, str)),
        job_of,
        lambda plan: _stored_command(store, plan),
        request,
    )


def _stored_command(store: Store, plan: RunPlan) -> str | None:
    """The command that goes on with a run, from the job that it left in a store which is a folder."""
    if "://" in store.uri or not store.exists(job_name(plan.run_id)):
        return None
    return shlex.join(["fod-bench", "run", store.location(job_name(plan.run_id)), "--store", store.uri])


def _read(store: Store, name: str, parse: Callable[[bytes], T], damaged: dict[str, str]) -> T | None:
    try:
        return parse(store.get(name))
    except ObjectMissingError:
        stands = obstacle(store, name)
        if stands is not None:
            damaged[name] = stands
    except DamagedObjectError as error:
        damaged[name] = str(error)
    except ValidationError as error:
        damaged[name] = describe(error)
    except ValueError as error:
        damaged[name] = str(error)
    return None


def _usable_record(cell: Cell, data: bytes) -> Record:
    record = Record.model_validate_json(data)
    if record.key != cell.key:
        raise ValueError(f"it is the record of another trial, {record.key}")
    for what, found, expected in (("method", record.method, cell.method), ("seed", record.seed, cell.seed)):
        if found != expected:
            raise ValueError(f"it has {what} {found}, where the plan has {expected}")
    if not record.selected and not record.costs:
        raise ValueError("it has no evaluated epoch")
    return record


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
