"""A table on a terminal: ruled as in a paper, cut into panels where it is wider than the screen."""

from __future__ import annotations

import bisect
import sys
import textwrap
from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from fod_bench.machine.terminal import UNBROKEN, SafeConsole
from fod_bench.report.formats.base import Format, Report
from fod_bench.report.grid import Grid, Line, Piece, lay_out, spans
from fod_bench.report.table import COMMAND, MARKS, Mark, Table

STYLES: dict[Mark, str] = {"best": "bold green", "second": "underline cyan"}
SIGNS: dict[Mark, str] = {"best": "*", "second": "°"}
"""Marks where there are no styles: in a pipe, a file, and with NO_COLOR."""

_LETTERS = "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ"
_HARD_SPACE = "\ue000"
_FILE_WIDTH = 100
_GAP = 2  # spaces between columns; 1 between the parts of one cell


class Terminal(Format):
    """For a person: as wide as the terminal, styled where it is one."""

    suffix = "txt"

    def text(self, tables: Sequence[Table]) -> str:
        console = SafeConsole(width=_FILE_WIDTH, force_terminal=False, no_color=True)
        with console.capture() as capture:
            print_tables(tables, console)
        return capture.get()

    def show(self, report: Report) -> None:
        print_tables(report.tables, SafeConsole(file=sys.stdout))


def print_tables(tables: Iterable[Table], console: Console) -> None:
    """Print tables to `console`, no line of them longer than its width unless a single column is.

    What stands over and under a table is wrapped on a terminal only: elsewhere a path may be in it that somebody copies.
    """
    styled = console.is_terminal and not console.no_color
    for index, table in enumerate(tables):
        if index:
            console.print()
        prose = console.width if console.is_terminal else UNBROKEN
        for line in terminal_lines(table, console.width, prose, styled):
            if not styled:
                line = Text(line.plain.rstrip())
            console.print(line, soft_wrap=True, highlight=False)


def terminal_lines(table: Table, width: int, prose: int, styled: bool) -> list[Text]:
    """The lines of a table, `width` wide, those of text `prose`. Marks are styles, or signs after the number if not `styled`."""
    grid = lay_out(table)
    lines = [Text(text, style="bold") for text in _wrap(table.title, prose)]
    lines += [Text(text, style="dim") for text in _wrap(table.caption, prose)]
    if grid.leaves and grid.lines:
        for panel in _panels(grid, width, styled):
            lines += panel.lines()
    if table.marks()[0]:
        lines.append(_legend(table, styled))
    for number, note in enumerate(grid.footnotes):
        lines += [Text(text, style="dim") for text in _wrap(f"{_letter(number)} {note}", prose)]
    for note in table.notes:
        lines += [Text(text) for text in _wrap(note, prose)]
    return lines


