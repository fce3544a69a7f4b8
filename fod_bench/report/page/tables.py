"""Tables as the page shows them: a place for each cell with what it links to and what filters ask for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from urllib.parse import quote, urlencode

from markupsafe import Markup, escape

from fod_bench.evaluation.measures import MEASURES
from fod_bench.paper.published import MEAN
from fod_bench.report.paper_table import paper_category
from fod_bench.report.table import MARKS, Mark, Part, Table, TableCell
from fod_bench.schema.hidden import hidden
from fod_bench.text import escaped

_CODE = re.compile(r"`([^`\n]+)`")
_PARTS: tuple[Part, ...] = ("paper", "Δ")


@dataclass(frozen=True)
class CellShown:
    """One place of a table."""

    dataset: str = ""
    category: str = ""
    row: str = ""
    metric: str = ""
    text: str = ""
    """Our number."""
    mark: Mark | None = None
    notes: tuple[str, ...] = ()
    """Letters of footnotes."""
    link: str = ""
    told: str = ""
    """What the link leads to."""
    others: tuple[tuple[str, str, Mark | None, tuple[str, ...]], ...] = ()
    """The printed number and the difference: what it is, text, mark, letters."""
    order: str = ""
    """What it is sorted by; empty where there is nothing."""


@dataclass(frozen=True)
class LineShown:
    """A line of a table."""

    labels: tuple[str, ...]
    cells: tuple[CellShown, ...]
    mean: bool
    """Whether it is of means, which stay last when lines are sorted."""


@dataclass(frozen=True)
class TableShown:
    """A table."""

    number: int
    title: str
    caption: Markup
    labels: tuple[str, ...]
    groups: list[tuple[str, int]]
    """Headers over several columns, and over how many; empty where there are none."""
    columns: tuple[str, ...]
    sections: list[tuple[str, list[LineShown]]]
    marked: str
    has_paper: bool
    footnotes: list[tuple[str, Markup]] = field(default_factory=list)
    notes: list[Markup] = field(default_factory=list)


def table_shown(number: int, table: Table, page_of: Callable[[str], str | None]) -> TableShown:
    """A table; `page_of` gives the page of a train key, None where it has none."""
    letters: dict[str, str] = {}

    def lettered(notes: Iterable[str]) -> tuple[str, ...]:
        return tuple(letters.setdefault(note, _letter(len(letters))) for note in notes)

    def shown(cell: TableCell | None, by_paper: bool) -> CellShown:
        if cell is None:
            return CellShown()
        link, told = _link(cell, page_of)
        order = cell.published if by_paper else cell.value
        others = tuple(
            (part, cell.text(part).strip(), cell.mark_of(part), lettered(cell.notes_of(part)))
            for part in _PARTS
            if cell.text(part).strip()
        )
        return CellShown(
            cell.dataset,
            paper_category(cell.dataset, cell.category),
            cell.row,
            cell.metric,
            cell.text("ours"),
            cell.mark,
            lettered(cell.notes),
            link,
            told,
            others,
            "" if order is None else f"{order:.9g}",
        )

    by_paper = [not any(cell is not None and cell.value is not None for cell in column) for column in _columns(table)]
    lines = [
        (
            row.section,
            LineShown(
                row.labels,
                tuple(shown(cell, of_paper) for cell, of_paper in zip(row.cells, by_paper, strict=True)),
                _of_means(table, row.cells),
            ),
        )
        for row in table.rows
    ]
    marks, apart = table.marks()
    names = {"best": "bold", "second": "italic"}
    groups = [(title, len(list(found))) for title, found in groupby(column.group for column in table.columns)]
    return TableShown(
        number,
        table.title,
        remark(table.caption),
        table.labels,
        groups if any(title for title, _ in groups) else [],
        tuple(column.title for column in table.columns),
        [(section, [line for _, line in found]) for section, found in groupby(lines, key=lambda pair: pair[0])],
        f"{', '.join(f'{names[mark]} is {MARKS[mark]}' for mark in marks)}{apart}." if marks else "",
        any(cell.published is not None for cell in table.cells()),
        [(letter, remark(note)) for note, letter in letters.items()],
        [remark(note) for note in table.notes],
    )


def remark(text: str) -> Markup:
    """A remark, its commands and options as code."""
    pieces = _CODE.split(escaped(hidden(text)))
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if number % 2 else escape(piece) for number, piece in enumerate(pieces)
    )


def trials_link(dataset: str = "", category: str = "", row: str = "") -> str:
    """The list of trainings, filtered."""
    chosen = {"dataset": dataset, "category": category, "row": row}
    return "trials.html#" + urlencode({name: value for name, value in chosen.items() if value}, quote_via=quote)


def _link(cell: TableCell, page_of: Callable[[str], str | None]) -> tuple[str, str]:
    pages = list(dict.fromkeys(page for key in cell.keys if (page := page_of(key)) is not None))
    what = f"{cell.row}, {cell.category}, {MEASURES[cell.metric].title}"
    if len(pages) == 1:
        return pages[0], f"{what}: its training"
    if pages:
        category = "" if cell.category == MEAN else paper_category(cell.dataset, cell.category)
        return trials_link(cell.dataset, category, cell.row), f"{what}: its {len(pages)} trainings"
    return "", ""


def _columns(table: Table) -> list[list[TableCell | None]]:
    return [[row.cells[index] for row in table.rows] for index in range(len(table.columns))]


def _of_means(table: Table, cells: Sequence[TableCell | None]) -> bool:
    """Whether a line is of means where others are of categories."""
    means = [cell.category == MEAN for cell in cells if cell is not None]
    elsewhere = all(cell.category == MEAN for cell in table.cells())
    return bool(means) and all(means) and not elsewhere


def _letter(number: int) -> str:
    turns, index = divmod(number, 26)
    return chr(ord("a") + index) * (turns + 1)
