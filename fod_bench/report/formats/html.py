"""A web page in a folder of its own: tables, trainings, images with score maps, plots. See `fod_bench.report.page`."""

from __future__ import annotations

from pathlib import Path

from fod_bench.errors import UsageError
from fod_bench.report.formats.base import Format, Report


class Page(Format):
    """A folder that is written whole or not at all, and kept where it is there already."""

    suffix = "html"
    tidy_beside = False  # it is in the folder
    whole = True

    def check_place(self, out: Path | None, force: bool) -> None:
        from fod_bench.report.page.folder import check_place

        if out is None:
            raise UsageError("--format html needs --out FOLDER: a page is a folder of files")
        check_place(out, force)

    def write(self, report: Report, out: Path, force: bool) -> list[Path]:
        from fod_bench.report.page.build import page_files
        from fod_bench.report.page.folder import write_whole

        return [write_whole(out, page_files(report, report.selection), force) / "index.html"]
