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
    cells: list[Cell]
    """Of the run, those of the table."""
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
        return View(results, [(self.plan, cell) for cell in self.cells], selection)


_Kinds = dict[tuple[str, bool], list[tuple[RunPlan, list[Cell]]]]
"""By job and whether they are costs, the runs that have cells of it, and these."""


def own_tables(results: Results, part: str | None = None) -> list[OwnTable]:
    """The own tables of one job or of all, those of a job together, its oldest run first.

    Runs with the very same cells, such as those of a job that ran by itself and as part of another, are shown once.
    """
    kinds: _Kinds = {}
    for plan in results.plans:
        found: dict[tuple[str, bool], list[Cell]] = {}
        for cell in plan.cells:
            found.setdefault((part_of(plan, cell), cell.score == COST_SCORE), []).append(cell)
        for kind, cells in found.items():
            kinds.setdefault(kind, []).append((plan, cells))
    names = [name for name in results.parts() if part in (None, name)]
    return [table for name in names for cost in (False, True) for table in _of_kind(results, (name, cost), kinds)]


def _of_kind(results: Results, kind: tuple[str, bool], kinds: _Kinds) -> list[OwnTable]:
    runs, (part, cost) = _distinct(kinds.get(kind, [])), kind
    suffix = "-cost" if cost and (part, False) in kinds else ""
    if len(runs) == 1:
        return [OwnTable(*runs[0], part, cost, part, part + suffix, part)]
    tables = []
    for (plan, cells), told in zip(runs, _told(results, [plan for plan, _ in runs], part), strict=True):
        label = plan.run_id if plan.job == part else f"{part}-in-{plan.run_id}"
        title = f"{part}{f' ({told})' if told else ''}, run {plan.run_id}"
        tables.append(OwnTable(plan, cells, part, cost, label, label + suffix, title))
    return tables


def _told(results: Results, plans: list[RunPlan], part: str) -> list[str]:
    """What each run's form of the job differs in."""
    jobs = [results.job_of(plan.run_id) for plan in plans]
    found = [next((one for one in job.parts() if one.name == part), None) if job else None for job in jobs]
    readable = [job_values(plain_job(one.model_copy(update={"include": ()}))) for one in found if one]
    told = iter(differences(readable))
    return [in_words(next(told)) if one else "" for one in found]


def _distinct(runs: list[tuple[RunPlan, list[Cell]]]) -> list[tuple[RunPlan, list[Cell]]]:
    """The runs without those whose cells, all of known keys, are those of a newer one."""
    if len(runs) < 2:
        return runs
    distinct: dict[Hashable, tuple[RunPlan, list[Cell]]] = {}
    for plan, cells in runs:
        content = frozenset((cell.row, cell.dataset, cell.category, cell.seed, cell.score, cell.key) for cell in cells)
        distinct[content if all(cell.key for cell in cells) else plan.run_id] = plan, cells
    return list(distinct.values())
