"""Which trial a name `row/dataset/category` stands for, among all runs of a store."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from fod_bench.errors import FodBenchError, UsageError
from fod_bench.job import Job
from fod_bench.job.differences import in_words
from fod_bench.job.stored import RunJobs
from fod_bench.methods.settings import MethodSettings
from fod_bench.records.failures import last_failure
from fod_bench.records.names import record_name
from fod_bench.records.record import COST_SCORE, Record
from fod_bench.records.run import Cell, RunPlan
from fod_bench.records.run_reader import RunReader, no_run
from fod_bench.records.upkeep.parts import record_of
from fod_bench.report.words import nearest
from fod_bench.store import ObjectMissingError, Store


@dataclass(frozen=True)
class FoundTrial:
    """A trial with its record, and the cell of a run that asked for it."""

    store: Store
    plan: RunPlan
    cell: Cell
    record: Record
    job: Job | None
    """The job whose row it is; None where the run's job cannot be read."""

    @property
    def name(self) -> str:
        """`row/dataset/category`."""
        return name_of(self.cell)

    @property
    def settings(self) -> MethodSettings | None:
        """Of its row; None where the job cannot be read."""
        return dict(self.job.rows()).get(self.cell.row) if self.job else None


def name_of(cell: Cell) -> str:
    """`row/dataset/category`, as commands name a cell."""
    return f"{cell.row}/{cell.dataset}/{cell.category}"


def find_trial(store: Store, name: str, run_id: str | None = None, seed: int | None = None) -> FoundTrial:
    """The trial of `row/dataset/category`, upper and lower case being the same.

    Args:
        run_id: of the run that asked for it, where several runs have different trials of that name.
        seed: where it was trained with several.

    Raises:
        UsageError: no such run, cell or seed, or several trials answer to the name.
        FodBenchError: it has no record, or one without anything that scores images.
        DamagedObjectError, StoreError: it cannot be read.
    """
    plans = RunReader(store).read(drivers=False).plans  # newest first
    if not plans:
        raise FodBenchError(no_run(store))
    if run_id is not None and run_id not in [plan.run_id for plan in plans]:
        known = ", ".join(plan.run_id for plan in plans)
        raise UsageError(f"no run {run_id!r} in store {store.uri}; there are: {known}")
    folded = name.strip().strip("/").casefold()
    cells = [(plan, cell) for plan in plans if run_id in (None, plan.run_id) for cell in plan.cells]
    named = [(plan, cell) for plan, cell in cells if name_of(cell).casefold() == folded]
    named = [(plan, cell) for plan, cell in named if cell.score != COST_SCORE] or named  # a paper's job has both
    if not named:
        names = list(dict.fromkeys(name_of(cell) for _, cell in cells))
        raise UsageError(f"no trial {name!r}, expected row/dataset/category: {nearest(name, names)}")
    plan, cell = _the_one(store, _of_seed(named, name, seed), name)
    if cell.key is None:
        raise FodBenchError(
            f"{name_of(cell)}: its train key is not known: data or weights were missing when run {plan.run_id} was planned"
        )
    return found_trial(store, plan, cell, RunJobs(store).job(plan.run_id))


def found_trial(store: Store, plan: RunPlan, cell: Cell, job: Job | None) -> FoundTrial:
    """The trial of a cell whose key is known; `job`: of the run, None where it cannot be read. Raises as `find_trial`."""
    assert cell.key is not None
    return FoundTrial(store, plan, cell, _record(store, plan, cell, cell.key), _part(plan, cell, job))


def _of_seed(named: list[tuple[RunPlan, Cell]], name: str, seed: int | None) -> list[tuple[RunPlan, Cell]]:
    seeds = sorted({cell.seed for _, cell in named})
    if seed is None and len(seeds) > 1:
        raise UsageError(f"{name} was trained with the seeds {', '.join(map(str, seeds))}; name one by --seed")
    if seed not in (None, *seeds):
        raise UsageError(f"{name} has no seed {seed}; it was trained with {', '.join(map(str, seeds))}")
    return [(plan, cell) for plan, cell in named if seed in (None, cell.seed)]


def _the_one(store: Store, named: list[tuple[RunPlan, Cell]], name: str) -> tuple[RunPlan, Cell]:
    """The newest of cells that are all of one trial and scoring; of others those with a record come first."""
    distinct: dict[tuple[str | None, str], tuple[RunPlan, Cell]] = {}
    for plan, cell in named:
        distinct.setdefault((cell.key, cell.score), (plan, cell))
    if len(distinct) == 1:
        return named[0]
    done = [(plan, cell) for plan, cell in distinct.values() if cell.key and store.exists(record_name(cell.key))]
    if len(done) == 1:
        return done[0]
    differing = RunJobs(store).differences(plan for plan, _ in distinct.values())
    runs = "; ".join(
        f"--run {plan.run_id}{_in_brackets(differing.get(plan.run_id, {}))}"
        for plan, _ in (done or list(distinct.values()))
    )
    raise UsageError(f"{name} is the name of several trials; choose one: {runs}")


def _in_brackets(differing: dict[str, str]) -> str:
    text = in_words(differing) if differing else ""
    return f" ({text})" if text else ""


def _record(store: Store, plan: RunPlan, cell: Cell, key: str) -> Record:
    name = record_name(key)
    try:
        record = record_of(name, store.get(name))
    except ObjectMissingError:
        failure = last_failure(store, key)
        why = f"it failed: {failure.reason}" if failure else "it has no record yet"
        raise FodBenchError(f"{name_of(cell)}: {why}; run job {plan.job} with this store to train it") from None
    if record.costs:
        raise FodBenchError(f"{name_of(cell)} measures costs; nothing was trained to its end that could score an image")
    return record


def _part(plan: RunPlan, cell: Cell, job: Job | None) -> Job | None:
    """The job, of those that the run's includes, whose row the cell is."""
    try:
        parts = job.parts() if job else []
        found = next((part for part in parts if part.name == (cell.part or plan.job)), None)
        return found if found is not None and cell.row in dict(found.rows()) else None
    except (ValidationError, FodBenchError):  # written for another version
        return None
