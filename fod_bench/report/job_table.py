"""A job's own table: variants against categories, without the paper."""

from __future__ import annotations

from fod_bench.evaluation.measures import MEASURES, Metric
from fod_bench.evaluation.metric import MetricName
from fod_bench.paper.published import MEAN
from fod_bench.report.averages import View
from fod_bench.report.own import OwnTable
from fod_bench.report.remarks import remarks_on
from fod_bench.report.results import Results, Selection
from fod_bench.report.table import Column, Table, TableCell, TableRow, rank
from fod_bench.report.words import sentence

WIDE = 6
"""More columns of categories than this, and the categories become the rows."""

AUROCS: tuple[MetricName, ...] = ("image_auroc", "pixel_auroc")


def plain_table(results: Results, own: OwnTable, selection: Selection = "best") -> Table:
    """Image and pixel AUROC of every variant of a job on every category, with a mean for each data set."""
    view = own.view(results, selection)
    places = [
        (dataset, category)
        for dataset in view.datasets()
        for category in (*view.categories(dataset), *([MEAN] if len(view.categories(dataset)) > 1 else []))
    ]
    cells = {
        (metric, row, place): _cell(view, row, *place, metric)
        for metric in AUROCS
        for row in view.rows()
        for place in places
    }
    for metric in AUROCS:
        for place in places:
            rank([cells[metric, row, place] for row in view.rows()])

    several = len(view.datasets()) > 1
    labels: tuple[str, ...]
    if len(places) <= WIDE:
        labels = ("Variant",)
        columns = tuple(Column(category, dataset if several else "") for dataset, category in places)
        rows = tuple(
            TableRow((row,), tuple(cells[metric, row, place] for place in places), MEASURES[metric].heading)
            for metric in AUROCS
            for row in view.rows()
        )
    else:
        labels = ("Data set", "Category") if several else ("Category",)
        columns = tuple(Column(row, MEASURES[metric].heading) for metric in AUROCS for row in view.rows())
        rows = tuple(
            TableRow(
                place if several else place[1:],
                tuple(cells[metric, row, place] for metric in AUROCS for row in view.rows()),
            )
            for place in places
        )
    on = "" if several else f" on {view.datasets()[0]}" if view.datasets() else ""
    return Table(
        name=own.name,
        title=f"{own.title}: image and pixel AUROC{on}",
        caption=sentence(view.caption()),
        labels=labels,
        columns=columns,
        rows=rows,
        selection=selection,
        notes=tuple(remarks_on(view)),
    )


def _cell(view: View, row: str, dataset: str, category: str, metric: Metric) -> TableCell:
    if category == MEAN:
        return view.mean(row, dataset, view.categories(dataset), metric)
    return view.category(row, dataset, category, metric)
