"""Jobs' own tables: one for every job with rows in every run, and how they are told apart."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from fod_bench.job import plain_job
from fod_bench.job.differences import differences, in_words, job_values
from fod_bench.records.record import COST_SCORE
from fod_bench.records.run import Cell, RunPlan
from fod_bench.report.averages import View
from fod_bench.report.results import Results, Selection, part_of


class OwnTable(NamedTuple):
    """What an own table is of: the rows of one job in one run, or their costs."""

    plan: RunPlan
    part: str
    """Name of the job."""
    cost: bool
    label: str
    """The job's name, with the run's where there are others."""
    name: str
    """The label, or `<label>-cost` for costs of a job that has rows of the other kind too."""
    title: str
    """The job's name, and what tells the run from the others."""

    def view(self, results: Results, selection: Selection) -> View:
        """Its cells."""
        return View(results, [self.plan], selection, lambda plan, cell: _kind(plan, cell) == (self.part, self.cost))


def own_tables(results: Results, part: str | None = None) -> list[OwnTable]:
    """The own tables of one job or of all, those of a job together, its oldest run first.

    Runs with the very same cells, such as those of a job that ran by itself and as part of another, are shown once.
    """
    kinds: dict[tuple[str, bool], list[RunPlan]] = {}
    for plan in results.plans:
        for kind in dict.fromkeys(_kind(plan, cell) for cell in plan.cells):
            kinds.setdefault(kind, []).append(plan)
    names = [name for name in results.parts() if part in (None, name)]
    return [table for name in names for cost in (False, True) for table in _of_kind(results, (name, cost), kinds)]


def _of_kind(results: Results, kind: tuple[str, bool], kinds: dict[tuple[str, bool], list[RunPlan]]) -> list[OwnTable]:
    plans, (part, cost) = _distinct(kinds.get(kind, []), kind), kind
    suffix = "-cost" if cost and (part, False) in kinds else ""
    if len(plans) == 1:
        return [OwnTable(plans[0], part, cost, part, part + suffix, part)]
    tables = []
    for plan, told in zip(plans, _told(results, plans, part), strict=True):
        label = plan.run_id if plan.job == part else f"{part}-in-{plan.run_id}"
        title = f"{part}{f' ({told})' if told else ''}, run {plan.run_id}"
        tables.append(OwnTable(plan, part, cost, label, label + suffix, title))
    return tables


def _told(results: Results, plans: list[RunPlan], part: str) -> list[str]:
    """What each run's form of the job differs in."""
    jobs = [results.job_of(plan.run_id) for plan in plans]
    found = [next((one for one in job.parts() if one.name == part), None) if job else None for job in jobs]
    readable = [job_values(plain_job(one.model_copy(update={"include": ()}))) for one in found if one]
    told = iter(differences(readable))
    return [in_words(next(told)) if one else "" for one in found]


def _distinct(plans: list[RunPlan], kind: tuple[str, bool]) -> list[RunPlan]:
    """The plans without those whose cells, all of known keys, are those of a newer one."""
    if len(plans) < 2:
        return plans
    distinct: dict[Hashable, RunPlan] = {}
    for plan in plans:
        cells = [cell for cell in plan.cells if _kind(plan, cell) == kind]
        content = frozenset((cell.row, cell.dataset, cell.category, cell.seed, cell.score, cell.key) for cell in cells)
        distinct[content if all(cell.key for cell in cells) else plan.run_id] = plan
    return list(distinct.values())


def _kind(plan: RunPlan, cell: Cell) -> tuple[str, bool]:
    return part_of(plan, cell), cell.score == COST_SCORE
