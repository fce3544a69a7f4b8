"""Texts in CSV files that a spreadsheet opens: none becomes a formula, none changes the lines."""

from __future__ import annotations

import re

from fod_bench.text import escaped

_FORMULA = "=+-@\t\r\uff0b\uff0d\uff1d\uff20"  # the last four are the first in full width, which some programs take too
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def text_cell(text: str) -> str:
    """The text as a CSV cell: after `'` where it begins as a formula does and is no number, control characters escaped."""
    guard = "'" if text[:1] in _FORMULA and text and not _NUMBER.fullmatch(text) else ""
    return guard + escaped(text)


def text_cells(values: tuple[object, ...]) -> tuple[object, ...]:
    """A line of a CSV file: its texts as cells, its numbers as they are."""
    return tuple(text_cell(value) if isinstance(value, str) else value for value in values)
