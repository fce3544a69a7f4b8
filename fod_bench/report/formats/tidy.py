"""Every cell of the tables as one CSV, a line per number, to be read by a program.

One line is one seed of one place of one table under one selection of the epoch, with the number that the paper prints there.
Means stand beside what they are the means of (`category` is `mean`, `dataset` perhaps `average`), so that one condition leaves
them out.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Iterator, Sequence

from fod_bench.evaluation.measures import Metric
from fod_bench.evaluation.metric import COSTS, METRICS
from fod_bench.paper.published import AVERAGE, MEAN, printed_categories
from fod_bench.report.averages import View
from fod_bench.report.cells import text_cells
from fod_bench.report.formats.base import TIDY, Format, Report
from fod_bench.report.own import OwnTable
from fod_bench.report.paper_table import PaperTable, own_category
from fod_bench.report.results import SELECTIONS, Observation, Results, Selection
from fod_bench.report.table import TableCell

COLUMNS = (
    "table",
    "part",
    "row",
    "method",
    "dataset",
    "category",
    "metric",
    "seed",
    "selection",
    "value",
    "epoch",
    "published",
    "difference",
    "undefined",
    "categories",
    "expected",
    "score",
    "run",
    "key",
)
_CHUNK = 1 << 16

Line = tuple[object, ...]


class Tidy(Format):
    """One file of every cell, whatever the tables."""

    suffix = "csv"
    tidy_beside = False

    def show(self, report: Report) -> None:
        sys.stdout.writelines(tidy(report.results, report.wanted))

    def files(self, report: Report) -> Iterator[tuple[str, Iterable[str]]]:
        yield f"{TIDY}.csv", tidy(report.results, report.wanted)


def tidy(results: Results, tables: Sequence[int | OwnTable]) -> Iterator[str]:
    """The text of the file, header first, in pieces: tables of the paper first.

    A table of the paper has the metrics printed in it, and a place without any of ours one line for each selection, with the
    printed number. A job's own table has every metric.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in _lines(results, tables):
        writer.writerow(text_cells(line))
        if text.tell() > _CHUNK:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()


def _lines(results: Results, tables: Sequence[int | OwnTable]) -> Iterator[Line]:
    for table in sorted(tables, key=lambda table: not isinstance(table, int)):
        for selection in SELECTIONS:
            if isinstance(table, int):
                yield from _paper_lines(PaperTable(results, table, selection), selection)
            else:
                yield from _job_lines(table.view(results, selection), table, selection)


def _paper_lines(table: PaperTable, selection: Selection) -> Iterator[Line]:
    for row in table.rows:
        for dataset in table.datasets:
            categories = () if dataset == AVERAGE else printed_categories(dataset)
            for metric in table.metrics:
                for category in (*categories, MEAN):
                    own, name = table.own_row(row), table.own_names.get(dataset)
                    seen: list[Observation] = []
                    if own is not None and name is not None and category != MEAN:
                        seen = _seen(table.view, own, name, own_category(dataset, category), metric)
                    cell = table.cell(row, dataset, category, metric)
                    cell.dataset = dataset
                    yield from _place(str(table.number), cell, seen, selection)


def _job_lines(view: View, table: OwnTable, selection: Selection) -> Iterator[Line]:
    metrics: tuple[Metric, ...] = COSTS if table.cost else tuple(METRICS)
    for row in view.rows():
        for dataset in view.datasets():
            categories = [category for category in view.categories(dataset) if category in view.asked(row, dataset)]
            for metric in metrics:
                for category in categories:
                    seen = _seen(view, row, dataset, category, metric)
                    yield from _place(table.label, view.category(row, dataset, category, metric), seen, selection)
                if len(categories) > 1:
                    yield from _place(table.label, view.mean(row, dataset, categories, metric), [], selection)


def _seen(view: View, row: str, dataset: str, category: str, metric: Metric) -> list[Observation]:
    """What the seeds of one place have, those that failed after the others."""
    where = (row, dataset, category, metric)
    return [*view.observe(*where), *view.failures(*where)]


def _place(table: str, cell: TableCell, seen: Sequence[Observation], selection: Selection) -> Iterator[Line]:
    """The lines of one place: one for each seed, one where seeds cannot be told apart, one for a printed number alone."""
    place = (cell.dataset, cell.category, cell.metric)
    printed = cell.published
    for one in seen:
        numbers = (one.value, one.epoch, printed, _difference(one.value, printed), one.undefined)
        origin = (one.score, one.run, one.key)
        yield (
            table,
            one.part,
            cell.row,
            one.method,
            *place,
            one.seed,
            selection,
            *numbers,
            int(one.value is not None),
            1,
            *origin,
        )
    if seen:
        return
    by_seed: list[tuple[int | None, float | None]] = [*cell.by_seed.items()] or [(None, cell.value)]
    for seed, value in by_seed:
        if value is None and printed is None and cell.undefined is None:
            continue
        difference = _difference(value, printed) if cell.complete else None
        numbers = (value, None, printed, difference, cell.undefined)
        yield (
            table,
            None,
            cell.row,
            None,
            *place,
            seed,
            selection,
            *numbers,
            cell.covered,
            cell.expected,
            None,
            None,
            None,
        )


def _difference(value: float | None, printed: float | None) -> float | None:
    return None if value is None or printed is None else round(value - printed, 12)
