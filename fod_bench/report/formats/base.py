"""What a form of a report is: how tables become text, what is printed, which files there are."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fod_bench.errors import UsageError
from fod_bench.report.formats.files import write
from fod_bench.report.own import OwnTable
from fod_bench.report.results import Results, Selection
from fod_bench.report.table import Table

TIDY, DOCUMENT = "tidy", "tables"
"""File names that no table has: the tidy file beside the tables, and the LaTeX document that holds them."""


@dataclass(frozen=True)
class Report:
    """What is to be written."""

    results: Results
    wanted: Sequence[int | OwnTable]
    """Tables of the paper by their numbers, and jobs' own."""
    build: Callable[[], list[Table]]
    selection: Selection = "best"
    """The one that the tables have."""

    @cached_property
    def tables(self) -> list[Table]:
        """The tables that are wanted, built when a form first asks for them."""
        return self.build()


class Format:
    """A form of a report. One that has a text for tables needs `suffix` and `text` only. Equal reports give equal bytes."""

    suffix: str
    """End of its files' names."""
    tidy_beside = True
    """Whether the tidy file of all cells is written beside its files."""
    whole = False
    """Whether it makes a whole folder, in which nothing else is to be."""

    def text(self, tables: Sequence[Table]) -> str:
        """The tables, one after the other."""
        raise NotImplementedError

    def show(self, report: Report) -> None:
        """Write the report to standard output."""
        sys.stdout.write(self.text(report.tables))

    def check_place(self, out: Path | None, force: bool) -> None:
        """Raises `UsageError` where the form cannot be written to `out`, or printed where that is None."""
        if force:
            raise UsageError(
                "--force is for --format html, whose folder is kept: the files of other forms are replaced"
            )

    def write(self, report: Report, out: Path, force: bool) -> list[Path]:
        """Write the report's files into the folder `out`; the paths are returned."""
        return [write(out / name, pieces) for name, pieces in self.files(report)]

    def files(self, report: Report) -> Iterator[tuple[str, Iterable[str]]]:
        """Names and texts of the report's files: one for each table."""
        for table in report.tables:
            yield f"{stem(table)}.{self.suffix}", [self.text([table])]


def stem(table: Table) -> str:
    """A table's file name without its suffix. A job's name is taken from a plan, so nothing in it may lead out of the folder."""
    if table.numbered:
        return f"table-{table.name}"
    name = re.sub(r"[^A-Za-z0-9_-]", "_", table.name)
    return f"job-{name}" if name.startswith("table-") or name in (TIDY, DOCUMENT) else name
