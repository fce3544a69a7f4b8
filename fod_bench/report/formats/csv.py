"""Tables as CSV in long form: one line per number."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from fod_bench.report.cells import text_cell
from fod_bench.report.formats.base import Format
from fod_bench.report.table import Table

COLUMNS = (
    "table",
    "row",
    "dataset",
    "category",
    "metric",
    "selection",
    "ours",
    "ours_std",
    "seeds",
    "published",
    "difference",
    "categories_covered",
    "keys",
)


class LongForm(Format):
    """One line per number."""

    suffix = "csv"

    def text(self, tables: Sequence[Table]) -> str:
        return long_form(tables)


def long_form(tables: Iterable[Table]) -> str:
    """CSV text with a header and a line per cell that holds one of our numbers, a printed one, or both.

    `keys` are the train keys behind our number, separated by spaces. An undefined number has keys but no value.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for table in tables:
        for cell in table.cells():
            if cell.value is None and cell.published is None and not cell.keys:
                continue
            writer.writerow(
                (
                    *map(text_cell, (table.name, cell.row, cell.dataset, cell.category, cell.metric, table.selection)),
                    _number(cell.value),
                    _number(cell.deviation),
                    cell.seeds,
                    _number(cell.published),
                    _number(cell.difference),
                    f"{cell.covered}/{cell.expected}",
                    " ".join(cell.keys),
                )
            )
    return text.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else repr(round(value, 6))
