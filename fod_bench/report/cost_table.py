"""What a job's measurements of cost found: variants against the numbers of Table 5, without the paper."""

from __future__ import annotations

from fod_bench.evaluation.measures import BETTER, CONVENTION, MEASURES
from fod_bench.evaluation.metric import COSTS
from fod_bench.paper.published import MEAN
from fod_bench.report.own import OwnTable
from fod_bench.report.remarks import remarks_on
from fod_bench.report.results import Results, Selection
from fod_bench.report.table import Column, Table, TableRow, rank
from fod_bench.report.words import sentence


def cost_table(results: Results, own: OwnTable, selection: Selection = "best") -> Table:
    """The costs of every variant of a job on each data set, mean over its categories."""
    view = own.view(results, selection)
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
        name=own.name,
        title=f"{own.title}: cost{on}, {MEAN} over categories",
        caption=f"{sentence(view.caption())} {BETTER}",
        labels=("Variant",),
        columns=tuple(Column(MEASURES[metric].heading) for metric in COSTS),
        rows=rows,
        selection=selection,
        notes=(*([CONVENTION] if view.outcomes() else []), *remarks_on(view)),
    )
