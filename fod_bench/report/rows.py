"""Which cells make one row of a table: those of one label and one setting, whichever run they belong to.

A row of a job holds cells of one setting for all its categories and seeds. Where several jobs, or several runs of one, have a row
of the same label, their cells make one row only if nothing else tells them apart; otherwise there are rows of their own, named
by what differs, so that no mean is ever taken over two settings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from fod_bench.job import Job
from fod_bench.job.differences import data_values, differences, given_values, in_words, row_values
from fod_bench.methods.settings import MethodSettings
from fod_bench.records.run import Cell, RunPlan
from fod_bench.report.results import Results, part_of

Where = tuple[str, str, int]
"""Data set, category and seed."""


class JobPart:
    """The rows of one job in one run, as its job file has them."""

    def __init__(self, results: Results, plan: RunPlan, name: str) -> None:
        self._results, self.plan, self.name = results, plan, name

    @cached_property
    def job(self) -> Job | None:
        """None where the run's job cannot be read."""
        job = self._results.job_of(self.plan.run_id)
        return next((part for part in job.parts() if part.name == self.name), None) if job else None

    @cached_property
    def settings(self) -> dict[str, MethodSettings]:
        """The setting of every row."""
        return dict(self.job.rows()) if self.job else {}


@dataclass
class JobRow:
    """One row of one job in one run."""

    part: JobPart
    name: str
    cells: dict[Where, Cell] = field(default_factory=dict)

    @property
    def datasets(self) -> set[str]:
        return {dataset for dataset, _, _ in self.cells}

    @cached_property
    def setting(self) -> dict[str, str] | None:
        """What decides its numbers whatever the data; None where the run's job cannot be read."""
        job, settings = self.part.job, self.part.settings.get(self.name)
        return row_values(job, settings) if job and settings else None

    @property
    def given(self) -> dict[str, str] | None:
        """What of its setting is not its method's default; None where the run's job cannot be read."""
        job, settings = self.part.job, self.part.settings.get(self.name)
        return given_values(job, settings) if job and settings else None

    def data(self, dataset: str) -> dict[str, str]:
        """What decides its numbers on one data set, beside the content of its files."""
        job = self.part.job
        return data_values(job, dataset) if job and dataset in job.datasets else {}

    def roots(self) -> dict[str, str]:
        """The folders of its data sets."""
        job = self.part.job
        return {f"datasets.{name}.root": data.root or "" for name, data in job.datasets.items()} if job else {}

    def agrees(self, other: JobRow) -> bool:
        """Whether nothing but category and seed tells the two apart.

        Equal train keys prove it for their data set and the setting, whatever was written in the jobs; different ones for one
        place prove the contrary.
        """
        shared = self.cells.keys() & other.cells.keys()
        known = {where for where in shared if self.cells[where].key and other.cells[where].key}
        if any(_number(self.cells[where]) != _number(other.cells[where]) for where in known):
            return False
        proven = {dataset for dataset, _, _ in known}
        if not proven and (self.setting is None or self.setting != other.setting):
            return False
        return all(self.data(dataset) == other.data(dataset) for dataset in self.datasets & other.datasets - proven)


@dataclass(frozen=True)
class Row:
    """A row of a table."""

    label: str
    name: str
    """The label in its jobs."""
    differing: str
    """What tells it from other rows of that name, `(learning_rate=0.05)`; empty where there is none."""
    cells: dict[Where, tuple[RunPlan, Cell]]
    first: JobRow
    """One of the job's rows that make it, all of one setting."""

    @property
    def given(self) -> dict[str, str] | None:
        """What of its setting is not its method's default; None where its job cannot be read."""
        return self.first.given


def rows_of(results: Results, cells: Iterable[tuple[RunPlan, Cell]]) -> list[Row]:
    """The rows of `cells`, those of the oldest run first, in the order of the jobs."""
    named: dict[str, dict[JobPart, JobRow]] = {}
    parts: dict[tuple[str, str], JobPart] = {}
    for plan, cell in cells:
        where = (plan.run_id, part_of(plan, cell))
        part = parts.get(where) or parts.setdefault(where, JobPart(results, plan, where[1]))
        of_name = named.setdefault(cell.row, {})
        row = of_name.get(part) or of_name.setdefault(part, JobRow(part, cell.row))
        row.cells[cell.dataset, cell.category, cell.seed] = cell
    return [row for name, of_name in named.items() for row in _apart(name, list(of_name.values()))]


def _apart(name: str, job_rows: list[JobRow]) -> list[Row]:
    """The rows that job rows of one label make."""
    groups: list[list[JobRow]] = []
    for one in job_rows:
        group = next((group for group in groups if all(one.agrees(other) for other in group)), None)
        if group is None:
            groups.append([one])
        else:
            group.append(one)
    if len(groups) == 1:
        return [Row(name, name, "", _together(groups[0]), groups[0][0])]
    return [
        Row(f"{name} {differing}", name, differing, _together(group), group[0])
        for group, differing in zip(groups, _names(groups), strict=True)
    ]


def _together(group: list[JobRow]) -> dict[Where, tuple[RunPlan, Cell]]:
    """The cells of a row, each once: of the newest plan that knows its key."""
    cells: dict[Where, tuple[RunPlan, Cell]] = {}
    for one in group:
        cells |= {where: (one.part.plan, cell) for where, cell in one.cells.items() if cell.key or where not in cells}
    return cells


def _names(groups: list[list[JobRow]]) -> list[str]:
    """What tells the groups apart: settings, failing that keys of the data sets, then their folders, and last the runs."""
    first = [group[0] for group in groups]
    for values in (_setting, _with_data, _with_roots):
        compared = [{("", key): text for key, text in values(one).items()} for one in first]
        told = [in_words(own) for own in differences(compared)]
        if all(told) and len(set(told)) == len(told):
            return [f"({text})" for text in told]
    return [f"({one.part.name}, run {one.part.plan.run_id})" for one in first]


def _setting(one: JobRow) -> dict[str, str]:
    return one.setting or {}


def _with_data(one: JobRow) -> dict[str, str]:
    return _setting(one) | {key: value for dataset in sorted(one.datasets) for key, value in one.data(dataset).items()}


def _with_roots(one: JobRow) -> dict[str, str]:
    return _with_data(one) | one.roots()


def _number(cell: Cell) -> tuple[str | None, str]:
    return cell.key, cell.score
