"""Which tables the paper prints: on which data sets, and with which rows. A job is checked against them, a report lays them out."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

METHOD_TABLES = (1, 2, 3, 5, 6, 7, 8)
"""Tables whose rows are methods, so that another method may stand beside them. The rows of all others are settings of FOD."""


@dataclass(frozen=True)
class PrintedTable:
    """What one table of the paper is about."""

    datasets: tuple[str, ...]
    rows: tuple[str, ...]


@cache
def printed_tables() -> dict[int, PrintedTable]:
    """The tables that print numbers, by number; data sets and rows in their order."""
    datasets: dict[int, dict[str, None]] = {}
    rows: dict[int, dict[str, None]] = {}
    for line in printed_lines("published.csv"):
        number = int(line["table"])
        rows.setdefault(number, {})[line["row"]] = None
        if line["dataset"] != "average":  # a column of Table 4, no data set
            datasets.setdefault(number, {})[line["dataset"]] = None
    return {number: PrintedTable(tuple(datasets[number]), tuple(rows[number])) for number in sorted(rows)}


def printed_lines(name: str) -> Iterator[dict[str, str]]:
    """The lines of one of the package's files of printed numbers."""
    text = resources.files("fod_bench").joinpath("paper", name).read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines())
