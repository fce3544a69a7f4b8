"""The paper's Figure 5 and its like: AUROC against one hyper-parameter, ours beside the printed numbers, as SVG and PNG."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fod_bench.errors import UsageError
from fod_bench.evaluation.measures import MEASURES
from fod_bench.paper.discrepancies import DATASET_TITLES
from fod_bench.paper.figures import FIGURES, DrawnFigure, Panel
from fod_bench.paper.forms import feeding_jobs
from fod_bench.paper.published import MEAN
from fod_bench.report.formats.files import write
from fod_bench.report.paper_table import PaperTable
from fod_bench.report.results import Results, Selection
from fod_bench.report.words import nearest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_COLOURS = {"image_auroc": "#0072b2", "pixel_auroc": "#d55e00"}  # told apart by everybody, and in grey
_MARKERS = {"image_auroc": "o", "pixel_auroc": "s"}
_STYLE = {
    "svg.hashsalt": "fod-bench",  # names within the file are drawn at random otherwise
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e5e5",
    "legend.frameon": False,
}
NO_DATES: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}
"""By format, what is left out of a file: a date or the name of a program's version would differ where the drawing does not."""
_PANEL = (4.2, 2.8)  # inches of one panel; around all of them:
_LEFT, _RIGHT, _BOTTOM, _TOP = 0.9, 0.55, 1.15, 0.8


def figure_names(names: Sequence[str]) -> list[str]:
    """The figures asked for, `all` being every one. Raises `UsageError` for another name."""
    for name in names:
        if name not in (*FIGURES, "all"):
            raise UsageError(f"no figure {name!r}: {nearest(name, [*FIGURES, 'all'])}")
    return list(FIGURES) if "all" in names else list(dict.fromkeys(names))


def undrawn(results: Results, names: Sequence[str], fed_only: bool) -> dict[str, str]:
    """Figures that `all` leaves out, each with the reason: with `fed_only` those of tables that no row feeds."""
    left_out = fed_only and "all" in names
    return {
        name: f"no row here feeds Table {figure.table}; {feeding_jobs(figure.table)} does"
        for name, figure in FIGURES.items()
        if left_out and figure.table not in results.fed() and name not in names
    }


def render_figures(
    results: Results,
    names: Sequence[str],
    out: Path,
    selection: Selection = "best",
    fed_only: bool = False,
    formats: Sequence[str] = ("svg", "png"),
) -> list[Path]:
    """Write `figure-<name>.svg` and `.png`, or other formats, into the folder `out`; the paths are returned. Equal results give
    equal bytes.

    With `fed_only`, `all` leaves out what `undrawn` names. Only means over every category are drawn; what is missing is said in the
    figure. Raises `UsageError` for an unknown name, `FodBenchError` for a folder that cannot be written.
    """
    written = []
    left_out = undrawn(results, names, fed_only)
    for name in figure_names(names):
        if name in left_out:
            continue
        written += _draw(FIGURES[name], results, selection, out / f"figure-{name}", formats)
    return written


def _draw(
    figure: DrawnFigure, results: Results, selection: Selection, stem: Path, formats: Sequence[str]
) -> list[Path]:
    from matplotlib.figure import Figure
    from matplotlib.style import context

    table = PaperTable(results, figure.table, selection)
    width, height = _LEFT + _PANEL[0] * len(figure.panels) + _RIGHT, _BOTTOM + _PANEL[1] + _TOP
    with context(["default", _STYLE]):
        drawing = Figure(figsize=(width, height))
        areas = drawing.subplots(1, len(figure.panels), sharey=True, squeeze=False)[0]
        edges = {"left": _LEFT / width, "right": 1 - _RIGHT / width, "bottom": _BOTTOM / height}
        drawing.subplots_adjust(**edges, top=1 - _TOP / height, wspace=0.06)
        lines: dict[str, Any] = {}
        for panel, area in zip(figure.panels, areas, strict=True):
            lines |= _plot(table, panel, area)
        areas[0].set_ylabel("AUROC")
        title = f"{figure.title}, {DATASET_TITLES[table.datasets[0]]}"
        drawing.text(0.5, 1 - 0.12 / height, title, ha="center", va="top", fontsize=10)
        drawing.legend(
            list(lines.values()), list(lines), loc="upper center", bbox_to_anchor=(0.5, 1 - 0.3 / height), ncols=2
        )
        caption = textwrap.fill(_caption(table, figure), int(width * 19))
        drawing.text(0.1 / width, 0.1 / height, caption, va="bottom", fontsize=7, color="#555555")
        return [_save(drawing, stem.with_name(f"{stem.name}.{form}"), form) for form in formats]


