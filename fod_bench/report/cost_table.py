"""What a job's measurements of cost found: variants against the numbers of Table 5, without the paper."""

from __future__ import annotations

from fod_bench.evaluation.measures import BETTER, CONVENTION, MEASURES
from fod_bench.evaluation.metric import COSTS
from fod_bench.paper.published import MEAN
from fod_bench.records.record import COST_SCORE
from fod_bench.report.averages import View, sentence
from fod_bench.report.results import Results, Selection, part_of
from fod_bench.report.table import Column, Table, TableRow, rank


def cost_table(results: Results, job: str, selection: Selection = "best") -> Table:
    """The costs of every variant of `job` on each data set, mean over its categories.

    The variants are those of its own runs and of runs that include it; there may be none.
    """
    view = View(
        results, results.plans, selection, lambda plan, cell: cell.score == COST_SCORE and part_of(plan, cell) == job
    )
    datasets = view.datasets()
    rows = tuple(
        TableRow(
            (row,),
            tuple(view.mean(row, dataset, view.categories(dataset), metric) for metric in COSTS),
            dataset if len(datasets) > 1 else "",
        )
        for dataset in datasets
        for row in view.rows()
    )
    for dataset in datasets:
        for index in range(len(COSTS)):
            rank([cell for row in rows if (cell := row.cells[index]) is not None and cell.dataset == dataset])
    on = f" on {datasets[0]}" if len(datasets) == 1 else ""
    return Table(
        name=f"{job}-cost" if _shows_more(results, job) else job,
        title=f"{job}: cost{on}, {MEAN} over categories",
        caption=f"{sentence(view.caption())} {BETTER}",
        labels=("Variant",),
        columns=tuple(Column(MEASURES[metric].heading) for metric in COSTS),
        rows=rows,
        selection=selection,
        notes=(*([CONVENTION] if view.outcomes() else []), *view.remarks()),
    )


def _shows_more(results: Results, job: str) -> bool:
    """Whether the job has rows that show something else."""
    return any(cell.score != COST_SCORE for plan in results.plans for cell in plan.cells if part_of(plan, cell) == job)
