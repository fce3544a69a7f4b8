"""How far the runs of a store are, from its listings, the drivers' states and the marks of failures; no object per trial."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from fod_bench.job import Job, run_id
from fod_bench.job.stored import RunJobs
from fod_bench.records.chosen import ChosenResources, chosen_for
from fod_bench.records.claims import held_keys
from fod_bench.records.failures import marked_reason
from fod_bench.records.index.trials import Trials
from fod_bench.records.names import CLAIMS, failure_log_name, failure_name, key_of, record_name
from fod_bench.records.run import Cell, RunPlan
from fod_bench.records.run_reader import Driver, RunReader, Runs, Standing, age_of, no_run, trained_keys
from fod_bench.records.state import DriverState, Task
from fod_bench.runs.choice import is_open
from fod_bench.store import Store

if TYPE_CHECKING:
    from fod_bench.records.index.generations import Known

Condition = Literal["running", "complete", "failed", "stopped"]
"""`running`: somebody is at work on it; `complete`: everything has a record; `failed`: nothing is left to do, but something
failed or has no data; `stopped`: there is work left and nobody does it."""


@dataclass(frozen=True)
class Running:
    """A piece of work in the hands of a living driver's worker."""

    task: Task
    driver: str
    run_id: str
    """The driver's, which may be another run that wants the same training."""


@dataclass(frozen=True)
class Elsewhere:
    """Work that somebody has claimed, though no living driver tells of it."""

    kind: Literal["features", "trial"]
    key: str
    name: str


@dataclass(frozen=True)
class Failed:
    """A training that failed."""

    key: str
    name: str
    reason: str
    log: str
    """Where a person finds its log; empty when there is none."""


@dataclass(frozen=True)
class DriverStatus:
    """One driver, in numbers."""

    driver: str
    host: str
    started: str
    standing: Standing
    silent_seconds: float
    trained: int
    """Trainings it did itself."""
    steps_per_second: float | None
    trainings_per_hour: float | None
    seconds_left: float | None


@dataclass(frozen=True)
class RunStatus:
    """One run, in numbers."""

    run_id: str
    job: str
    differing: dict[str, str]
    """Keys of the job, with their values, in which it differs from other runs of a job of that name."""
    created: str
    condition: Condition
    wanted: int
    """Distinct trainings of the plan."""
    recorded: int
    left_out: int
    """Without a record, and `--only` of every driver so far leaves them out."""
    waiting: int
    running: list[Running]
    elsewhere: list[Elsewhere]
    failed: list[Failed]
    missing: dict[str, int]
    """`data set/category` to its number of cells that cannot be trained, as data or weights are missing."""
    drivers: list[DriverStatus]
    seconds_left: float | None
    """None while it cannot be told."""
    resources: ChosenResources | None
    """What was chosen for its machines, where the job left it open; read for the runs of one job only."""

    @property
    def in_work(self) -> int:
        """Trainings under way."""
        kinds = [work.task.kind for work in self.running] + [work.kind for work in self.elsewhere]
        return kinds.count("trial")


@dataclass(frozen=True)
class Status:
    """The runs of a store, newest first."""

    store: str
    runs: list[RunStatus]
    damaged: dict[str, str]

    @property
    def settled(self) -> bool:
        """Whether nothing will change any more, however long one waits."""
        return all(run.condition in ("complete", "failed") for run in self.runs)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        content = asdict(replace(self, runs=[]))
        content["runs"] = [_run_json(run) for run in self.runs]
        return content


