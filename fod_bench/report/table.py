"""A table as data: cells that know their numbers, where these come from, and what is to be said about them."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from fod_bench.evaluation.measures import MEASURES, Metric
from fod_bench.report.results import Selection

Mark = Literal["best", "second"]
MARKS: dict[Mark, str] = {"best": "best", "second": "second best"}
"""What a legend calls them."""
Part = Literal["ours", "paper", "Δ"]
"""What a cell shows: our number, the published one, the difference ours − published."""

UNDEFINED, FAILED = "n/a", "failed"
"""What stands where there is a result but no number, and where the training was tried and failed."""

COMMAND = re.compile(r"`fod-bench [^`]*`")
"""A command within a remark, to be kept as it is."""


@dataclass
class TableCell:
    """One place of a table: our number beside the published one."""

    row: str
    """Label of the method or variant."""
    dataset: str
    category: str
    """A category or `mean`."""
    metric: Metric
    value: float | None = None
    """Ours; the mean over seeds, and over categories where the cell is a mean. None without a result."""
    by_seed: dict[int, float] = field(default_factory=dict)
    """The value of each seed; empty for a mean whose categories do not all have the same seeds."""
    seeds: int = 0
    """Seeds that the value rests on."""
    covered: int = 0
    """Categories that the value rests on."""
    expected: int = 1
    """Categories that it should rest on: 1, or for a mean those of the data set."""
    keys: tuple[str, ...] = ()
    """Train keys of the records that the value comes from, or of what failed."""
    undefined: str | None = None
    """Why there is no value although there is a result, or although it was tried to make one."""
    failed: bool = False
    """Whether there is no result since what was tried has failed."""
    published: float | None = None
    published_text: str = ""
    """As the paper prints it."""
    mark: Mark | None = None
    """Rank among ours."""
    published_mark: Mark | None = None
    notes: list[str] = field(default_factory=list)
    """Footnotes on our number."""
    published_notes: list[str] = field(default_factory=list)
    """Footnotes on the published number."""

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation over seeds; None with fewer than two."""
        return statistics.stdev(self.by_seed.values()) if len(self.by_seed) > 1 else None

    @property
    def complete(self) -> bool:
        """Whether there is a value and it rests on every category it should."""
        return self.value is not None and self.covered == self.expected

    @property
    def difference(self) -> float | None:
        """Ours − published; None unless both are there and ours is complete."""
        if self.value is None or self.published is None or not self.complete:
            return None
        return self.value - self.published

    def text(self, part: Part) -> str:
        """What stands in the table for one part of the cell; empty where there is nothing."""
        if part == "paper":
            return self.published_text
        if part == "Δ":
            return _signed(self.difference, self.digits)
        if self.value is None:
            return FAILED if self.failed else UNDEFINED if self.undefined else ""
        spread = self.deviation
        deviation = f" ±{spread:.{self.digits}f}" if spread is not None else ""
        coverage = f" ({self.covered}/{self.expected})" if self.covered < self.expected else ""
        return f"{_number(self.value, self.digits)}{deviation}{coverage}"

    @property
    def digits(self) -> int:
        """Digits after the point."""
        return MEASURES[self.metric].digits

    def mark_of(self, part: Part) -> Mark | None:
        """The mark of one part of the cell."""
        return {"ours": self.mark, "paper": self.published_mark, "Δ": None}[part]

    def notes_of(self, part: Part) -> Sequence[str]:
        """The footnotes of one part of the cell."""
        return {"ours": self.notes, "paper": self.published_notes, "Δ": ()}[part]


@dataclass(frozen=True)
class Column:
    """A column of cells, its header in one level or two."""

    title: str
    group: str = ""
    """Header over several neighbouring columns."""


@dataclass(frozen=True)
class TableRow:
    """A line of cells, one per column."""

    labels: tuple[str, ...]
    """One per label column."""
    cells: tuple[TableCell | None, ...]
    section: str = ""
    """Heading over several neighbouring rows."""


@dataclass(frozen=True)
class Table:
    """A table ready to be rendered."""

    name: str
    """Number in the paper, or the job's name."""
    title: str
    caption: str
    """How the numbers came about: selection of the epoch, seeds, setting."""
    labels: tuple[str, ...]
    """Headers of the label columns."""
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    selection: Selection
    notes: tuple[str, ...] = ()
    """Remarks on the table as a whole; footnotes of cells stand with the cells."""
    stacked: bool = False
    """Whether the parts of a cell stand below each other rather than side by side."""
    numbered: bool = False
    """Whether it is a table of the paper, `name` being its number."""

    def cells(self) -> list[TableCell]:
        """Every cell, row by row."""
        return [cell for row in self.rows for cell in row.cells if cell is not None]

    def marks(self) -> tuple[list[Mark], str]:
        """The marks in it, for a legend, and what is to be added to their names."""
        cells = self.cells()
        there = {mark for cell in cells for mark in (cell.mark, cell.published_mark) if mark}
        apart = ", ours and the paper's apart" if any(cell.published_mark for cell in cells) else ""
        return [mark for mark in MARKS if mark in there], apart


def rank(cells: Sequence[TableCell]) -> None:
    """Mark best and second best of cells of one metric that compete: ours among ours, published among published.

    Values are compared as printed, so that equal texts have equal marks. A mean over fewer categories than it should
    cover does not compete. Of two only the best is marked, and nothing where there is no competitor.
    """
    ours = [
        (cell, float(_number(cell.value, cell.digits))) for cell in cells if cell.value is not None and cell.complete
    ]
    theirs = [(cell, round(cell.published, cell.digits)) for cell in cells if cell.published is not None]
    for cell, mark in _places(ours):
        cell.mark = mark
    for cell, mark in _places(theirs):
        cell.published_mark = mark


def _places(entries: list[tuple[TableCell, float]]) -> list[tuple[TableCell, Mark]]:
    if len(entries) < 2:
        return []
    places: tuple[Mark, ...] = ("best", "second") if len(entries) > 2 else ("best",)
    upwards = MEASURES[entries[0][0].metric].lower_is_better
    values = sorted({value for _, value in entries}, reverse=not upwards)
    marks: dict[float, Mark] = dict(zip(values, places, strict=False))
    return [(cell, marks[value]) for cell, value in entries if value in marks]


def _number(value: float, digits: int) -> str:
    """The value with so many digits after the point, or two that say something where those would all be 0."""
    return f"{value:.2g}" if value and abs(value) < 10**-digits / 2 else f"{value:.{digits}f}"


def _signed(value: float | None, digits: int) -> str:
    if value is None:
        return ""
    rounded = round(value, digits)
    if rounded == 0:
        return f" {0:.{digits}f}"
    return f"{'+' if rounded > 0 else '−'}{abs(rounded):.{digits}f}"
