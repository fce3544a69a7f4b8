"""The report command: which tables, in which form, to where."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from rich.console import Console

from fod_bench.errors import FodBenchError, UsageError
from fod_bench.report.costs import cost_table, has_costs
from fod_bench.report.long_form import long_form
from fod_bench.report.markdown import markdown
from fod_bench.report.paper import PAPER_TABLES, paper_table
from fod_bench.report.plain import plain_table
from fod_bench.report.results import SELECTIONS, Results, Selection, nearest
from fod_bench.report.table import Table
from fod_bench.report.terminal import print_tables

Format = Literal["terminal", "markdown", "csv"]
_SUFFIXES: dict[str, str] = {"terminal": "txt", "markdown": "md", "csv": "csv"}
_FILE_WIDTH = 100


def build_tables(results: Results, names: Sequence[str] | None, selection: Selection = "best") -> list[Table]:
    """The tables that `names` asks for, each once, in the order asked.

    A name is the number of a table of the paper, the name of a job for its own table, `plain` for those of all jobs,
    or `all`. None stands for every table of the paper that a run feeds and the own tables of all jobs. Raises
    `UsageError` for any other name.
    """
    numbers = [str(number) for number in PAPER_TABLES]
    jobs = list(results.jobs())
    fed = [str(number) for number in PAPER_TABLES if any(number in plan.tables for plan in results.plans)]
    chosen: list[str] = []
    for name in names if names is not None else [*fed, "plain"]:
        if name == "all":
            chosen += [*numbers, *jobs]
        elif name == "plain":
            chosen += jobs
        elif name in (*numbers, *jobs):
            chosen.append(name)
        else:
            raise UsageError(f"no table {name!r}: {nearest(name, [*numbers, 'all', 'plain', *jobs])}")
    tables = []
    for name in dict.fromkeys(chosen):
        if name in numbers:
            tables.append(paper_table(results, int(name), selection))
            continue
        costs = has_costs(results, name)
        if not costs or has_costs(results, name, others=True):
            tables.append(plain_table(results, name, selection))
        if costs:
            tables.append(cost_table(results, name, selection))
    return tables


def render_report(
    results: Results,
    tables: Sequence[str] | None = None,
    fmt: str = "terminal",
    out: Path | None = None,
    selection: str = "best",
) -> list[Path]:
    """Write tables to standard output, or each to a file of its own in the folder `out`; the paths are returned.

    `fmt` is `terminal`, `markdown` or `csv`, `selection` is `best` or `last`, `tables` as for `build_tables`. Equal
    results give equal bytes. Raises `UsageError` for another name, `FodBenchError` for a folder that cannot be
    written.
    """
    if fmt not in get_args(Format):
        raise UsageError(f"no report format {fmt!r}: {nearest(fmt, get_args(Format))}")
    chosen = next((known for known in SELECTIONS if known == selection), None)
    if chosen is None:
        raise UsageError(f"no selection {selection!r}: {nearest(selection, SELECTIONS)}")
    built = build_tables(results, tables, chosen)
    if out is None:
        _print(built, fmt)
        return []
    return [_write(out / f"{_stem(table)}.{_SUFFIXES[fmt]}", _text([table], fmt)) for table in built]


def _print(tables: Sequence[Table], fmt: str) -> None:
    if fmt == "terminal":
        print_tables(tables, Console(file=sys.stdout))
    else:
        sys.stdout.write(_text(tables, fmt))


def _text(tables: Sequence[Table], fmt: str) -> str:
    if fmt == "markdown":
        return "\n".join(markdown(table) for table in tables)
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
    return f"job-{stem}" if stem.startswith("table-") else stem


def _write(path: Path, text: str) -> Path:
    """Write `text` so that a reader sees the old file or the new one, never a part."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise FodBenchError(f"the report cannot be written to {path}: {error.strerror or error}") from error
    return path
