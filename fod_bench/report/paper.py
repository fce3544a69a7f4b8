"""Tables 1, 2, 3, 6, 7 and 8 of the paper in its rows and columns, our numbers beside the printed ones."""

from __future__ import annotations

from dataclasses import dataclass

from fod_bench.record import MetricName
from fod_bench.report.published import (
    MEAN,
    mean_that_does_not_add_up,
    printed,
    printed_categories,
    printed_rows,
    table1_methods,
)
from fod_bench.report.results import METRIC_TITLES, Results, Selection
from fod_bench.report.table import Column, Table, TableCell, TableRow, rank
from fod_bench.report.view import View

OURS_ONLY = "ours only"
"""Where the paper has no such method."""

AUROCS: tuple[MetricName, ...] = ("image_auroc", "pixel_auroc")
TITLES = {"mvtec": "MVTec AD", "btad": "BTAD", "mvtec3d": "MVTec 3D-AD (RGB)"}
_BTAD_FOLDERS = {"product01": "01", "product02": "02", "product03": "03"}


@dataclass(frozen=True)
class _Form:
    """What one table of the paper shows."""

    title: str
    datasets: tuple[str, ...]
    metrics: tuple[MetricName, ...]


_FORMS = {
    1: _Form("AUROC on MVTec AD, mean over its categories", ("mvtec",), AUROCS),
    2: _Form("Image AUROC on MVTec AD", ("mvtec",), ("image_auroc",)),
    3: _Form("AUROC on BTAD and MVTec 3D-AD (RGB), mean over their categories", ("btad", "mvtec3d"), AUROCS),
    6: _Form("Pixel AUROC on MVTec AD", ("mvtec",), ("pixel_auroc",)),
    7: _Form("AUROC on BTAD", ("btad",), AUROCS),
    8: _Form("AUROC on MVTec 3D-AD (RGB)", ("mvtec3d",), AUROCS),
}
PAPER_TABLES = tuple(_FORMS)


def paper_category(dataset: str, category: str) -> str:
    """The paper's name of one of our categories: BTAD's folder `01` is its `product01`."""
    names = {folder: name for name, folder in _BTAD_FOLDERS.items()} if dataset.casefold() == "btad" else {}
    return names.get(category, category)


def paper_table(results: Results, number: int, selection: Selection = "best") -> Table:
    """Table `number` of the paper, filled by the runs whose plan names it; without any, the printed numbers alone."""
    return _PaperTable(results, number, selection).build()


