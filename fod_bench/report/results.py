"""Reading a store's runs and records into results, one observation per cell, selection and metric."""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar, get_args

from pydantic import ValidationError

from fod_bench.errors import DamagedObjectError, FodBenchError, UsageError
from fod_bench.record import (
    COST_SCORE,
    COSTS,
    METRICS,
    Cell,
    CostName,
    MetricName,
    Record,
    RunPlan,
    plan_name,
    record_name,
)
from fod_bench.runs import no_run
from fod_bench.store.base import ObjectMissingError

if TYPE_CHECKING:
    import pandas

    from fod_bench.store.base import Store

T = TypeVar("T")

_READERS = 16
"""Records read at once: from a bucket, each costs a trip to the server."""

Selection = Literal["best", "last"]
"""`best`: the epoch that is best on the test data, each metric for itself; `last`: the last evaluated epoch."""
SELECTIONS: tuple[Selection, ...] = get_args(Selection)

METRIC_TITLES: dict[MetricName | CostName, str] = {
    "image_auroc": "image AUROC",
    "pixel_auroc": "pixel AUROC",
    "pixel_aupro": "pixel AUPRO",
    "image_f1_max": "image F1-max",
    "pixel_f1_max": "pixel F1-max",
    "gflops": "GFLOPs",
    "learnable_params_m": "parameters (M)",
    "train_s_per_epoch": "training (s/epoch)",
    "inference_fps": "inference (fps)",
}


class Observation(NamedTuple):
    """One number of one cell: a line of the tidy frame."""

    run: str
    job: str
    row: str
    method: str
    dataset: str
    layout: str
    category: str
    seed: int
    score: str
    key: str
    selection: Selection
    metric: MetricName | CostName
    value: float | None
    """None where the test split does not define the metric."""
    epoch: int | None
    """Number of epochs trained when the value was taken."""
    undefined: str | None
    """Why the value is None."""


@dataclass(frozen=True)
class Results:
    """The plans and records of a store, as far as they could be read."""

    plans: tuple[RunPlan, ...]
    """Oldest first."""
    records: dict[str, Record]
    """By train key."""
    locations: dict[str, str] = field(default_factory=dict)
    """Where a person finds the record of a train key, be it readable or not."""
    damaged: dict[str, str] = field(default_factory=dict)
    """`{store name: what is wrong with it}` for plans and records that cannot be used."""

    def jobs(self) -> tuple[str, ...]:
        """Names of the jobs, the one planned first first."""
        return tuple(dict.fromkeys(plan.job for plan in self.plans))

    def record_of(self, cell: Cell) -> Record | None:
        """The record that answers `cell`: there, readable, and with the cell's way of scoring."""
        record = self.records.get(cell.key) if cell.key else None
        return record if record is not None and cell.score in record.scores() else None

    def observe(
        self, plan: RunPlan, cell: Cell, selection: Selection, metric: MetricName | CostName
    ) -> Observation | None:
        """The number that `cell` of `plan` has, None when the cell has no usable record."""
        record = self.record_of(cell)
        if record is None:
            return None
        epoch: int | None
        if cell.score == COST_SCORE:
            value, epoch = record.costs.get(metric), None
        else:
            value, epoch = (record.best if selection == "best" else record.last)(cell.score, metric)  # type: ignore[arg-type]
        reason = record.undefined.get(metric, "the record gives no reason") if value is None else None
        place = (cell.row, cell.method, cell.dataset, cell.layout, cell.category, cell.seed, cell.score, record.key)
        return Observation(plan.run_id, plan.job, *place, selection, metric, value, epoch, reason)

    @cached_property
    def observations(self) -> list[Observation]:
        """Every number of every cell that has a record; cells of several runs once per run."""
        found = (
            self.observe(plan, cell, selection, metric)
            for plan in self.plans
            for cell in plan.cells
            for selection in SELECTIONS
            for metric in (COSTS if cell.score == COST_SCORE else METRICS)
        )
        return [observation for observation in found if observation is not None]

    def frame(self) -> pandas.DataFrame:
        """The observations as a tidy frame, one line each, columns named as the fields of `Observation`."""
        import pandas

        return pandas.DataFrame(self.observations, columns=list(Observation._fields))


def read_results(store: Store, run_ids: Iterable[str] | None = None, job: str | None = None) -> Results:
    """Read the plans of `store` and the records of their cells.

    `run_ids` and `job` narrow down the runs that are read. A damaged plan or record is left out and named in
    `Results.damaged`. Raises `FodBenchError` when the store has no run (of that job), `UsageError` for a run id that
    it does not have, `StoreError` when it cannot be read.
    """
    available = [
        object_.name.split("/")[1]
        for object_ in store.list("runs/")
        if object_.name.count("/") == 2 and posixpath.basename(object_.name) == "plan.json"
    ]
    if not available:
        raise FodBenchError(no_run(store))
    wanted = list(available if run_ids is None else run_ids)
    for run_id in wanted:
        if run_id not in available:
            raise UsageError(f"no run {run_id!r} in store {store.uri}: {nearest(run_id, available)}")

    damaged: dict[str, str] = {}
    read = (_read(store, plan_name(run_id), RunPlan.model_validate_json, damaged) for run_id in wanted)
    plans = sorted((plan for plan in read if plan is not None), key=lambda plan: (plan.created, plan.run_id))
    if job is not None:
        jobs = sorted({plan.job for plan in plans})
        plans = [plan for plan in plans if plan.job == job]
        if not plans and jobs:
            raise FodBenchError(
                f"no run of job {job!r} in store {store.uri}: `fod-bench run` with its job file makes one; "
                f"{nearest(job, jobs)}"
            )
    if not plans:
        raise FodBenchError(f"no readable run in store {store.uri}: {describe_damaged(damaged)}")

    keys = dict.fromkeys(cell.key for plan in plans for cell in plan.cells if cell.key)
    with ThreadPoolExecutor(_READERS) as pool:
        found = pool.map(lambda key: _read(store, record_name(key), partial(_usable_record, key), damaged), keys)
        records = {key: record for key, record in zip(keys, found, strict=True) if record is not None}
    return Results(tuple(plans), records, {key: store.location(record_name(key)) for key in keys}, damaged)


def describe_damaged(damaged: dict[str, str]) -> str:
    """The damaged objects in one sentence."""
    return "damaged: " + "; ".join(f"{name} ({reason})" for name, reason in sorted(damaged.items()))


def nearest(name: str, valid: Sequence[str]) -> str:
    """The end of a refusal: the name that was probably meant, and all there are, as far as they fit."""
    folded = {candidate.casefold(): candidate for candidate in valid}
    close = difflib.get_close_matches(name.casefold(), list(folded), n=1)
    meant = f"did you mean {folded[close[0]]!r}? " if close else ""
    shown = ", ".join(valid[:12]) + (f" and {len(valid) - 12} more" if len(valid) > 12 else "")
    return f"{meant}There are: {shown}"


def _read(store: Store, name: str, parse: Callable[[bytes], T], damaged: dict[str, str]) -> T | None:
    try:
        return parse(store.get(name))
    except ObjectMissingError:
        return None
    except DamagedObjectError as error:
        damaged[name] = str(error)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        damaged[name] = f"not of the form this version reads: {place}: {first['msg']}"
    except ValueError as error:
        damaged[name] = str(error)
    return None


def _usable_record(key: str, data: bytes) -> Record:
    record = Record.model_validate_json(data)
    if record.key != key:
        raise ValueError(f"it is the record of another trial, {record.key}")
    if not record.evaluated() and not record.costs:
        raise ValueError("it has no evaluated epoch")
    return record
