"""Plots over several trainings: cost against quality, and AUROC against one setting, as the paper's Figure 5 has it."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fod_bench.evaluation.measures import MEASURES, Metric
from fod_bench.evaluation.metric import COSTS
from fod_bench.paper.discrepancies import DATASET_TITLES
from fod_bench.paper.figures import FIGURES, Panel
from fod_bench.paper.published import MEAN
from fod_bench.records.record import COST_SCORE
from fod_bench.report.explain import Explanation
from fod_bench.report.figures import panel_places, tick_label
from fod_bench.report.job_table import AUROCS
from fod_bench.report.own import OwnTable, own_tables
from fod_bench.report.page.svg import SERIES, Axis, Plot, Point, Ticks
from fod_bench.report.page.trial_plots import Figure
from fod_bench.report.paper_table import PaperTable
from fod_bench.report.results import Results, Selection, part_of

_SETTING = re.compile(r"([A-Za-z_][\w.]*)=(.+)")
_LOG_FROM = 30.0
"""Values that lie as many times apart as this stand on a logarithmic axis."""


@dataclass(frozen=True)
class CostPlot:
    """Cost against quality of a data set: a plot for each pair, and the numbers themselves."""

    title: str
    costs: list[str]
    qualities: list[str]
    plots: list[tuple[str, str, Figure]]
    """Cost, quality, plot."""
    rows: list[tuple[str, list[str]]]
    """A row of the table: its label, then values of all costs and qualities."""
    note: str


def cost_plots(results: Results, cells: Sequence[Explanation], selection: Selection) -> Iterator[CostPlot]:
    """One for each job's own table and data set that has at least two rows with a result."""
    measured = _measured(cells)
    for own in own_tables(results):
        if own.cost:
            continue
        view = own.view(results, selection)
        seconds = _seconds(cells, own)
        for dataset in view.datasets():
            rows = [row for row in view.rows() if (row, dataset) in seconds]
            if len(rows) < 2:
                continue
            categories = view.categories(dataset)
            values: dict[str, dict[str, float | None]] = {}
            for number, title in enumerate(("training, s per training", "evaluation, s per training")):
                values[title] = {row: seconds[row, dataset][number] for row in rows}
            for cost in COSTS:
                found = {row: measured.get((_plain(row), cost)) for row in rows}
                if sum(value is not None for value in found.values()) > 1:
                    values[MEASURES[cost].heading] = found
            qualities = {}
            for metric in AUROCS:
                means = {row: view.mean(row, dataset, categories, metric).value for row in rows}
                if any(value is not None for value in means.values()):
                    qualities[MEASURES[metric].title] = means
            plots = [
                (cost, quality, _scatter(cost, quality, by_cost, by_quality, rows, dataset))
                for cost, by_cost in values.items()
                for quality, by_quality in qualities.items()
            ]
            if plots:
                texts = [
                    *(map(_text, column.values()) for column in values.values()),
                    *(map(_share, column.values()) for column in qualities.values()),
                ]
                table = list(zip(rows, map(list, zip(*texts, strict=True)), strict=True))
                yield CostPlot(
                    f"{own.title} on {dataset}",
                    list(values),
                    list(qualities),
                    plots,
                    table,
                    _machines(cells, own, dataset, len(values) > 2),
                )


def _scatter(
    cost: str,
    quality: str,
    by_cost: Mapping[str, float | None],
    by_quality: Mapping[str, float | None],
    rows: Sequence[str],
    dataset: str,
) -> Figure:
    points: dict[int, Point] = {}
    for number, row in enumerate(rows, 1):
        x, y = by_cost[row], by_quality[row]
        if x is not None and y is not None and x > 0:
            points[number] = (x, y)
    across, up = [point[0] for point in points.values()], [point[1] for point in points.values()]
    kind = "log" if across and max(across) > _LOG_FROM * min(across) else "linear"
    told = "; ".join(f"{rows[number - 1]}: {x:.4g} and {y:.3f}" for number, (x, y) in points.items())
    plot = Plot(
        Axis.around(across, cost, "log" if kind == "log" else "linear"),
        Axis.around(up, quality),
        f"{quality} against {cost} on {dataset}: {told}",
    )
    plot.numbered(points)
    without = [row for number, row in enumerate(rows, 1) if number not in points]
    return Figure(
        f"{quality} against {cost}", plot.drawn(), (), f"Without {', '.join(without)}, not measured." if without else ""
    )


