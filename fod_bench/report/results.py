"""Reading a store's runs and records into results, one observation per cell, selection and metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from fod_bench.evaluation.measures import Metric
from fod_bench.evaluation.metric import COSTS, METRICS
from fod_bench.records.failures import KeptFailure
from fod_bench.records.record import COST_SCORE, Record, Selected
from fod_bench.records.run import Cell, RunPlan

if TYPE_CHECKING:
    import pandas

    from fod_bench.job import Job
    from fod_bench.store.base import Store

Selection = Literal["best", "last"]
"""`best`: the epoch that is best on the test data, each metric for itself; `last`: the last evaluated epoch."""
NOT_MEASURED = "it was not measured when the record was made, and no scores were kept to compute it from"
SELECTIONS: tuple[Selection, ...] = get_args(Selection)


class Observation(NamedTuple):
    """One number of one cell: a line of the tidy frame."""

    run: str
    job: str
    part: str
    """Name of the job whose row it is: the run's own, or one that it includes."""
    row: str
    method: str
    dataset: str
    layout: str
    category: str
    seed: int
    score: str
    key: str
    selection: Selection
    metric: Metric
    value: float | None
    """None where the test split does not define the metric."""
    epoch: int | None
    """Number of epochs trained when the value was taken."""
    undefined: str | None
    """Why the value is None."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What tables need of a record; the rest of it is not kept."""

    key: str
    seed: int
    selected: dict[str, dict[str, Selected]]
    """`Record.selected`, for the scorings that cells ask for."""
    computed: frozenset[str]
    """Metrics of `selected` that the record lacks: they were computed from its scores, which were kept."""
    costs: dict[str, float]
    undefined: dict[str, str]
    epochs: int
    image_size: int | None
    backbone: str | None
    batch_size: int | None
    device: str
    threads: int
    unmasked: int
    """Defective test images without a mask, which the pixel metrics leave out."""
    vanished: int
    """Defective test images whose mask marks no pixel at the image size."""

    def answers(self, score: str) -> bool:
        """Whether there are values for a cell with that score name."""
        return bool(self.costs) if score == COST_SCORE else score in self.selected

    def value(self, score: str, metric: Metric, selection: Selection) -> tuple[float | None, int | None]:
        """A value and its epoch; a cost has none."""
        if score == COST_SCORE:
            return self.costs.get(metric), None
        best, best_epoch, last, last_epoch = self.selected[score].get(metric, (None,) * 4)
        return (best, best_epoch) if selection == "best" else (last, last_epoch)


def measured(cell: Cell) -> tuple[Metric, ...]:
    """The metrics that a record of the cell has."""
    return COSTS if cell.score == COST_SCORE else tuple(METRICS)


def part_of(plan: RunPlan, cell: Cell) -> str:
    """Name of the job whose row the cell is."""
    return cell.part or plan.job


def _observation(
    plan: RunPlan,
    cell: Cell,
    key: str,
    selection: Selection,
    metric: Metric,
    value: float | None,
    epoch: int | None,
    reason: str | None,
) -> Observation:
    place = (cell.row, cell.method, cell.dataset, cell.layout, cell.category, cell.seed, cell.score, key)
    return Observation(plan.run_id, plan.job, part_of(plan, cell), *place, selection, metric, value, epoch, reason)


@dataclass(frozen=True)
class Request:
    """What is to be said of a report of one job beside its numbers."""

    command: str
    """The command that runs the job as it was given."""
    faults: tuple[str, ...] = ()
    """Data and weights that this machine lacks, so that train keys cannot be computed."""
    borrowed: str = ""
    """Whose keys were taken for cells whose own cannot be computed; empty where there are none."""
    uncounted: tuple[tuple[str, str], ...] = ()
    """(part, data set) whose categories are not known, so that they have no cells."""
    only: str | None = None
    """Shell pattern on `row/dataset/category` of what a run was to do; the other cells it was not asked for."""

    def left_out(self, cell: Cell) -> bool:
        """Whether the run was not asked for the cell."""
        return not cell.matches(self.only)