class _PaperTable:
    """Gathers the cells of one table, then lays them out as the paper does."""

    def __init__(self, results: Results, number: int, selection: Selection) -> None:
        self.number = number
        self.form = _FORMS[number]
        plans = [plan for plan in results.plans if number in plan.tables]
        self.view = View(results, plans, selection, lambda cell: cell.dataset.casefold() in self.form.datasets)
        self.own_names = {name.casefold(): name for name in self.view.datasets()}
        self.published = printed_rows(number)
        self.own_rows = self._match_rows()
        self.extra = tuple(row for row in self.view.rows() if row not in self.own_rows.values())
        self.methods = self.published + self.extra

    def _match_rows(self) -> dict[str, str]:
        """Our row for each published one: the same label, failing that the same but for case."""
        rows = self.view.rows()
        matched: dict[str, str] = {}
        for name in self.published:
            same = [row for row in rows if row.casefold() == name.casefold()]
            if same:
                matched[name] = name if name in same else same[0]
        return matched

    def cell(self, method: str, dataset: str, category: str, metric: MetricName) -> TableCell:
        """Our number and the printed one of `category`, or of the mean, named as the paper does."""
        categories = printed_categories(self.number, dataset)
        row = method if method in self.extra else self.own_rows.get(method)
        cell = TableCell(method, dataset, category, metric, expected=len(categories) if category == MEAN else 1)
        if row is not None and dataset in self.own_names:
            own = self.own_names[dataset]
            if category == MEAN:
                cell = self.view.mean(row, own, [_own_category(dataset, name) for name in categories], metric)
            else:
                cell = self.view.category(row, own, _own_category(dataset, category), metric)
            cell.row, cell.category = row, category
        entry = None if method in self.extra else printed(self.number, method, dataset, category, metric)
        if entry is not None:
            cell.published, cell.published_text = entry.value, entry.text
        if category == MEAN:
            remark = None if method in self.extra else mean_that_does_not_add_up(self.number, method, dataset, metric)
            if remark:
                cell.published_notes.append(f"{method}, {METRIC_TITLES[metric]} on {TITLES[dataset]}: {remark}")
        return cell

    def build(self) -> Table:
        """The table, marked and with its remarks."""
        labels, columns, rows = {1: self._table_1, 3: self._table_3, 8: self._methods_as_rows}.get(
            self.number, self._methods_as_columns
        )()
        return Table(
            name=str(self.number),
            title=f"Table {self.number}. {self.form.title}",
            caption=f"Ours: {self.view.caption()}. Δ = ours − paper.",
            labels=labels,
            columns=columns,
            rows=rows,
            selection=self.view.selection,
            notes=tuple(self._notes()),
            stacked=self.number == 8,
            numbered=True,
        )

    def _notes(self) -> list[str]:
        notes = []
        if not self.view.cells:
            notes.append(
                f"No run in this store feeds Table {self.number}: a job feeds it with `tables: [{self.number}]` and a "
                f"data set named {' or '.join(self.form.datasets)}."
            )
        for dataset, own in self.own_names.items():
            known = printed_categories(self.number, dataset)
            foreign = [name for name in self.view.categories(own) if paper_category(dataset, name) not in known]
            if foreign:
                notes.append(f"Left out, since the paper has no such category of {own}: {', '.join(foreign)}.")
        if self.extra and self.number != 1:
            notes.append(f"Not in the paper, {OURS_ONLY}: {', '.join(self.extra)}.")
        return notes + self.view.remarks()

    def _headers(self) -> tuple[Column, ...]:
        return tuple(Column(method) for method in self.methods)

    def _compared(self, dataset: str, category: str, metric: MetricName) -> tuple[TableCell, ...]:
        """One line of methods, marked against each other."""
        cells = tuple(self.cell(method, dataset, category, metric) for method in self.methods)
        rank(cells)
        return cells

    def _table_1(self) -> _Layout:
        columns = [self._compared("mvtec", MEAN, metric) for metric in AUROCS]
        listed = [(method.group, method.method, method.venue or "-") for method in table1_methods()]
        listed += [(OURS_ONLY, row, "") for row in self.extra]
        by_method = dict(zip(self.methods, zip(*columns, strict=True), strict=True))
        rows = tuple(TableRow((method, venue), by_method[method], group) for group, method, venue in listed)
        return ("Method", "Venue"), tuple(Column(METRIC_TITLES[metric]) for metric in AUROCS), rows

    def _table_3(self) -> _Layout:
        rows = tuple(
            TableRow((METRIC_TITLES[metric],), self._compared(dataset, MEAN, metric), TITLES[dataset])
            for dataset in self.form.datasets
            for metric in AUROCS
        )
        return ("Metric",), self._headers(), rows

    def _methods_as_columns(self) -> _Layout:
        (dataset,) = self.form.datasets
        several = len(self.form.metrics) > 1
        rows = tuple(
            TableRow((category,), self._compared(dataset, category, metric), METRIC_TITLES[metric] if several else "")
            for metric in self.form.metrics
            for category in (*printed_categories(self.number, dataset), MEAN)
        )
        return ("Category",), self._headers(), rows

    def _methods_as_rows(self) -> _Layout:
        (dataset,) = self.form.datasets
        categories = (*printed_categories(self.number, dataset), MEAN)
        rows: list[TableRow] = []
        for metric in self.form.metrics:
            columns = [self._compared(dataset, category, metric) for category in categories]
            lines = zip(self.methods, zip(*columns, strict=True), strict=True)
            rows += [TableRow((method,), cells, METRIC_TITLES[metric]) for method, cells in lines]
        return ("Method",), tuple(Column(category) for category in categories), tuple(rows)


_Layout = tuple[tuple[str, ...], tuple[Column, ...], tuple[TableRow, ...]]


def _own_category(dataset: str, category: str) -> str:
    return _BTAD_FOLDERS.get(category, category) if dataset == "btad" else category
