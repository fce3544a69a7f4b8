"""What the pages around the tables list: filters, trainings, runs, data, machines, jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from fod_bench.evaluation.measures import MEASURES
from fod_bench.evaluation.metric import COSTS, METRICS
from fod_bench.job import dump_job
from fod_bench.paper.published import MEAN
from fod_bench.records.record import COST_SCORE
from fod_bench.report.explain import Explanation
from fod_bench.report.page.tables import TableShown
from fod_bench.report.paper_table import paper_category
from fod_bench.report.results import Results, Selection
from fod_bench.report.table import FAILED, UNDEFINED
from fod_bench.schema.hidden import hidden
from fod_bench.text import escaped

Option = tuple[str, str]
"""What a filter asks for, and how it is called."""
Filter = tuple[str, str, list[Option]]
"""Name, title and options."""


@dataclass(frozen=True)
class TrialLine:
    """One row, category and seed."""

    row: str
    dataset: str
    category: str
    seed: int
    score: str
    page: str
    values: list[tuple[str, str, str]]
    """Metric, text, what it is sorted by."""
    seconds: float | None


@dataclass
class TrialTable:
    """Trainings whose numbers have the same titles."""

    title: str
    labels: tuple[str, ...]
    metrics: list[tuple[str, str]]
    lines: list[TrialLine] = field(default_factory=list)


@dataclass(frozen=True)
class RunShown:
    """A run."""

    name: str
    job: str
    created: str
    cells: int
    done: int
    command: str


@dataclass(frozen=True)
class DataShown:
    """A category and what is known of its images."""

    dataset: str
    category: str
    layout: str
    train: int
    good: int
    defect: int
    fingerprint: str
    images: str


def filters(options: Mapping[str, Iterable[str]]) -> list[Filter]:
    """The filters of a page, each with its options as they come, each once."""
    titles = {"dataset": "Data set", "category": "Category", "row": "Method or variant", "metric": "Metric"}
    return [
        (name, title, [(value, _option(name, value)) for value in dict.fromkeys(options[name]) if value])
        for name, title in titles.items()
    ]


def _option(name: str, value: str) -> str:
    return MEASURES[value].title if name == "metric" and value in MEASURES else value


def table_filters(tables: Sequence[TableShown]) -> list[Filter]:
    """Filters for whatever the tables show."""
    cells = [cell for table in tables for _, lines in table.sections for line in lines for cell in line.cells]
    found = {name: [getattr(cell, name) for cell in cells] for name in ("dataset", "category", "row", "metric")}
    found["category"].sort(key=lambda category: category == MEAN)  # means last
    return filters(found)


def trial_tables(
    cells: Sequence[tuple[str, Explanation]], pages: Mapping[str, str], selection: Selection
) -> list[TrialTable]:
    """Lists of all cells: those with metrics, and measurements of costs."""
    labels = ("row", "data set", "category", "seed", "score")
    tables = []
    for title, costs, metrics in (("Trainings", False, list(METRICS)), ("Measurements of cost", True, list(COSTS))):
        lines = [
            _line(label, cell, pages, metrics, selection)
            for label, cell in cells
            if (cell.cell.score == COST_SCORE) is costs
        ]
        if lines:
            headings = [(metric, MEASURES[metric].heading) for metric in metrics]
            tables.append(TrialTable(title, labels, headings, lines))
    return tables


def _line(
    label: str, one: Explanation, pages: Mapping[str, str], metrics: Sequence[str], selection: Selection
) -> TrialLine:
    values = []
    for metric in metrics:
        found = one.metrics.get(metric)
        value = None if found is None else found.best if selection == "best" else found.last
        nothing = (
            UNDEFINED if found is not None else FAILED if one.log or (one.problem or "").startswith(FAILED) else ""
        )
        text = nothing if value is None else f"{value:.{MEASURES[metric].digits}f}"
        values.append((metric, text, "" if value is None else f"{value:.9g}"))
    cell = one.cell
    where = (label, cell.dataset, paper_category(cell.dataset, cell.category), cell.seed, cell.score)
    seconds = round(one.record.run.train_seconds, 3) if one.record is not None and not one.problem else None
    return TrialLine(*where, pages.get(cell.key or "", ""), values, seconds)


def trial_filters(tables: Sequence[TrialTable]) -> list[Filter]:
    """Filters for the lists of trainings."""
    lines = [line for table in tables for line in table.lines]
    found: dict[str, list[str]] = {
        name: [getattr(line, name) for line in lines] for name in ("dataset", "category", "row")
    }
    return filters({**found, "metric": [metric for table in tables for metric, _ in table.metrics]})


def runs_shown(results: Results) -> list[RunShown]:
    """The runs that the report is of."""
    return [
        RunShown(
            plan.run_id,
            plan.job,
            plan.created,
            len(plan.cells),
            sum(results.outcome_of(cell) is not None for cell in plan.cells),
            hidden(results.command(plan) or ""),
        )
        for plan in results.plans
    ]


def jobs_shown(results: Results) -> list[tuple[str, Markup]]:
    """Name and lines of the jobs of the runs, as `plan --dump` has them."""
    found = []
    for plan in results.plans:
        job = results.job_of(plan.run_id)
        if job is not None:
            found.append((f"{job.name}, run {plan.run_id}", escape(escaped(hidden(dump_job(job)), "\n\t"))))
    return found


def machines_shown(cells: Sequence[Explanation]) -> list[tuple[str, str]]:
    """Machines with versions, and how many trainings ran there."""
    runs = {cell.record.key: cell.record.run for cell in cells if cell.record is not None}
    counted = Counter(
        f"{run.device}, threads: {run.threads}, host {run.host}; "
        + ", ".join(f"{name} {version}" for name, version in sorted(run.versions.items()))
        for run in runs.values()
    )
    return [(text, f"{count} training{'s' * (count != 1)}") for text, count in sorted(counted.items())]
