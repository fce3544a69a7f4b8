"""A table laid out as header levels and lines of text pieces, before a renderer gives it a form."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fod_bench.report.table import Mark, Part, Table, TableCell

PARTS: tuple[Part, ...] = ("ours", "paper", "Δ")


@dataclass(frozen=True)
class Piece:
    """Text of one part of a cell with its mark and the numbers of its footnotes, counted from 0."""

    text: str = ""
    mark: Mark | None = None
    notes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Leaf:
    """One column of text: up to three header levels over it, `owner` counting the table's columns."""

    owner: int
    group: str
    title: str
    part: str


@dataclass(frozen=True)
class Line:
    """One line of text: labels, and a piece per leaf."""

    section: str
    labels: tuple[str, ...]
    pieces: tuple[Piece, ...]


@dataclass
class Grid:
    """The laid-out table."""

    labels: tuple[str, ...]
    leaves: list[Leaf] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    footnotes: list[str] = field(default_factory=list)
    """Texts of the footnotes, in the order in which they are first referred to."""


def lay_out(table: Table) -> Grid:
    """Spread the parts of every cell (ours, paper, Δ) over columns, or over lines where the table is stacked.

    A column always has a place for ours, even when empty, and for `paper` and `Δ` only where there are any; a stacked
    row has the lines that are not empty.
    """
    grid = Grid(table.labels)
    if table.stacked:
        grid.leaves = [Leaf(index, column.group, column.title, "") for index, column in enumerate(table.columns)]
        for row in table.rows:
            parts = _parts(row.cells)
            if len(parts) > 1 and not any(cell.text("ours") for cell in row.cells if cell is not None):
                parts.remove("ours")
            for position, part in enumerate(parts):
                labels = row.labels if position == 0 else ("",) * len(row.labels)
                pieces = tuple(_piece(cell, part, grid.footnotes) for cell in row.cells)
                grid.lines.append(Line(row.section, (*labels, part), pieces))
        grid.labels = (*table.labels, "")
        return grid

    shown: list[list[Part]] = [_parts([row.cells[index] for row in table.rows]) for index in range(len(table.columns))]
    # Where nothing is published the header `ours` would say nothing.
    bare = all(parts == ["ours"] for parts in shown)
    for index, column in enumerate(table.columns):
        grid.leaves += [Leaf(index, column.group, column.title, "" if bare else part) for part in shown[index]]
    for row in table.rows:
        pieces = tuple(
            _piece(cell, part, grid.footnotes) for cell, parts in zip(row.cells, shown, strict=True) for part in parts
        )
        grid.lines.append(Line(row.section, row.labels, pieces))
    return grid


def spans(leaves: Sequence[Leaf], level: str) -> list[tuple[str, int]]:
    """Header texts of one level (`group`, `title` or `part`) and over how many neighbouring leaves each stands."""
    keys: dict[str, Callable[[Leaf], object]] = {
        "group": lambda leaf: leaf.group or leaf.owner,
        "title": lambda leaf: leaf.owner,
        "part": id,
    }
    groups = (list(group) for _, group in itertools.groupby(leaves, keys[level]))
    return [(getattr(group[0], level), len(group)) for group in groups]


def _parts(cells: Sequence[TableCell | None]) -> list[Part]:
    present = [cell for cell in cells if cell is not None]
    return [part for part in PARTS if part == "ours" or any(cell.text(part).strip() for cell in present)]


def _piece(cell: TableCell | None, part: Part, footnotes: list[str]) -> Piece:
    if cell is None:
        return Piece()
    for note in cell.notes_of(part):
        if note not in footnotes:
            footnotes.append(note)
    return Piece(cell.text(part), cell.mark_of(part), tuple(footnotes.index(note) for note in cell.notes_of(part)))
