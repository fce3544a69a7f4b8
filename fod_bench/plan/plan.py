"""What a job needs: its cells, the trainings left after merging equal ones, their sets and references, what is there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone

from fod_bench.errors import JobError
from fod_bench.job import Job, expand, run_id
from fod_bench.machine.processor import has_gpu_driver
from fod_bench.plan.resolve import Planner
from fod_bench.plan.training import TrialJob
from fod_bench.records.record import COST_SCORE
from fod_bench.records.run import Cell, RunPlan
from fod_bench.schema.hidden import hidden


@dataclass(frozen=True)
class PartPlan:
    """What one part of a job comes to."""

    name: str
    tables: list[int]
    rows: int
    categories: int
    seeds: int
    trainings_apart: int
    """One for every row, category and seed."""
    trainings: int
    """Left after merging equal ones of this part."""
    trainings_new: int
    """Of those, the ones that no part before it has."""
    measurements: int
    """Cells whose cost is measured, which are no trainings."""


@dataclass(frozen=True)
class Plan:
    """Everything a run of a job comes to."""

    job: Job
    run: RunPlan
    trials: dict[str, TrialJob]
    """By train key, in the order of the cells."""
    parts: list[PartPlan]
    problems: list[str]
    """Data sets and weights that are not there, each with its remedy."""
    unusable: dict[tuple[str, str], str]
    """(data set, category) to the reason why its trials cannot run."""
    data: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """(data set, category) to what was found on disk and what is odd about it, a line each."""
    notes: tuple[str, ...] = ()
    """What lies in data sets and is in no category, a line each."""

    def data_lines(self) -> list[str]:
        """What a person should know of the data before a number: `data set/category: ...`, each line once."""
        lines = [f"{'/'.join(where)}: {line}" for where, told in self.data.items() for line in told]
        return list(dict.fromkeys([*self.notes, *lines]))

    def faults(self) -> list[str]:
        """Everything that keeps trials from running, a line each; a missing root is one, not one per category."""
        blamed = {problem.split(":", 1)[0].removeprefix("datasets.") for problem in self.problems}
        unusable = [f"{'/'.join(where)}: {why}" for where, why in self.unusable.items() if where[0] not in blamed]
        return [hidden(fault) for fault in dict.fromkeys([*self.problems, *unusable])]


def make_plan(job: Job, *, download: bool) -> Plan:
    """Plan `job`. Data or weights that are missing leave their trials counted but not runnable.

    Args:
        download: fetch pretrained weights that are not on this machine, and insist on having all weights.

    Raises:
        JobError: the job names categories a data set lacks, or references that a category has too few images for.
        WeightsError: with `download`, weights cannot be had.
    """
    expansion = expand(job)
    planner = Planner(download, list(expansion.problems))
    cells, parts = [], []
    for part in job.parts():
        before = set(planner.trials)
        planned = [planner.cell(spec) for spec in expansion.cells if spec.part is part]
        cells += [cell for cell, _ in planned]
        parts.append(_part_plan(part, planned, before))
    trials = planner.trials.values()
    refused = [problem for trial in trials if (problem := _too_small(trial)) is not None]
    if refused:
        raise JobError("\n".join(dict.fromkeys(refused)))
    run = RunPlan(
        run_id=run_id(job),
        job=job.name,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        tables=job.fed_tables(),
        cells=cells,
        features=_keys(trials, "pooled", "unpooled"),
        images=_keys(trials, "images"),
        truth=_keys(trials, "truth"),
        references=sorted({trial.reference_key for trial in trials if trial.reference_key is not None}),
    )
    return Plan(job, run, planner.trials, parts, planner.problems, planner.unusable, planner.data, expansion.notes)


def lacking_here(plan: Plan) -> list[str]:
    """What this machine lacks of what the settings of the plan's trainings ask for, a line each; other machines may have it."""
    asked = plan.job.resources.gpus
    gpu = has_gpu_driver() if asked == "auto" else asked > 0
    found = (trial.settings.lacking(gpu) for trial in plan.trials.values())
    return list(dict.fromkeys(line for line in found if line is not None))


def _keys(trials: Iterable[TrialJob], *forms: str) -> list[str]:
    """Keys of the sets of these forms that trainings work on."""
    shared = {id(trial.wanted): trial.wanted for trial in trials if trial.wanted is not None}  # by many trainings each
    wanted = [each.keys() for each in shared.values()]
    return sorted({keys[form] for keys in wanted for form in forms if form in keys})


def _part_plan(part: Job, planned: list[tuple[Cell, str]], before: set[str]) -> PartPlan:
    """The counts of one part; `before` are the keys of the parts before it."""
    keys = [key for cell, key in planned if cell.score != COST_SCORE]
    return PartPlan(
        name=part.name,
        tables=list(part.tables),
        rows=len(part.rows()),
        categories=len({(cell.dataset, cell.category) for cell, _ in planned}),
        seeds=len(part.seeds),
        trainings_apart=len(keys),
        trainings=len(set(keys)),
        trainings_new=len(set(keys) - before),
        measurements=len(planned) - len(keys),
    )


def _too_small(trial: TrialJob) -> str | None:
    """Why the category has too few images for the training."""
    problem = trial.settings.too_small(trial.counts) if trial.counts is not None else None
    return f"{problem} (row {trial.rows[0]!r}, {trial.dataset}/{trial.category})" if problem else None