class _Panel:
    """A range of leaves with its measures: label widths, and gap and width of every leaf."""

    def __init__(self, grid: Grid, start: int, end: int, styled: bool) -> None:
        self.grid, self.start, self.end, self.styled = grid, start, end, styled
        self.leaves = grid.leaves[start:end]
        self.labels = [
            max(cell_len(text) for text in (title, *(line.labels[index] for line in grid.lines)))
            for index, title in enumerate(grid.labels)
        ]
        owners = [leaf.owner for leaf in self.leaves]
        self.gaps = [1 if index and owner == owners[index - 1] else _GAP for index, owner in enumerate(owners)]
        self.sizes = [
            max(cell_len(leaf.part), *(cell_len(_plain(line.pieces[index], styled)) for line in grid.lines))
            for index, leaf in enumerate(self.leaves, start)
        ]
        for level in ("title", "group"):
            for text, first, last in self._spans(level):
                # A header wider than what it stands over widens the last leaf under it.
                self.sizes[last - 1] += max(0, cell_len(text) - self._span_width(first, last))

    @property
    def indent(self) -> int:
        """Width of the label columns."""
        return sum(self.labels) + _GAP * (len(self.labels) - 1)

    @property
    def width(self) -> int:
        """Width of the whole panel."""
        return self.indent + sum(self.gaps) + sum(self.sizes)

    def lines(self) -> list[Text]:
        """The panel between its rules."""
        levels = [level for level in ("group", "title", "part") if any(getattr(leaf, level) for leaf in self.leaves)]
        lines = [Text("━" * self.width, style="dim")]
        for level in levels:
            lines += self._header(level, lowest=level == levels[-1])
        lines.append(Text("─" * self.width, style="dim"))
        section = ""
        for line in self.grid.lines:
            if line.section != section:
                section = line.section
                lines.append(Text(section, style="italic"))
            lines.append(self._line(line))
        return [*lines, Text("━" * self.width, style="dim")]

    def _spans(self, level: str) -> list[tuple[str, int, int]]:
        position, found = 0, []
        for text, length in spans(self.leaves, level):
            found.append((text, position, position + length))
            position += length
        return found

    def _span_width(self, first: int, last: int) -> int:
        return sum(self.sizes[first:last]) + sum(self.gaps[first + 1 : last])

    def _header(self, level: str, lowest: bool) -> list[Text]:
        head = Text(self._join_labels(self.grid.labels if lowest else ("",) * len(self.labels)))
        rule = " " * self.indent
        for text, first, last in self._spans(level):
            size, over = self._span_width(first, last), last - first > 1 and bool(text)
            head.append(" " * self.gaps[first])
            head.append(_centre(text, size) if over else _pad(text, size), style="bold")
            rule += " " * self.gaps[first] + ("─" if over else " ") * size
        return [head, Text(rule, style="dim")] if rule.strip() else [head]

    def _line(self, line: Line) -> Text:
        text = Text(self._join_labels(line.labels))
        for size, gap, piece in zip(self.sizes, self.gaps, line.pieces[self.start : self.end], strict=True):
            plain = _plain(piece, self.styled)
            text.append(" " * gap)
            text.append(plain, style=STYLES[piece.mark] if piece.mark and self.styled else "")
            text.append(" " * (size - cell_len(plain)))
        return text

    def _join_labels(self, labels: tuple[str, ...]) -> str:
        return (" " * _GAP).join(_pad(label, size) for label, size in zip(labels, self.labels, strict=True))


def _panels(grid: Grid, width: int, styled: bool) -> list[_Panel]:
    """As few panels as fit the width, of about equal width, never cut within a cell."""
    fewest = len(_cut(grid, width, styled))
    narrowest = bisect.bisect_left(range(width), True, key=lambda limit: len(_cut(grid, limit, styled)) <= fewest)
    return _cut(grid, narrowest, styled)


def _cut(grid: Grid, width: int, styled: bool) -> list[_Panel]:
    """Panels filled from the left as far as `width` goes, each with one column at least."""
    panels: list[_Panel] = []
    start = end = 0
    for _, length in spans(grid.leaves, "title"):
        if end > start and _Panel(grid, start, end + length, styled).width > width:
            panels.append(_Panel(grid, start, end, styled))
            start = end
        end += length
    return [*panels, _Panel(grid, start, end, styled)]


def _plain(piece: Piece, styled: bool) -> str:
    sign = SIGNS[piece.mark] if piece.mark and not styled else ""
    return piece.text + sign + "".join(_letter(number) for number in piece.notes)


def _legend(table: Table, styled: bool) -> Text:
    marks, apart = table.marks()
    if not styled:
        return Text(", ".join(f"{SIGNS[mark]} {MARKS[mark]}" for mark in marks) + f"{apart}.")
    return Text(", ").join(Text(MARKS[mark], STYLES[mark]) for mark in marks).append(f"{apart}.")


def _letter(number: int) -> str:
    turns, index = divmod(number, len(_LETTERS))
    return _LETTERS[index] * (turns + 1)


def _wrap(text: str, width: int) -> list[str]:
    """Lines of the text; a command is not broken, so that it can be copied."""
    whole = COMMAND.sub(lambda command: command[0].replace(" ", _HARD_SPACE), text)
    lines = textwrap.wrap(whole, max(width, 20), break_long_words=False, break_on_hyphens=False)
    return [line.replace(_HARD_SPACE, " ") for line in lines]


def _pad(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))


def _centre(text: str, width: int) -> str:
    left = max(0, (width - cell_len(text)) // 2)
    return _pad(" " * left + text, width)
