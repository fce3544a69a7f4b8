"""The paper's tables in its rows and columns, our numbers beside the printed ones."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import cast

from fod_bench.evaluation.measures import BETTER, MEASURES, Metric
from fod_bench.paper.discrepancies import DATASET_TITLES, remarks, repeated_rows
from fod_bench.paper.forms import FORMS, OURS_ONLY, Axis, feeding_jobs
from fod_bench.paper.published import (
    AVERAGE,
    MEAN,
    Position,
    all_printed,
    printed_categories,
    printed_datasets,
    printed_metrics,
    printed_rows,
)
from fod_bench.paper.tables import METHOD_TABLES
from fod_bench.records.run import Cell, RunPlan
from fod_bench.report.averages import View, shortened
from fod_bench.report.results import Results, Selection
from fod_bench.report.table import Column, Table, TableCell, TableRow, rank

_BTAD_FOLDERS = {"product01": "01", "product02": "02", "product03": "03"}
_PARAMETERS = {"lambda1": "λ1, with λ2 = 1", "lambda2": "λ2, with λ1 = 0.5"}


def paper_category(dataset: str, category: str) -> str:
    """The paper's name of one of our categories: BTAD's folder `01` is its `product01`."""
    names = {folder: name for name, folder in _BTAD_FOLDERS.items()} if dataset.casefold() == "btad" else {}
    return names.get(category, category)


def own_category(dataset: str, category: str) -> str:
    """Our name of one of the paper's categories."""
    return _BTAD_FOLDERS.get(category, category) if dataset == "btad" else category


def paper_table(results: Results, number: int, selection: Selection = "best") -> Table:
    """Table `number` of the paper, filled by the rows that feed it; without any, the printed numbers alone."""
    return PaperTable(results, number, selection).build()


@dataclass(frozen=True)
class _Entry:
    """One step along an axis: what it is called, and what it fixes of a cell's place."""

    labels: tuple[str, ...]
    place: tuple[tuple[str, str], ...]
    section: str = ""