@dataclass(frozen=True)
class Results:
    """The plans and outcomes of a store, as far as they could be read."""

    plans: tuple[RunPlan, ...]
    """Oldest first."""
    outcomes: dict[str, Outcome]
    """By train key."""
    load: Callable[[str], Record | None]
    """The whole record of a train key, read again; None when it is gone."""
    location_of: Callable[[str], str] = lambda key: ""
    """Where a person finds the record of a train key, be it readable or not."""
    damaged: dict[str, str] = field(default_factory=dict)
    """`{store name: what is wrong with it}` for plans and records that cannot be used."""
    failed: dict[str, KeptFailure] = field(default_factory=dict)
    """By train key, why the last attempt at a training that has no record failed."""
    job_of: Callable[[str], Job | None] = lambda run_id: None
    """The job of a run id; None where it is not known."""
    stored_command: Callable[[RunPlan], str | None] = lambda plan: None
    """The command that goes on with a stored run; None where there is none to be pasted."""
    store: Store | None = None
    """Where they were read; None where they were made up."""
    request: Request | None = None
    """The job that the report is of, with the one plan of its cells; None for a report of stored runs."""

    def command(self, plan: RunPlan) -> str | None:
        """The command that makes what `plan` lacks."""
        return self.stored_command(plan) if self.request is None else self.request.command

    def jobs(self) -> tuple[str, ...]:
        """Names of the jobs that ran, the one planned first first."""
        return tuple(dict.fromkeys(plan.job for plan in self.plans))

    def parts(self, job: str | None = None) -> tuple[str, ...]:
        """Names of the jobs that have rows, of the runs of `job` or of all: a job that ran, or one that it includes."""
        chosen = (plan for plan in self.plans if job in (None, plan.job))
        return tuple(dict.fromkeys(part_of(plan, cell) for plan in chosen for cell in plan.cells))

    @cached_property
    def by_table(self) -> dict[int, list[tuple[RunPlan, Cell]]]:
        """By number of a table of the paper, the cells that are for it, oldest first."""
        found: dict[int, list[tuple[RunPlan, Cell]]] = {}
        for plan in self.plans:
            for cell in plan.cells:
                for number in cell.tables:
                    found.setdefault(number, []).append((plan, cell))
        return found

    def fed(self) -> frozenset[int]:
        """Tables of the paper that some row feeds."""
        return frozenset(self.by_table)

    def outcome_of(self, cell: Cell) -> Outcome | None:
        """The outcome that answers `cell`: there, readable, and with the cell's way of scoring."""
        outcome = self.outcomes.get(cell.key) if cell.key else None
        return outcome if outcome is not None and outcome.answers(cell.score) else None

    def failure_of(self, cell: Cell) -> KeptFailure | None:
        """Why there is no result of `cell`, where its training was tried and failed."""
        return self.failed.get(cell.key) if cell.key else None

    def lacking(self, cell: Cell) -> str | None:
        """Why the record of `cell` does not answer it although it can be read: it is older than the cell's way of scoring."""
        outcome = self.outcomes.get(cell.key) if cell.key else None
        if outcome is None or outcome.answers(cell.score):
            return None
        return f"its record, made by an earlier version, has no scoring {cell.score!r}"

    def observe(self, plan: RunPlan, cell: Cell, selection: Selection, metric: Metric) -> Observation | None:
        """The number that `cell` of `plan` has, None when the cell has no usable record or is of another kind."""
        outcome = self.outcomes.get(cell.key) if cell.key else None
        if outcome is None or metric not in measured(cell):
            return None
        value, epoch, reason = None, None, self.lacking(cell)
        if reason is None:
            value, epoch = outcome.value(cell.score, metric, selection)
        if value is None and reason is None:
            reason = outcome.undefined.get(metric, NOT_MEASURED)
        return _observation(plan, cell, outcome.key, selection, metric, value, epoch, reason)

    def observe_failure(self, plan: RunPlan, cell: Cell, selection: Selection, metric: Metric) -> Observation | None:
        """What stands for the number of a training that failed: none, and the reason; None when it did not."""
        failure = self.failure_of(cell)
        if failure is None or cell.key is None or metric not in measured(cell):
            return None
        return _observation(plan, cell, cell.key, selection, metric, None, None, f"failed: {failure.reason}")

    @cached_property
    def observations(self) -> list[Observation]:
        """Every number of every cell that has a record, or why there is none; cells of several runs once per run."""
        found = (
            self.observe(plan, cell, selection, metric)
            for plan in self.plans
            for cell in plan.cells
            for selection in SELECTIONS
            for metric in measured(cell)
        )
        return [observation for observation in found if observation is not None]

    def frame(self) -> pandas.DataFrame:
        """The observations as a tidy frame, one line each, columns named as the fields of `Observation`."""
        import pandas

        return pandas.DataFrame(self.observations, columns=list(Observation._fields))
