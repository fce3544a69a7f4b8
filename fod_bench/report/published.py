"""The paper's printed numbers, carried in the package as `published.csv` and `table1_methods.csv`."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

from fod_bench.record import MetricName

MEAN = "mean"
"""Name of the mean over categories where a category's name would stand."""

DETAIL_TABLES = {2: (2,), 3: (7, 8), 6: (6,), 7: (7,), 8: (8,)}
"""Tables that list the categories behind the means of a table."""

ROUNDING = 0.001
"""A mean of numbers of three digits, itself printed with three, may be off by this much."""


@dataclass(frozen=True)
class Printed:
    """One printed number."""

    text: str
    """As printed; `/` where the paper reports none."""
    value: float | None


@dataclass(frozen=True)
class PrintedMethod:
    """A row of Table 1: its group, method and venue."""

    group: str
    method: str
    venue: str


def printed(table: int, row: str, dataset: str, category: str, metric: MetricName) -> Printed | None:
    """The number that `table` prints there, None if it has no such place."""
    return _all_printed().get((table, row, dataset, category, metric))


def printed_rows(table: int) -> tuple[str, ...]:
    """The methods of `table`, in its order."""
    return tuple(dict.fromkeys(row for number, row, *_ in _all_printed() if number == table))


def printed_categories(table: int, dataset: str) -> tuple[str, ...]:
    """The categories of `dataset` behind the means of `table`, in the paper's order; without the mean."""
    sources = DETAIL_TABLES.get(table, (2,))
    return tuple(
        dict.fromkeys(
            category
            for number, _, name, category, _ in _all_printed()
            if number in sources and name == dataset and category != MEAN
        )
    )


def mean_that_does_not_add_up(table: int, row: str, dataset: str, metric: MetricName) -> str | None:
    """A remark if the printed mean is not the mean of the printed categories, None if it is or none are printed."""
    stated = printed(table, row, dataset, MEAN, metric)
    values = [
        entry.value
        for (number, name, set_, category, metric_), entry in _all_printed().items()
        if number in DETAIL_TABLES.get(table, ())
        and (name, set_, metric_) == (row, dataset, metric)
        and category != MEAN
        and entry.value is not None
    ]
    if stated is None or stated.value is None or not values:
        return None
    average = sum(values) / len(values)
    if abs(average - stated.value) <= ROUNDING:
        return None
    return f"the paper prints {stated.text}; the mean of the categories it prints is {average:.3f}."


@cache
def table1_methods() -> tuple[PrintedMethod, ...]:
    """Table 1's groups, methods and venues, in its order."""
    return tuple(PrintedMethod(line["group"], line["method"], line["venue"]) for line in _lines("table1_methods.csv"))


@cache
def _all_printed() -> dict[tuple[int, str, str, str, str], Printed]:
    return {
        (int(line["table"]), line["row"], line["dataset"], line["category"], line["metric"]): Printed(
            line["value"] or "/", float(line["value"]) if line["value"] else None
        )
        for line in _lines("published.csv")
    }


def _lines(name: str) -> Iterator[dict[str, str]]:
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines())