class PaperTable:
    """Gathers the cells of one table, then lays them out as the paper does."""

    def __init__(self, results: Results, number: int, selection: Selection) -> None:
        self.number = number
        self.form = FORMS[number]
        self.datasets = printed_datasets(number)
        self.metrics = printed_metrics(number)
        self.view = View(results, results.plans, selection, self._feeds)
        self.own_names = {name.casefold(): name for name in self.view.datasets()}
        self.published = printed_rows(number)
        self.own_rows = self._match_rows()
        self.extra = tuple(row for row in self.view.rows() if row not in self.own_rows.values())
        self.rows = self.published + self.extra

    def _feeds(self, plan: RunPlan, cell: Cell) -> bool:
        return self.number in cell.tables and cell.dataset.casefold() in self.datasets

    def _match_rows(self) -> dict[str, str]:
        """Our row for each published one: the same label, failing that the same but for case."""
        rows = self.view.rows()
        matched: dict[str, str] = {}
        for name in self.published:
            same = [row for row in rows if row.casefold() == name.casefold()]
            if same:
                matched[name] = name if name in same else same[0]
        return matched

    def own_row(self, row: str) -> str | None:
        """Our label of a row of the table, None for one that no run asks for."""
        return row if row in self.extra else self.own_rows.get(row)

    def cell(self, row: str, dataset: str, category: str, metric: Metric) -> TableCell:
        """Our number and the printed one of `category`, or of the mean, named as the paper does."""
        cell = self._average(row, metric) if dataset == AVERAGE else self._own(row, dataset, category, metric)
        cell.row, cell.category = self.own_row(row) or row, category
        position = Position(self.number, row, dataset, category, metric)
        entry = all_printed().get(position)
        if entry is not None:
            cell.published, cell.published_text = entry.value, entry.text
            cell.published_notes += remarks(position)
        return cell

    def _own(self, row: str, dataset: str, category: str, metric: Metric) -> TableCell:
        own, name = self.own_row(row), self.own_names.get(dataset)
        categories = [own_category(dataset, known) for known in printed_categories(dataset)]
        if own is None or name is None:
            return TableCell(row, dataset, category, metric, expected=len(categories) if category == MEAN else 1)
        if category == MEAN:
            return self.view.mean(own, name, categories, metric)
        return self.view.category(own, name, own_category(dataset, category), metric)

    def _average(self, row: str, metric: Metric) -> TableCell:
        """Our average over the data sets; there only where each of their means is whole."""
        means = [self._own(row, dataset, MEAN, metric) for dataset in self.datasets if dataset != AVERAGE]
        cell = TableCell(row, AVERAGE, MEAN, metric, expected=len(means))
        if all(mean.complete for mean in means):
            cell.value = statistics.fmean(mean.value for mean in means if mean.value is not None)
            cell.covered, cell.seeds = len(means), min(mean.seeds for mean in means)
            if all(mean.by_seed.keys() == means[0].by_seed.keys() for mean in means):
                by_seed = {seed: [mean.by_seed[seed] for mean in means] for seed in means[0].by_seed}
                cell.by_seed = {seed: statistics.fmean(values) for seed, values in by_seed.items()}
            cell.keys = tuple(dict.fromkeys(key for mean in means for key in mean.keys))
        return cell

    def build(self) -> Table:
        """The table, marked and with its remarks."""
        columns = list(self._entries(self.form.columns))
        rows = []
        for line in self._entries(self.form.lines):
            rows.append(TableRow(line.labels, tuple(self._at(line, column) for column in columns), line.section))
        self._rank([cell for row in rows for cell in row.cells if cell is not None])
        return Table(
            name=str(self.number),
            title=f"Table {self.number}. {self.form.title}",
            caption=self._caption(),
            labels=self.form.heads,
            columns=tuple(Column(column.labels[0], column.section or self.form.group) for column in columns),
            rows=tuple(rows),
            selection=self.view.selection,
            notes=tuple(self._notes()),
            stacked=self.form.stacked,
            numbered=True,
        )

    def _at(self, line: _Entry, column: _Entry) -> TableCell | None:
        place = {"dataset": self.datasets[0], "category": MEAN, "metric": self.metrics[0], **dict(line.place)}
        place |= dict(column.place)
        split = (place.get("parameter"), place.get("value"))
        row = place.get("row") or next((row for row in self.rows if _taken_apart(row) == split), None)
        if row is None:
            return None
        return self.cell(row, place["dataset"], place["category"], cast("Metric", place["metric"]))

    def _rank(self, cells: list[TableCell]) -> None:
        """Mark what competes: the rows of the table; of a table of several parameters, the values of each."""
        groups: dict[tuple[str, ...], list[TableCell]] = {}
        for cell in cells:
            parameter = _taken_apart(cell.row)[0] if "=" in cell.row else ""
            groups.setdefault((cell.dataset, cell.category, cell.metric, parameter), []).append(cell)
        for group in groups.values():
            rank(group)

    def _entries(self, axes: tuple[Axis, ...]) -> Iterator[_Entry]:
        """The steps along one axis, or along all combinations of two, of which the first gives the sections."""
        for entries in product(*(self._steps(axis) for axis in axes)):
            *outer, inner = entries
            section = outer[0].labels[0] if outer else inner.section
            yield _Entry(inner.labels, tuple(pair for entry in entries for pair in entry.place), section)

    def _steps(self, axis: Axis) -> list[_Entry]:
        if axis == "row":
            return [_Entry(self.form.name(row), (("row", row),), self.form.section(row)) for row in self.rows]
        values: dict[Axis, tuple[str, ...]] = {
            "dataset": self.datasets,
            "category": (*printed_categories(self.datasets[0]), MEAN),
            "metric": self.metrics,
            "parameter": tuple(dict.fromkeys(_taken_apart(row)[0] for row in self.rows)),
            "value": tuple(dict.fromkeys(_taken_apart(row)[1] for row in self.rows)),
        }
        titles = {
            **DATASET_TITLES,
            **_PARAMETERS,
            **{metric: measure.heading for metric, measure in MEASURES.items()},
        }
        return [_Entry((titles.get(value, value),), ((axis, value),)) for value in values[axis]]

    def _caption(self) -> str:
        parts = [f"Ours: {self.view.caption()}."]
        if any(metric in MEASURES and MEASURES[metric].lower_is_better for metric in self.metrics):
            parts.append(BETTER)
        return " ".join([*parts, "Δ = ours − paper.", self.form.remark]).strip()

    def _notes(self) -> list[str]:
        notes = [*repeated_rows(self.number), *self.form.notes]
        for dataset, own in self.own_names.items():
            known = printed_categories(dataset)
            foreign = [name for name in self.view.categories(own) if paper_category(dataset, name) not in known]
            if foreign:
                notes.append(f"Left out, since the paper has no such category of {own}: {', '.join(foreign)}.")
        if self.extra and self.number != 1:
            notes.append(f"Not in the paper, {OURS_ONLY}: {', '.join(self.extra)}.")
        return notes + self.view.remarks() + self._unasked()

    def _unasked(self) -> list[str]:
        """What the table has place for and no run asks for, with the command that does."""
        if not self.view.cells:
            return [f"No run in this store feeds Table {self.number}: {feeding_jobs(self.number)} does."]
        rows = ("FOD",) if self.number in METHOD_TABLES else self.published
        missing: dict[str, list[str]] = {}
        for dataset in self.datasets:
            for row in rows if dataset != AVERAGE else ():
                own, name = self.own_row(row), self.own_names.get(dataset)
                asked = self.view.asked(own, name) if own is not None and name is not None else frozenset()
                lacking = [known for known in printed_categories(dataset) if own_category(dataset, known) not in asked]
                if lacking:
                    few = f" ({shortened(lacking)})" if asked else ""
                    missing.setdefault(f"{DATASET_TITLES[dataset]}{few}", []).append(row)
        if not missing:
            return []
        listed = [
            f"{'every row' if len(lacking) == len(rows) > 1 else shortened(lacking)} on {where}"
            for where, lacking in missing.items()
        ]
        return [f"No run in this store asks for {shortened(listed, '; ')}: {feeding_jobs(self.number)} does."]


def _taken_apart(row: str) -> tuple[str, str]:
    """`lambda1=0.5` as `lambda1` and `0.5`."""
    parameter, _, value = row.partition("=")
    return parameter, value