def _plot(table: PaperTable, panel: Panel, area: Axes) -> dict[str, Any]:
    """Draw one panel; its lines by their names in the legend."""
    places = panel_places(table, panel)
    settings = list(dict.fromkeys(table.name_of(row)[1] for row in places))
    lines: dict[str, Any] = {}
    for metric in table.metrics:
        cells = [(row, place, table.cell(row, table.datasets[0], MEAN, metric)) for row, place in places.items()]
        title, colour, marker = MEASURES[metric].title, _COLOURS[metric], _MARKERS[metric]
        printed = {place: cell.published for _, place, cell in cells if cell.published is not None}
        style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4}
        (lines[f"{title}, published"],) = area.plot(
            list(printed), list(printed.values()), linestyle="--", alpha=0.6, markerfacecolor="white", **style
        )
        for number, setting in enumerate(settings):  # a line each: none leads from one setting to another
            ours = [
                (place, cell.value, cell.deviation or 0.0)
                for row, place, cell in cells
                if cell.complete and table.name_of(row)[1] == setting
            ]
            if ours:
                at, values, deviations = zip(*ours, strict=True)
                spread = deviations if any(deviations) else None
                alpha = 1 / (1 + 0.5 * number) if number else None
                name = " ".join(filter(None, (f"{title}, ours", setting)))
                lines[name] = area.errorbar(at, values, spread, capsize=3, alpha=alpha, **style)
    if panel.scale == "log":
        area.set_xscale("log")
    ticks = {place: tick_label(table, row) for row, place in places.items()}
    area.set_xticks(list(ticks), list(ticks.values()))
    area.set_xticks([], minor=True)
    area.set_xlabel(panel.label)
    return lines


def panel_places(table: PaperTable, panel: Panel) -> dict[str, float]:
    """Rows of the panel and where they stand on its axis, from left to right."""
    names = {row: table.name_of(row)[0] for row in table.rows}
    names = {row: name for row, name in names.items() if name.partition("=")[0] == panel.parameter}
    if panel.scale == "names":
        order = list(dict.fromkeys(names.values()))
        return {row: float(order.index(name)) for row, name in names.items()}
    values = {row: _number(name.partition("=")[2]) for row, name in names.items()}
    return dict(sorted(((row, value) for row, value in values.items() if value is not None), key=lambda pair: pair[1]))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # a row of ours that varies something else as well
        return None


def tick_label(table: PaperTable, row: str) -> str:
    """What stands at a row's place on the axis."""
    return table.form.name(table.name_of(row)[0])[0].rpartition("= ")[2]


def _caption(table: PaperTable, figure: DrawnFigure) -> str:
    """How our numbers came about, and how many are missing."""
    rows = [row for panel in figure.panels for row in panel_places(table, panel)]
    cells = [table.cell(row, table.datasets[0], MEAN, metric) for row in rows for metric in table.metrics]
    drawn = {cell.row for cell in cells if cell.complete}
    whole = sum(cell.complete for cell in cells)
    parts = [f"Ours: {table.view.caption(drawn)}."]
    if any(cell.deviation is not None for cell in cells if cell.complete):
        parts.append("Bars: one sample standard deviation to either side.")
    if whole < len(cells):
        parts.append(
            f"{whole} of {len(cells)} points of ours rest on every category and are drawn; {feeding_jobs(figure.table)} "
            "asks for all."
        )
    return " ".join([*parts, "The axis does not begin at 0."])


def _save(drawing: Figure, path: Path, form: str) -> Path:
    content = io.BytesIO()
    drawing.savefig(content, format=form, dpi=150, metadata=NO_DATES[form])
    return write(path, [content.getvalue()])
