"""The paper's printed numbers, carried in the package as `published.csv` and `table1_methods.csv`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, cast

from fod_bench.evaluation.measures import Metric
from fod_bench.paper.tables import printed_lines

MEAN = "mean"
"""Name of the mean over categories where a category's name would stand."""

AVERAGE = "average"
"""Name of the average over data sets (Table 4) where a data set's name would stand."""

_DETAIL_TABLES = {"mvtec": (2, 6), "btad": (7,), "mvtec3d": (8,)}
"""Tables that list the categories of a data set."""


class Position(NamedTuple):
    """Where a number is printed."""

    table: int
    row: str
    dataset: str
    category: str
    metric: Metric


@dataclass(frozen=True)
class Printed:
    """One printed number."""

    text: str
    """As printed; `/` where the paper reports none."""
    value: float | None


@dataclass(frozen=True)
class PrintedMethod:
    """A row of Table 1: its group, method, number in the paper's list of references, and venue."""

    group: str
    method: str
    citation: str
    """As printed; empty for the paper's own."""
    venue: str


@cache
def all_printed() -> dict[Position, Printed]:
    """Every printed number, in the paper's order within a table."""
    return {
        Position(
            int(line["table"]), line["row"], line["dataset"], line["category"], cast("Metric", line["metric"])
        ): Printed(line["value"] or "/", float(line["value"]) if line["value"] else None)
        for line in printed_lines("published.csv")
    }


def printed_rows(table: int) -> tuple[str, ...]:
    """The rows of `table`: methods, or settings."""
    return tuple(dict.fromkeys(position.row for position in _printed_in(table)))


def printed_datasets(table: int) -> tuple[str, ...]:
    """The data sets of `table`; `AVERAGE` last where it prints one."""
    return tuple(dict.fromkeys(position.dataset for position in _printed_in(table)))


def printed_metrics(table: int) -> tuple[Metric, ...]:
    """The metrics of `table`."""
    return tuple(dict.fromkeys(position.metric for position in _printed_in(table)))


@cache
def printed_categories(dataset: str) -> tuple[str, ...]:
    """The categories of `dataset`, in the paper's order; without the mean."""
    tables = _DETAIL_TABLES.get(dataset, ())
    found = (place.category for place in all_printed() if place.table in tables and place.dataset == dataset)
    return tuple(dict.fromkeys(category for category in found if category != MEAN))


@cache
def table1_methods() -> tuple[PrintedMethod, ...]:
    """The rows of Table 1, in its order."""
    return tuple(
        PrintedMethod(line["group"], line["method"], line["citation"], line["venue"])
        for line in printed_lines("table1_methods.csv")
    )


def citation(row: str) -> str:
    """`[64]` of DRAEM: what the paper prints beside a method; empty for what is no method of others."""
    return next((f"[{method.citation}]" for method in table1_methods() if method.method == row and method.citation), "")


def citation_notes(rows: Sequence[str]) -> list[str]:
    """What the numbers beside the methods `rows` of a table are, and which methods share one."""
    cited: dict[str, list[str]] = {}
    for row in rows:
        if citation(row):
            cited.setdefault(citation(row), []).append(row)
    shared = [f"; it prints {number} for {' and '.join(names)} alike" for number, names in cited.items() if names[1:]]
    return [f"Numbers in brackets are those of the paper's own list of references{''.join(shared)}."] if cited else []


@cache
def _printed_in(table: int) -> tuple[Position, ...]:
    return tuple(position for position in all_printed() if position.table == table)
