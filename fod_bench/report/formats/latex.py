"""A table in LaTeX, ruled by booktabs, for pdflatex and any other engine."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from fod_bench.report.formats.base import DOCUMENT, Format, Report, stem
from fod_bench.report.grid import Grid, Piece, lay_out, spans
from fod_bench.report.table import MARKS, Mark, Table

_WRAP: dict[Mark | None, str] = {"best": r"\textbf{%s}", "second": r"\underline{%s}", None: "%s"}
_SPELLED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{character: f"${character}$" for character in "<>|"},
    # At the beginning of a row, after \\ or a rule, these would be an option of it.
    **{character: f"{{{character}}}" for character in "[]*"},
    "λ": r"$\lambda$",
    "Δ": r"$\Delta$",
    "−": "$-$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "…": r"\ldots{}",
    "–": "--",
}
_DOCUMENT = r"""%% All tables of this folder: pdflatex %s
\documentclass[a4paper,landscape]{article}
\usepackage[utf8]{inputenc}
\usepackage[hmargin=15mm,vmargin=10mm]{geometry}
\usepackage{booktabs}
\usepackage{graphicx}
\begin{document}
%s
\end{document}
"""


class Latex(Format):
    """A float for each table, and a document that holds them."""

    suffix = "tex"

    def text(self, tables: Sequence[Table]) -> str:
        return "\n".join(map(latex, tables))

    def files(self, report: Report) -> Iterator[tuple[str, Iterable[str]]]:
        yield from super().files(report)
        yield f"{DOCUMENT}.tex", [document([stem(table) for table in report.tables])]


def latex(table: Table) -> str:
    """The table as a float; its document needs the packages booktabs and graphicx. Best is bold, second best underlined.

    One wider than the text is scaled down to it.
    """
    grid = lay_out(table)
    number = f"Table~{table.name} of the paper: " if table.numbered else ""
    title = _escape(table.title.partition(". ")[2] if table.numbered else table.title)
    return "\n".join(
        [
            r"\begin{table}[htbp]",
            r"\centering\setlength{\belowcaptionskip}{6pt}",
            rf"\caption{{{number}{title}. {_escape(table.caption)}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{{'l' * len(grid.labels)}{'r' * len(grid.leaves)}}}",
            r"\toprule",
            *_header(grid),
            r"\midrule",
            *_body(grid),
            r"\bottomrule",
            r"\end{tabular}}",
            *_remarks(table, grid),
            r"\end{table}",
            "",
        ]
    )


def document(stems: Sequence[str], name: str = "tables.tex") -> str:
    """A document that holds the tables of the files `stems`.tex."""
    return _DOCUMENT % (name, "\n".join(rf"\input{{{stem}.tex}}" + "\n\\clearpage" for stem in stems))


def _header(grid: Grid) -> list[str]:
    levels = [level for level in ("group", "title", "part") if any(getattr(leaf, level) for leaf in grid.leaves)]
    lines = []
    for level in levels:
        lowest = level == levels[-1]
        cells = [_escape(label) if lowest else "" for label in grid.labels]
        rules, column = [], len(grid.labels) + 1
        for text, length in spans(grid.leaves, level):
            cells.append(rf"\multicolumn{{{length}}}{{c}}{{{_escape(text)}}}")
            if length > 1 and text and not lowest:
                rules.append(rf"\cmidrule(lr){{{column}-{column + length - 1}}}")
            column += length
        lines += [_row(cells), *(["".join(rules)] if rules else [])]
    return lines


def _body(grid: Grid) -> list[str]:
    lines, section = [], ""
    width = len(grid.labels) + len(grid.leaves)
    for line in grid.lines:
        if line.section != section:
            if section:
                lines.append(r"\addlinespace")
            section = line.section
            lines.append(_row([rf"\multicolumn{{{width}}}{{l}}{{\textit{{{_escape(section)}}}}}"]))
        lines.append(_row([*map(_escape, line.labels), *map(_piece, line.pieces)]))
    return lines


def _remarks(table: Table, grid: Grid) -> list[str]:
    texts = []
    marks, apart = table.marks()
    if marks:
        texts.append("Marked: " + ", ".join(_WRAP[mark] % MARKS[mark] for mark in marks) + f"{apart}.")
    texts += [rf"\textsuperscript{{{_letter(number)}}}~{_escape(note)}" for number, note in enumerate(grid.footnotes)]
    texts += map(_escape, table.notes)
    return [
        r"\par\smallskip",
        r"\begin{minipage}{\linewidth}\footnotesize",
        *_paragraphs(texts),
        r"\end{minipage}",
    ] * bool(texts)


def _paragraphs(texts: Iterable[str]) -> list[str]:
    return [rf"\noindent {text}\par" for text in texts]


def _piece(piece: Piece) -> str:
    text = piece.text.strip()
    if not text:
        return ""
    notes = ",".join(map(_letter, piece.notes))
    return _WRAP[piece.mark] % _escape(text) + (rf"\textsuperscript{{{notes}}}" if notes else "")


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _letter(number: int) -> str:
    turns, index = divmod(number, 26)
    return chr(ord("a") + index) * (turns + 1)


def _escape(text: str) -> str:
    """`text` as LaTeX sets it; what pdflatex's own fonts lack is named by its code point rather than lost."""
    pieces = re.split(r"λ(\d)", " ".join(text.split()))  # every other one is the digit of an index
    return "".join(
        rf"$\lambda_{piece}$" if index % 2 else "".join(map(_spell, piece)) for index, piece in enumerate(pieces)
    )


def _spell(character: str) -> str:
    if character in _SPELLED:
        return _SPELLED[character]
    latin = ord(character) < 0x180 and unicodedata.category(character)[0] == "L"
    plain = latin or (character.isascii() and character.isprintable())
    return character if plain else rf"\texttt{{U+{ord(character):04X}}}"