def _seconds(cells: Sequence[Explanation], own: OwnTable) -> dict[tuple[str, str], tuple[float, float]]:
    """By row and data set the mean seconds of training and of evaluation of an own table's trainings."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for cell in _of(cells, own):
        if cell.record is not None and not cell.problem:
            run = cell.record.run
            found.setdefault((cell.cell.row, cell.cell.dataset), []).append((run.train_seconds, run.evaluate_seconds))
    return {
        where: (statistics.fmean(pair[0] for pair in pairs), statistics.fmean(pair[1] for pair in pairs))
        for where, pairs in found.items()
    }


def _of(cells: Sequence[Explanation], own: OwnTable) -> Iterator[Explanation]:
    for cell in cells:
        if (cell.plan.run_id, part_of(cell.plan, cell.cell)) == (
            own.plan.run_id,
            own.part,
        ) and cell.cell.score != COST_SCORE:
            yield cell


def _measured(cells: Sequence[Explanation]) -> dict[tuple[str, str], float]:
    """By row and cost the mean over all that was measured of it."""
    found: dict[tuple[str, str], list[float]] = {}
    for cell in cells:
        if cell.cell.score == COST_SCORE and cell.record is not None:
            for cost, value in cell.record.costs.items():
                found.setdefault((_plain(cell.cell.row), cost), []).append(value)
    return {where: statistics.fmean(values) for where, values in found.items()}


def _plain(row: str) -> str:
    return row.casefold()


def _machines(cells: Sequence[Explanation], own: OwnTable, dataset: str, measured: bool) -> str:
    """Where times and costs come from."""
    runs = [cell.record.run for cell in _of(cells, own) if cell.record is not None and cell.cell.dataset == dataset]
    devices = sorted({f"{run.device}, threads: {run.threads}" for run in runs})
    shared = (
        " Some trainings shared their steps; each is charged an equal part."
        if any(run.packed > 1 for run in runs)
        else ""
    )
    told = f"Times are means over trainings, as their records have them, on {' and '.join(devices)}.{shared}"
    return f"{told} Other costs are those that rows of the same name were measured with." if measured else told


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


@dataclass(frozen=True)
class _Line:
    """AUROC against one setting."""

    metric: Metric
    name: str
    points: list[tuple[float, float, float]]
    """Place on the axis, value, deviation over seeds."""


def sweeps(results: Results, selection: Selection) -> Iterator[tuple[str, list[Figure]]]:
    """Headings and plots: the paper's figures that the results feed, then whatever settings the rows of other jobs vary."""
    fed = results.fed()
    for figure in FIGURES.values():
        if figure.table in fed:
            table = PaperTable(results, figure.table, selection)
            title = f"{figure.title}, {DATASET_TITLES[table.datasets[0]]}"
            yield title, [found for panel in figure.panels if (found := _panel(table, panel)) is not None]
    drawn = {figure.table for figure in FIGURES.values()}
    for own in own_tables(results):
        if not own.cost and not any(set(cell.tables) & drawn for cell in own.cells):
            yield from _own_sweeps(results, own, selection)


