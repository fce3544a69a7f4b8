"""Which forms of a report there are; the command and its help take them from here. A new one is a file and a line here."""

from __future__ import annotations

from importlib import import_module

from fod_bench.errors import UsageError
from fod_bench.report.formats.base import Format
from fod_bench.report.words import nearest

FORMATS = {
    "terminal": "fod_bench.report.formats.terminal:Terminal",
    "markdown": "fod_bench.report.formats.markdown:Markdown",
    "latex": "fod_bench.report.formats.latex:Latex",
    "csv": "fod_bench.report.formats.csv:LongForm",
    "tidy": "fod_bench.report.formats.tidy:Tidy",
    "html": "fod_bench.report.formats.html:Page",
}
"""Name to the class of the form, imported when it is asked for."""


def report_format(name: str) -> Format:
    """The form of that name. Raises `UsageError` for another."""
    if name not in FORMATS:
        raise UsageError(f"no report format {name!r}: {nearest(name, list(FORMATS))}")
    module, _, attribute = FORMATS[name].partition(":")
    found: type[Format] = getattr(import_module(module), attribute)
    return found()
