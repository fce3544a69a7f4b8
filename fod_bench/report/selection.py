"""Which cells a report of a job is of: exactly those that the job expands to, by train key.

Train keys are computed from the data and the weights, as a run does. Where these are not on this machine, the keys are those that
an earlier run of the very same content was planned with; where there is no such run, they are not known, and that is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from fod_bench.errors import FodBenchError, JobError
from fod_bench.job import Job, content_digest, job_digest, run_id
from fod_bench.job.stored import RunJobs
from fod_bench.plan import make_plan
from fod_bench.records.run import Cell, RunPlan
from fod_bench.records.run_reader import RunReader
from fod_bench.report.reading import results_of
from fod_bench.report.results import Request, Results, part_of
from fod_bench.report.words import shortened
from fod_bench.schema.hidden import hidden
from fod_bench.store.base import Store

_Place = tuple[str, str, str, str, int, str]
"""Part, data set, row, category, seed and score of a cell."""


class _Same(NamedTuple):
    """A part of a stored run with the content of one of the job's own."""

    distance: int
    """0: the run is of the very same job; 1: the part is the same; 2: the same but for the folders of its data."""
    plan: RunPlan
    ours: str
    theirs: str
    """Names of the two parts."""


def job_results(
    store: Store,
    job: Job,
    command: str,
    *,
    planned: tuple[RunPlan, Sequence[str]] | None = None,
    only: str | None = None,
) -> Results:
    """Read the records of the cells of `job`, whichever runs they were made by.

    Args:
        command: the command that runs the job as it was given.
        planned: its plan, and what this machine lacks for it, where it has been made; it is made otherwise.
        only: shell pattern on the cells that a run was asked for, see `Request`.

    Raises:
        FodBenchError: no cell of the job can be known.
        StoreError: the store cannot be read.
    """
    plan, faults = planned or _planned(job)
    request = Request(command, tuple(faults), only=only)
    plan, request = _completed(store, job, plan.model_copy(update={"created": ""}), request)
    if not plan.cells:
        raise FodBenchError("\n  ".join(["the cells of the job cannot be known without its data:", *request.faults]))
    return results_of(store, [plan], lambda name: job, request=request)


def no_result(store: Store, job: Job, command: str) -> str:
    """The line for a job none of whose cells has a result."""
    jobs, plans = RunJobs(store), RunReader(store).read(drivers=False).plans
    if not jobs.of_job(job, plans):
        return jobs.not_run(job, command, plans)
    return f"no cell of job {job.name!r} has a result yet in store {store.uri}: `{command}` goes on"


def _planned(job: Job) -> tuple[RunPlan, list[str]]:
    """The job's plan, without cells where it cannot be made, and why it is not whole."""
    try:
        plan = make_plan(job, download=False)
    except JobError as error:  # the data here are not those that the job asks for
        empty = RunPlan(run_id=run_id(job), job=job.name, created="", tables=job.fed_tables(), cells=[])
        return empty, hidden(str(error)).splitlines()
    return plan.run, plan.faults()


def _completed(store: Store, job: Job, plan: RunPlan, request: Request) -> tuple[RunPlan, Request]:
    """The plan with the cells and keys that cannot be computed here, as far as stored runs have them."""
    wanted = [(part.name, dataset) for part in job.parts() for dataset in part.datasets]
    uncounted = set(wanted) - {(cell.part, cell.dataset) for cell in plan.cells}
    if not uncounted and all(cell.key for cell in plan.cells):
        return plan, request
    known, unclear = _known(store, job)
    cells = {_place(cell): cell for cell in plan.cells}
    cells |= {
        place: cell.model_copy(update={"key": None}) for place, (cell, _) in known.items() if place[:2] in uncounted
    }
    without = [place for place, cell in cells.items() if cell.key is None and place in known]
    lenders = {place: known[place][1] for place in without if known[place][0].key}
    cells |= {place: known[place][0] for place in lenders}
    ordered = sorted(cells.values(), key=lambda cell: wanted.index((cell.part, cell.dataset)))
    left = uncounted - {place[:2] for place in cells}
    faults = [*request.faults, *(f"the runs {' and '.join(runs)} differ in their data" for runs in sorted(unclear))]
    completed = replace(
        request,
        faults=tuple(faults),
        uncounted=tuple(place for place in wanted if place in left),
        borrowed=_borrowed(list(lenders.values())),
    )
    return plan.model_copy(update={"cells": ordered}), completed


def _known(store: Store, job: Job) -> tuple[dict[_Place, tuple[Cell, RunPlan]], set[tuple[str, ...]]]:
    """The job's cells as stored runs of the same content have them; and runs that do not agree on a cell's key, which is None then.

    The run of the very same job is asked first, then runs that include the same, then those with their data in other folders.
    """
    found: dict[_Place, dict[int, dict[str | None, tuple[Cell, RunPlan]]]] = {}
    for same in _alike(store, job):
        for cell in same.plan.cells:
            if cell.key and part_of(same.plan, cell) == same.theirs:
                own = cell.model_copy(update={"part": same.ours})
                found.setdefault(_place(own), {}).setdefault(same.distance, {})[cell.key] = (own, same.plan)
    known: dict[_Place, tuple[Cell, RunPlan]] = {}
    unclear: set[tuple[str, ...]] = set()
    for place, by_distance in found.items():
        nearest = by_distance[min(by_distance)]
        cell, plan = next(iter(nearest.values()))
        known[place] = (cell, plan) if len(nearest) == 1 else (cell.model_copy(update={"key": None}), plan)
        if len(nearest) > 1:
            unclear.add(tuple(sorted(plan.run_id for _, plan in nearest.values())))
    return known, unclear


def _alike(store: Store, job: Job) -> Iterator[_Same]:
    """The parts of stored runs that have the content of one of the job's."""
    ours: dict[str, list[Job]] = {}
    for part in map(_alone, job.parts()):
        ours.setdefault(content_digest(part), []).append(part)
    jobs = RunJobs(store)
    for plan in RunReader(store).read(drivers=False).plans:
        stored = jobs.job(plan.run_id)
        for theirs in map(_alone, stored.parts() if stored else ()):
            for part in ours.get(content_digest(theirs), ()):
                equal = job_digest(theirs) == job_digest(part)
                distance = 0 if plan.run_id == run_id(job) else 1 if equal else 2
                yield _Same(distance, plan, part.name, theirs.name)


def _alone(part: Job) -> Job:
    return part.model_copy(update={"include": ()})


def _place(cell: Cell) -> _Place:
    return cell.part, cell.dataset, cell.row, cell.category, cell.seed, cell.score


def _borrowed(lenders: Sequence[RunPlan]) -> str:
    """Whose keys were taken."""
    if not lenders:
        return ""
    runs = {plan.run_id: plan for plan in lenders}.values()
    named = shortened([f"{plan.run_id}, planned {plan.created}" for plan in runs], "; ")
    which = "The train key of 1 cell was" if len(lenders) == 1 else f"The train keys of {len(lenders)} cells were"
    return f"{which} taken from an earlier run of the same content ({named}): data or weights are not on this machine."
