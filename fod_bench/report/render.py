"""The report command: which tables, in which form, to where."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

from rich.console import Console

from fod_bench.errors import UsageError
from fod_bench.paper.forms import PAPER_TABLES
from fod_bench.report.averages import shortened
from fod_bench.report.cost_table import cost_table
from fod_bench.report.formats.csv import long_form
from fod_bench.report.formats.files import write
from fod_bench.report.formats.latex import document, latex
from fod_bench.report.formats.markdown import markdown
from fod_bench.report.formats.terminal import print_tables
from fod_bench.report.formats.tidy import tidy
from fod_bench.report.job_table import plain_table
from fod_bench.report.paper_table import paper_table
from fod_bench.report.results import SELECTIONS, Results, Selection, nearest
from fod_bench.report.table import Table

Format = Literal["terminal", "markdown", "latex", "csv", "tidy"]
FORMATS: tuple[Format, ...] = get_args(Format)
_SUFFIXES: dict[str, str] = {"terminal": "txt", "markdown": "md", "latex": "tex", "csv": "csv"}
_FILE_WIDTH = 100
_TIDY = "tidy"
_DOCUMENT = "tables"
"""The LaTeX document of all tables that were written."""


def table_names(results: Results, names: Sequence[str] | None, fed_only: bool = False) -> list[str]:
    """The tables that `names` asks for, each once, in the order asked: numbers of the paper, and names of jobs with rows.

    A name is the number of a table of the paper, the name of a job for its own table (for those of all jobs that it includes,
    where it has no rows itself), `plain` for the own tables of all jobs, or `all`. None stands for every table of the paper
    that a row feeds, and the own tables of all jobs. With `fed_only`, `all` leaves out tables of the paper that no row feeds.
    Raises `UsageError` for any other name.
    """
    numbers, parts, fed = [str(number) for number in PAPER_TABLES], results.parts(), results.fed()
    fillable = [str(number) for number in PAPER_TABLES if number in fed]
    chosen: list[str] = []
    for name in names if names is not None else [*fillable, "plain"]:
        if name == "all":
            chosen += [*(fillable if fed_only else numbers), *parts]
        elif name == "plain":
            chosen += parts
        elif name in numbers or name in parts:
            chosen.append(name)
        elif name in results.jobs():
            chosen += results.parts(name)
        else:
            others = ["all", "plain", *parts]
            known = f"the paper has {numbers[0]} to {numbers[-1]}; there are also {shortened(others)}"
            raise UsageError(f"no table {name!r}: {known if name.isdecimal() else nearest(name, [*others, *numbers])}")
    return list(dict.fromkeys(chosen))


def build_tables(
    results: Results, names: Sequence[str] | None, selection: Selection = "best", fed_only: bool = False
) -> list[Table]:
    """The tables that `names` asks for; see `table_names`."""
    tables = []
    for name in table_names(results, names, fed_only):
        if _is_number(name):
            tables.append(paper_table(results, int(name), selection))
            continue
        own = (plain_table(results, name, selection), cost_table(results, name, selection))
        tables += [table for table in own if table.rows]
    return tables


def render_report(
    results: Results,
    tables: Sequence[str] | None = None,
    fmt: str = "terminal",
    out: Path | None = None,
    selection: str = "best",
    fed_only: bool = False,
) -> list[Path]:
    """Write tables to standard output, or each to a file of its own in the folder `out`; the paths are returned.

    Args:
        tables: as for `table_names`, and so `fed_only`.
        fmt: one of `FORMATS`.
        out: beside the tables it gets a tidy file of all their cells, and for LaTeX a document that holds them.
        selection: `best` or `last`; the tidy file has both.

    Equal results give equal bytes. Raises `UsageError` for another name, `FodBenchError` for a folder that cannot be
    written.
    """
    if fmt not in FORMATS:
        raise UsageError(f"no report format {fmt!r}: {nearest(fmt, FORMATS)}")
    chosen = next((known for known in SELECTIONS if known == selection), None)
    if chosen is None:
        raise UsageError(f"no selection {selection!r}: {nearest(selection, SELECTIONS)}")
    names = table_names(results, tables, fed_only)
    if fmt == _TIDY:
        if out is None:
            sys.stdout.writelines(_tidy(results, names))
            return []
        return [write(out / f"{_TIDY}.csv", _tidy(results, names))]
    built = build_tables(results, names, chosen)
    if out is None:
        _print(built, fmt)
        return []
    written = [write(out / f"{_stem(table)}.{_SUFFIXES[fmt]}", [_text([table], fmt)]) for table in built]
    if fmt == "latex":
        written.append(write(out / f"{_DOCUMENT}.tex", [document([path.stem for path in written])]))
    return [*written, write(out / f"{_TIDY}.csv", _tidy(results, names))]


def _tidy(results: Results, names: Sequence[str]) -> Iterator[str]:
    numbers = [int(name) for name in names if _is_number(name)]
    return tidy(results, [name for name in names if not _is_number(name)], numbers)


def _print(tables: Sequence[Table], fmt: str) -> None:
    if fmt == "terminal":
        print_tables(tables, Console(file=sys.stdout))
    else:
        sys.stdout.write(_text(tables, fmt))


def _text(tables: Sequence[Table], fmt: str) -> str:
    if fmt == "markdown":
        return "\n".join(markdown(table) for table in tables)
    if fmt == "latex":
        return "\n".join(latex(table) for table in tables)
    if fmt == "csv":
        return long_form(tables)
    console = Console(width=_FILE_WIDTH, force_terminal=False, no_color=True)
    with console.capture() as capture:
        print_tables(tables, console)
    return capture.get()


def _stem(table: Table) -> str:
    """File name without its suffix. A job's name is taken from a plan, so nothing in it may lead out of the folder."""
    if table.numbered:
        return f"table-{table.name}"
    stem = re.sub(r"[^A-Za-z0-9_-]", "_", table.name)
    return f"job-{stem}" if stem.startswith("table-") or stem in (_TIDY, _DOCUMENT) else stem


def _is_number(name: str) -> bool:
    return name in map(str, PAPER_TABLES)