class StatusReader:
    """Reads the status of a store, again and again."""

    def __init__(self, store: Store, job: Job | None = None) -> None:
        """`job`: only what is of exactly this job, see `RunJobs.of_job`."""
        self._store, self._job = store, job
        self._runs, self._jobs = RunReader(store), RunJobs(store)
        self._plans: tuple[RunPlan, ...] = ()
        self._known: Known = {}

    def read(self) -> Status:
        """How things stand. Raises `StoreError`."""
        runs = self._runs.read(frozenset())
        tasks = {
            task.key: Running(task, driver.state.driver, driver.state.run_id)
            for driver in runs.drivers
            if driver.alive
            for task in driver.state.tasks
        }
        # Claims first: what is recorded between the two listings then counts as recorded, not as waiting.
        claimed = self._claimed(tasks)
        trials = Trials(self._store, self._known)
        own = None if self._job is None else run_id(self._job)
        read: dict[str, RunStatus] = {}
        heads: list[RunPlan] = []

        def look(plans_of: Set[str] | None, every: bool) -> None:
            for _, plan in self._runs.each(runs.damaged, plans_of):  # one at a time: together they may be very large
                if every or plan.run_id == own:
                    read[plan.run_id] = self._run(plan, runs, tasks, claimed, trials)
                heads.append(plan.model_copy(update={"cells": []}))

        look(self._wanted(), every=self._job is None)
        self._plans = tuple(sorted(heads, key=age_of, reverse=True))
        differing = self._jobs.differences(self._plans)
        shown = self._plans if self._job is None else self._jobs.of_job(self._job, self._plans)
        left = {plan.run_id for plan in shown} - read.keys()
        if left:
            look(left, every=True)
        found = [replace(read[plan.run_id], differing=differing[plan.run_id]) for plan in shown]
        return Status(self._store.uri, found, runs.damaged)

    def _wanted(self) -> set[str] | None:
        """The runs whose plans are read: those of a job of that name where the job's own is among them, else all."""
        if self._job is None:
            return None
        there = self._runs.run_ids()
        return (
            {name for name in there if name.rpartition("-")[0] == self._job.name}
            if run_id(self._job) in there
            else None
        )

    def none(self, command: str) -> str:
        """The line for a store in which the last reading found no run; `command` runs the job."""
        if self._job is None:
            return no_run(self._store)
        return self._jobs.not_run(self._job, command, self._plans)

    def _claimed(self, tasks: Iterable[str]) -> set[str]:
        """Keys with a living claim that no task accounts for. Claims are read only if there is such a key."""
        keys = {key_of(info.name) for info in self._store.list(CLAIMS)}
        if keys <= set(tasks):
            return set()
        return {key for key, alive in held_keys(self._store).items() if alive} - set(tasks)

    def _run(
        self, plan: RunPlan, runs: Runs, tasks: dict[str, Running], claimed: set[str], trials: Trials
    ) -> RunStatus:
        names, features = trained_keys(plan), {*plan.features, *plan.images}
        there = trials.names(names)
        drivers = runs.of(plan.run_id)
        recorded = {key for key in names if record_name(key) in there}
        running = [work for key, work in tasks.items() if (key in names and key not in recorded) or key in features]
        elsewhere = [
            Elsewhere("trial", key, names[key]) if key in names else Elsewhere("features", key, f"features {key[:8]}")
            for key in sorted(claimed)
            if (key in names and key not in recorded) or key in features
        ]
        busy = recorded | {work.task.key for work in running} | {work.key for work in elsewhere}
        failed = self._failed({key: name for key, name in names.items() if key not in busy}, drivers, there)
        missing: dict[str, int] = {}
        for cell in plan.cells:
            if cell.key is None and _is_asked(cell, drivers):
                place = f"{cell.dataset}/{cell.category}"
                missing[place] = missing.get(place, 0) + 1
        asked = _asked(plan, drivers)
        idle = names.keys() - busy - {failure.key for failure in failed}
        waiting = len(idle & asked)
        condition: Condition = "complete"
        if running or elsewhere or any(driver.alive for driver in drivers):
            condition = "running"
        elif waiting:
            condition = "stopped"
        elif failed or missing:
            condition = "failed"
        told = [_driver_status(driver) for driver in drivers]
        rates = [1 / driver.seconds_left for driver in told if driver.standing == "alive" and driver.seconds_left]
        return RunStatus(
            run_id=plan.run_id,
            job=plan.job,
            differing={},
            created=plan.created,
            condition=condition,
            wanted=len(names),
            recorded=len(recorded),
            left_out=len(idle - asked),
            waiting=waiting,
            running=sorted(running, key=lambda work: work.task.name),
            elsewhere=elsewhere,
            failed=failed,
            missing=missing,
            drivers=told,
            # Each reckons with doing all of the rest: together they are as fast as the sum.
            seconds_left=1 / sum(rates) if rates else None,
            resources=self._resources(plan.run_id),
        )

    def _resources(self, run_id: str) -> ChosenResources | None:
        job = self._job
        if job is None or not is_open(job.resources, job.pack):
            return None
        return chosen_for(self._store, run_id, job.resources.cpus, job.resources.gpus, job.pack)

    def _failed(self, names: dict[str, str], drivers: list[Driver], there: set[str]) -> list[Failed]:
        """Those of the trainings in `names` that failed: by the marks in the store, and as the run's drivers tell."""
        told = {name: reason for driver in drivers for name, reason in driver.state.failed.items()}
        failed = []
        for key, name in names.items():
            log = failure_log_name(key)
            place = self._store.location(log) if log in there else ""
            reason = marked_reason(self._store, key) if failure_name(key) in there else told.get(name)
            if reason is not None:
                failed.append(Failed(key, name, reason.removesuffix(f" (log: {place})"), place))
        return failed


def _asked(plan: RunPlan, drivers: list[Driver]) -> set[str]:
    """Train keys that some driver works on or has worked on; all of the plan's where none has told."""
    return {cell.key for cell in plan.cells if cell.key is not None and _is_asked(cell, drivers)}


def _is_asked(cell: Cell, drivers: list[Driver]) -> bool:
    return not drivers or any(cell.matches(driver.state.only) for driver in drivers)


def _driver_status(driver: Driver) -> DriverStatus:
    state = driver.state
    return DriverStatus(
        driver=state.driver,
        host=state.process.host,
        started=state.started,
        standing=driver.standing,
        silent_seconds=driver.silence,
        trained=state.done,
        steps_per_second=state.steps_per_second,
        trainings_per_hour=_trainings_per_hour(state),
        seconds_left=state.seconds_left,
    )


def _trainings_per_hour(state: DriverState) -> float | None:
    try:
        worked = datetime.fromisoformat(state.updated) - datetime.fromisoformat(state.started)
    except (TypeError, ValueError):
        return None
    return state.done * 3600 / worked.total_seconds() if state.done and worked.total_seconds() > 0 else None


def _run_json(run: RunStatus) -> dict[str, Any]:
    content = asdict(run)
    content["resources"] = None if run.resources is None else run.resources.model_dump(mode="json")
    content["running"] = [
        work.task.model_dump(mode="json") | {"driver": work.driver, "run_id": work.run_id} for work in run.running
    ]
    return content
