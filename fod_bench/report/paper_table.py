"""The paper's tables in its rows and columns, our numbers beside the printed ones."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple, cast

from fod_bench.evaluation.measures import BETTER, MEASURES, Metric
from fod_bench.paper.backbones import backbone_notes, measurable
from fod_bench.paper.discrepancies import DATASET_TITLES, remarks, repeated_rows
from fod_bench.paper.forms import FORMS, OURS_ONLY, PARAMETERS, Axis, feeding_jobs
from fod_bench.paper.published import (
    AVERAGE,
    MEAN,
    Position,
    all_printed,
    citation,
    citation_notes,
    printed_categories,
    printed_datasets,
    printed_metrics,
    printed_rows,
)
from fod_bench.paper.tables import METHOD_TABLES
from fod_bench.records.run import Cell
from fod_bench.report.averages import View
from fod_bench.report.remarks import remarks_on
from fod_bench.report.results import Results, Selection, measured
from fod_bench.report.table import Column, Table, TableCell, TableRow, rank
from fod_bench.report.words import shortened

_BTAD_FOLDERS = {"product01": "01", "product02": "02", "product03": "03"}


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


class _Line(NamedTuple):
    """What a row of the table is."""

    name: str
    """As the paper prints it, or else our name."""
    differing: str
    """What tells it from other rows of that name; empty where there is none."""
    ours: str | None
    """Our label; None where no run asks for the row."""


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
        self.foreign: dict[str, list[str]] = {}
        """Categories that the paper does not have, by data set."""
        asked = results.by_table.get(number, [])
        self.view = View(results, [(plan, cell) for plan, cell in asked if self._feeds(cell)], selection)
        self.own_names = {name.casefold(): name for name in self.view.datasets()}
        self.published = printed_rows(number)
        self._ours = self._match_rows()
        matched = [label for labels in self._ours.values() for label in labels]
        self.extra = tuple(row for row in self.view.rows() if row not in matched)
        self._lines = self._name_lines()
        self.rows = tuple(self._lines)
        """A published row, or one of ours: where several settings share a published row, each has one of its own."""

    def _feeds(self, cell: Cell) -> bool:
        if cell.dataset.casefold() not in self.datasets:
            return False
        if not set(self.metrics) & set(measured(cell)):
            return False
        known = paper_category(cell.dataset, cell.category) in printed_categories(cell.dataset.casefold())
        foreign = self.foreign.setdefault(cell.dataset, [])
        if not known and cell.category not in foreign:
            foreign.append(cell.category)
        return known

    def _match_rows(self) -> dict[str, list[str]]:
        """Our labels for each published row: those of the same name, failing that of the same but for case."""
        rows = list(self.view.by_label.values())
        matched: dict[str, list[str]] = {}
        for name in self.published:
            same = list(dict.fromkeys(row.name for row in rows if row.name.casefold() == name.casefold()))
            chosen = name if name in same else same[0] if same else None
            matched[name] = [row.label for row in rows if row.name == chosen]
        return matched

    def _name_lines(self) -> dict[str, _Line]:
        """The rows of the table: the published ones, then what the paper does not have."""
        lines: dict[str, _Line] = {}
        for name, labels in self._ours.items():
            if len(labels) < 2:
                lines[name] = _Line(name, "", labels[0] if labels else None)
            else:
                lines |= {label: _Line(name, self.view.by_label[label].differing, label) for label in labels}
        for label in self.extra:
            lines[label] = _Line(self.view.by_label[label].name, self.view.by_label[label].differing, label)
        return lines

    def own_row(self, row: str) -> str | None:
        """Our label of a row of the table, None for one that no run asks for."""
        return self._lines[row].ours

    def name_of(self, row: str) -> tuple[str, str]:
        """A row's name, as the paper prints it where it does, and what tells it from other rows of that name."""
        return self._lines[row].name, self._lines[row].differing

    def labels(self, row: str) -> tuple[str, ...]:
        """What a row is called, one text per label column: a method of the paper with its number in the list of references."""
        name, differing = self.name_of(row)
        first, *others = self.form.name(name)
        cited = citation(name) if name in self.published else ""
        return (" ".join(filter(None, (first, cited, differing))), *others)

    def cell(self, row: str, dataset: str, category: str, metric: Metric) -> TableCell:
        """Our number and the printed one of `category`, or of the mean, named as the paper does."""
        cell = self._average(row, metric) if dataset == AVERAGE else self._own(row, dataset, category, metric)
        cell.row, cell.category = self.own_row(row) or row, category
        position = Position(self.number, self.name_of(row)[0], dataset, category, metric)
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
        row = place.get("row") or next((row for row in self.rows if self._taken_apart(row) == split), None)
        if row is None:
            return None
        return self.cell(row, place["dataset"], place["category"], cast("Metric", place["metric"]))

    def _rank(self, cells: list[TableCell]) -> None:
        """Mark what competes: the rows of the table; of a table of several parameters, the values of each."""
        groups: dict[tuple[str, ...], list[TableCell]] = {}
        for cell in cells:
            row = self.view.by_label[cell.row].name if cell.row in self.view.by_label else cell.row
            parameter = row.partition("=")[0] if "=" in row else ""
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
            return [
                _Entry(self.labels(row), (("row", row),), self.form.section(self.name_of(row)[0])) for row in self.rows
            ]
        values: dict[Axis, tuple[str, ...]] = {
            "dataset": self.datasets,
            "category": (*printed_categories(self.datasets[0]), MEAN),
            "metric": self.metrics,
            "parameter": tuple(dict.fromkeys(self._taken_apart(row)[0] for row in self.rows)),
            "value": tuple(dict.fromkeys(self._taken_apart(row)[1] for row in self.rows)),
        }
        titles = {
            **DATASET_TITLES,
            **PARAMETERS,
            **{metric: measure.heading for metric, measure in MEASURES.items()},
        }
        return [_Entry((titles.get(value, value),), ((axis, value),)) for value in values[axis]]

    def _taken_apart(self, row: str) -> tuple[str, str]:
        """`heads=8` as `heads` and `8`."""
        name, differing = self.name_of(row)
        parameter, _, value = name.partition("=")
        return parameter, f"{value} {differing}".strip()

    def _caption(self) -> str:
        parts = [f"Ours: {self.view.caption()}."]
        if any(metric in MEASURES and MEASURES[metric].lower_is_better for metric in self.metrics):
            parts.append(BETTER)
        return " ".join([*parts, "Δ = ours − paper.", self.form.remark]).strip()

    def _notes(self) -> list[str]:
        notes = [*repeated_rows(self.number), *self.form.notes]
        for dataset, foreign in self.foreign.items():
            if foreign:
                notes.append(f"Left out, since the paper has no such category of {dataset}: {', '.join(foreign)}.")
        if self.extra and self.number != 1:
            notes.append(f"Not in the paper, {OURS_ONLY}: {', '.join(self.extra)}.")
        notes += remarks_on(self.view) + self._unasked()
        return [*notes, *citation_notes(self.published), *self._of_methods()] if self.number in METHOD_TABLES else notes

    def _of_methods(self) -> list[str]:
        """What stands for the paper's "same backbone" in each row, and which rows have no method here."""
        ran = {name: "; ".join(filter(None, map(self.view.run_with, labels))) for name, labels in self._ours.items()}
        notes = backbone_notes(self.number, self.published, {name: text for name, text in ran.items() if text})
        without = [name for name, labels in self._ours.items() if not labels and name not in measurable(self.published)]
        if without:
            notes.append(f"Not measured, since fod-bench has no such method: {shortened(without)}.")
        return notes

    def _unasked(self) -> list[str]:
        """What the table has place for and no run asks for, with the command that does."""
        if not self.view.cells:
            return [f"No run in this store feeds Table {self.number}: {feeding_jobs(self.number)} does."]
        rows = measurable(self.published) if self.number in METHOD_TABLES else self.published
        missing: dict[str, list[str]] = {}
        for dataset in self.datasets:
            for row in rows if dataset != AVERAGE else ():
                name = self.own_names.get(dataset, "")
                asked = frozenset(known for own in self._ours.get(row, []) for known in self.view.asked(own, name))
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
