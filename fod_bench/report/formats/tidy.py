"""Every cell of the tables as one CSV, a line per number, to be read by a program.

One line is one seed of one place of one table under one selection of the epoch, with the number that the paper prints there.
Means stand beside what they are the means of (`category` is `mean`, `dataset` perhaps `average`), so that one condition leaves
them out.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from fod_bench.evaluation.measures import Metric
from fod_bench.evaluation.metric import COSTS, METRICS
from fod_bench.paper.published import AVERAGE, MEAN, printed_categories
from fod_bench.records.record import COST_SCORE
from fod_bench.report.averages import View, of_part
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


def tidy(results: Results, names: Sequence[str], numbers: Iterable[int]) -> Iterator[str]:
    """The text of the file, header first, in pieces.

    Args:
        names: names of jobs, whose own tables have every metric.
        numbers: tables of the paper, which have the metrics printed in them. A place without any of ours has one line for each
            selection, with the printed number.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in _lines(results, names, numbers):
        writer.writerow(line)
        if text.tell() > _CHUNK:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()


def _lines(results: Results, names: Sequence[str], numbers: Iterable[int]) -> Iterator[Line]:
    for number in numbers:
        for selection in SELECTIONS:
            yield from _paper_lines(PaperTable(results, number, selection), selection)
    for name in names:
        for selection in SELECTIONS:
            yield from _job_lines(View(results, results.plans, selection, of_part(name)), name, selection)


def _paper_lines(table: PaperTable, selection: Selection) -> Iterator[Line]:
    for row in table.rows:
        for dataset in table.datasets:
            categories = () if dataset == AVERAGE else printed_categories(dataset)
            for metric in table.metrics:
                for category in (*categories, MEAN):
                    own, name = table.own_row(row), table.own_names.get(dataset)
                    seen = []
                    if own is not None and name is not None and category != MEAN:
                        seen = table.view.observe(own, name, own_category(dataset, category), metric)
                    cell = table.cell(row, dataset, category, metric)
                    cell.dataset = dataset
                    yield from _place(str(table.number), cell, seen, selection)


def _job_lines(view: View, name: str, selection: Selection) -> Iterator[Line]:
    costs = {(cell.row, cell.dataset) for _, cell in view.cells.values() if cell.score == COST_SCORE}
    for row in view.rows():
        for dataset in view.datasets():
            categories = [category for category in view.categories(dataset) if category in view.asked(row, dataset)]
            metrics: tuple[Metric, ...] = COSTS if (row, dataset) in costs else tuple(METRICS)
            for metric in metrics:
                for category in categories:
                    seen = view.observe(row, dataset, category, metric)
                    yield from _place(name, view.category(row, dataset, category, metric), seen, selection)
                if len(categories) > 1:
                    yield from _place(name, view.mean(row, dataset, categories, metric), [], selection)


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
