"""The report command: which tables, in which form, to where."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fod_bench.errors import UsageError
from fod_bench.paper.forms import PAPER_TABLES
from fod_bench.report.cost_table import cost_table
from fod_bench.report.formats.base import Report
from fod_bench.report.formats.files import write
from fod_bench.report.formats.registry import report_format
from fod_bench.report.formats.tidy import Tidy
from fod_bench.report.job_table import plain_table
from fod_bench.report.own import OwnTable, own_tables
from fod_bench.report.paper_table import paper_table
from fod_bench.report.results import SELECTIONS, Results, Selection
from fod_bench.report.table import Table
from fod_bench.report.words import nearest, shortened

Chosen = int | OwnTable
"""A table of the paper by its number, or a job's own."""


def chosen_tables(results: Results, names: Sequence[str] | None, fed_only: bool = False) -> list[Chosen]:
    """The tables that `names` asks for, each once, in the order asked: numbers of the paper, and own tables of jobs.

    A name is the number of a table of the paper, the name of a job for its own tables (for those of all jobs that it includes,
    where it has no rows itself), that of one own table, `plain` for the own tables of all jobs, or `all`. None stands for every
    table of the paper that a row feeds, and the own tables of all jobs. With `fed_only`, `all` leaves out tables of the paper
    that no row feeds. Raises `UsageError` for any other name.
    """
    own, fed = own_tables(results), results.fed()
    fillable = [number for number in PAPER_TABLES if number in fed]
    known: dict[str, list[Chosen]] = {job: [table for table in own if table.plan.job == job] for job in results.jobs()}
    known |= {
        name: [table for table in own if name in (table.label, table.name)]
        for table in own
        for name in (table.label, table.name)
    }
    known |= {part: [table for table in own if table.part == part] for part in results.parts()}
    known |= {str(number): [number] for number in PAPER_TABLES}
    known |= {"plain": [*own], "all": [*(fillable if fed_only else PAPER_TABLES), *own]}
    chosen: list[Chosen] = []
    for name in [*map(str, fillable), "plain"] if names is None else names:
        if name not in known:
            others = ["all", "plain", *dict.fromkeys(table.name for table in own)]
            numbers = [str(number) for number in PAPER_TABLES]
            there = f"the paper has {numbers[0]} to {numbers[-1]}; there are also {shortened(others)}"
            raise UsageError(f"no table {name!r}: {there if name.isdecimal() else nearest(name, [*others, *numbers])}")
        chosen += [table for table in known[name] if table not in chosen]
    return chosen


def build_tables(
    results: Results, names: Sequence[str] | None, selection: Selection = "best", fed_only: bool = False
) -> list[Table]:
    """The tables that `names` asks for; see `chosen_tables`."""
    return [_build(results, chosen, selection) for chosen in chosen_tables(results, names, fed_only)]


def _build(results: Results, chosen: Chosen, selection: Selection) -> Table:
    if isinstance(chosen, int):
        return paper_table(results, chosen, selection)
    return (cost_table if chosen.cost else plain_table)(results, chosen, selection)


def render_report(
    results: Results,
    tables: Sequence[str] | None = None,
    fmt: str = "terminal",
    out: Path | None = None,
    selection: str = "best",
    fed_only: bool = False,
    force: bool = False,
) -> list[Path]:
    """Write tables to standard output, or each to a file of its own in the folder `out`; the paths are returned.

    Args:
        tables: as for `chosen_tables`, and so `fed_only`.
        fmt: one of `formats.registry.FORMATS`.
        out: beside the tables it gets a tidy file of all their cells.
        selection: `best` or `last`; the tidy file has both.
        force: whether a folder that is kept otherwise is replaced, see `Format.check_place`.

    Equal results give equal bytes. Raises `UsageError` for another name, `FodBenchError` for a folder that cannot be
    written.
    """
    form = report_format(fmt)
    form.check_place(out, force)
    chosen = next((known for known in SELECTIONS if known == selection), None)
    if chosen is None:
        raise UsageError(f"no selection {selection!r}: {nearest(selection, SELECTIONS)}")
    wanted = chosen_tables(results, tables, fed_only)
    report = Report(results, wanted, lambda: [_build(results, one, chosen) for one in wanted], chosen)
    if out is None:
        form.show(report)
        return []
    written = form.write(report, out, force)
    if form.tidy_beside:
        written += [write(out / name, pieces) for name, pieces in Tidy().files(report)]
    return written
