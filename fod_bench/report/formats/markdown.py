"""A table in GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from fod_bench.report.formats.base import Format
from fod_bench.report.grid import Leaf, Piece, lay_out
from fod_bench.report.table import MARKS, Mark, Table
from fod_bench.text import escaped

_CODE = re.compile(r"`[^`\n]+`")
_WRAP: dict[Mark | None, str] = {"best": "**", "second": "_", None: ""}


class Markdown(Format):
    """A table with its notes below it."""

    suffix = "md"

    def text(self, tables: Sequence[Table]) -> str:
        return "\n".join(map(markdown, tables))


def markdown(table: Table) -> str:
    """The table with its title, caption and footnotes. Best is bold, second best italic."""
    grid = lay_out(table)
    headers = [*grid.labels, *(_header(leaf) for leaf in grid.leaves)]
    body = [_row(map(_escape, headers)), _row(["---"] * len(headers))]
    section = ""
    for line in grid.lines:
        if line.section != section:
            section = line.section
            body.append(_row([f"**{_escape(section)}**"] + [""] * (len(headers) - 1)))
        body.append(_row([*map(_escape, line.labels), *map(_piece, line.pieces)]))

    blocks = [f"### {_escape(table.title)}", _remark(table.caption), "\n".join(body)]
    marks, apart = table.marks()
    if marks:
        named = ", ".join(f"{_WRAP[mark]}{MARKS[mark]}{_WRAP[mark]}" for mark in marks)
        blocks.append(f"Marked: {named}{apart}.")
    blocks += [f"<sup>{_letter(number)}</sup> {_remark(note)}" for number, note in enumerate(grid.footnotes)]
    blocks += [_remark(note) for note in table.notes]
    return "\n\n".join(blocks) + "\n"


def _header(leaf: Leaf) -> str:
    return " ".join(text for text in (leaf.group, leaf.title, leaf.part) if text)


def _piece(piece: Piece) -> str:
    text = piece.text.strip()
    if not text:
        return ""
    wrap = _WRAP[piece.mark]
    return f"{wrap}{text}{wrap}" + "".join(f"<sup>{_letter(number)}</sup>" for number in piece.notes)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _letter(number: int) -> str:
    turns, index = divmod(number, 26)
    return chr(ord("a") + index) * (turns + 1)


def _remark(text: str) -> str:
    """A remark with its commands and options as code."""
    commands = map(escaped, _CODE.findall(text))
    pieces = map(_escape, _CODE.split(text))
    return "".join(word for pair in zip(pieces, [*commands, ""], strict=True) for word in pair)


def _escape(text: str) -> str:
    """`text` with what Markdown would take for markup escaped; an underscore within a word is none."""
    return re.sub(r"([|*`<\[\]\\]|\b_|_\b)", r"\\\1", escaped(re.sub(r"\s+", " ", text)))
