"""A figure as files: the same drawing gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fod_bench.errors import UsageError
from fod_bench.machine.files import write_whole
from fod_bench.report.figures import NO_DATES
from fod_bench.schema.problems import unknown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "pdf", "svg")
STYLE = {"svg.hashsalt": "fod-bench", "font.size": 8}  # names within an SVG are drawn at random otherwise


def figure_paths(folder: Path, name: str, formats: Iterable[str], force: bool) -> list[Path]:
    """The files of a figure. Raises `UsageError` for an unknown format, or a file that is there already unless with `force`."""
    paths = []
    for form in dict.fromkeys(formats):
        if form not in FORMATS:
            raise UsageError(f"--format: {unknown('format of a figure', form, FORMATS)}")
        paths.append(folder / f"{name}.{form}")
    for path in paths:
        if path.exists() and not force:
            raise UsageError(f"{path} is there already; --force replaces it, --out names another folder")
    return paths


def save(drawing: Figure, paths: Iterable[Path]) -> None:
    """Write a drawing, each file whole or not there. Raises `FodBenchError`."""
    for path in paths:
        content, form = io.BytesIO(), path.suffix[1:]
        drawing.savefig(content, format=form, dpi=200, metadata=NO_DATES[form], bbox_inches="tight", pad_inches=0.05)
        write_whole(path, [content.getvalue()], "the figure")