def _panel(table: PaperTable, panel: Panel) -> Figure | None:
    rows = panel_places(table, panel)
    settings = list(dict.fromkeys(table.name_of(row)[1] for row in rows))
    lines = []
    for metric in table.metrics:
        cells = [(row, at, table.cell(row, table.datasets[0], MEAN, metric)) for row, at in rows.items()]
        title = MEASURES[metric].title
        for setting in settings:
            ours = [
                (at, cell.value, cell.deviation or 0.0)
                for row, at, cell in cells
                if cell.value is not None and cell.complete and table.name_of(row)[1] == setting
            ]
            lines.append(_Line(metric, " ".join(filter(None, (f"{title}, ours", setting))), ours))
        printed = {at: cell.published for _, at, cell in cells if cell.published is not None}
        lines.append(_Line(metric, f"{title}, published", [(at, value, 0.0) for at, value in printed.items()]))
    texts = {at: tick_label(table, row) for row, at in rows.items()}
    return _drawn(panel.label, lines, texts, "log" if panel.scale == "log" else "linear")


def _own_sweeps(results: Results, own: OwnTable, selection: Selection) -> Iterator[tuple[str, list[Figure]]]:
    """Plots of the settings in the names of a job's rows, `heads=4`."""
    view = own.view(results, selection)
    named = {row: _settings(row) for row in view.rows()}
    keys = dict.fromkeys(key for settings in named.values() for key in settings if key)
    for key in keys:
        texts = list(dict.fromkeys(settings[key] for settings in named.values() if key in settings))
        if len(texts) < 2:
            continue
        numbers = [_as_number(text) for text in texts]
        numeric = [number for number in numbers if number is not None]
        ordered = len(numeric) == len(texts)
        at = dict(zip(texts, numeric if ordered else map(float, range(len(texts))), strict=True))
        log = ordered and min(numeric) > 0 and max(numeric) >= _LOG_FROM * min(numeric)
        figures = []
        for dataset in view.datasets():
            lines: dict[tuple[str, Metric], _Line] = {}
            for row, settings in named.items():
                others = ", ".join(f"{name}={text}" if name else text for name, text in settings.items() if name != key)
                for metric in AUROCS if key in settings else ():
                    cell = view.mean(row, dataset, view.categories(dataset), metric)
                    line = lines.setdefault(
                        (others, metric), _Line(metric, ", ".join(filter(None, (MEASURES[metric].title, others))), [])
                    )
                    if cell.value is not None and cell.complete:
                        line.points.append((at[settings[key]], cell.value, cell.deviation or 0.0))
            found = _drawn(
                f"{key}, on {dataset}",
                list(lines.values()),
                {place: text for text, place in at.items()},
                "log" if log else "linear",
            )
            if found is not None:
                figures.append(found)
        if figures:
            yield f"{own.title}: {key}", figures


def _drawn(label: str, lines: Sequence[_Line], texts: Mapping[float, str], kind: str) -> Figure | None:
    lines = [line for line in lines if line.points]
    if not any(len(line.points) > 1 for line in lines):
        return None
    shown, more = lines[:SERIES], len(lines) - SERIES
    values = [value + sign * spread for line in shown for _, value, spread in line.points for sign in (-1, 1)]
    ends = "; ".join(
        f"{line.name} from {min(p[1] for p in line.points):.3f} to {max(p[1] for p in line.points):.3f}"
        for line in shown
    )
    marks = Ticks(list(texts), list(texts.values()))
    x = Axis.around(texts, label, "log" if kind == "log" else "linear", marks)
    plot = Plot(x, Axis.around(values, "AUROC"), f"AUROC against {label}: {ends}")
    for number, line in enumerate(shown):
        points = sorted(line.points)
        plot.line([(at, value) for at, value, _ in points], number, dotted=True)
        for at, value, spread in points:
            if spread:
                plot.spread((at, value), spread, number)
    note = "The axis does not begin at 0. Only means over every category are drawn."
    if more > 0:
        note += f" {more} further lines are left out; the tables have their numbers."
    return Figure(label, plot.drawn(), tuple(line.name for line in shown), note)


def _settings(row: str) -> dict[str, str]:
    """`FOD, heads=4` as `{"": "FOD", "heads": "4"}`."""
    found: dict[str, str] = {}
    for piece in row.split(", "):
        match = _SETTING.fullmatch(piece)
        key, text = (match[1], match[2]) if match else ("", piece)
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
