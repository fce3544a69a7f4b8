"""Which cells stand behind one table, and their means over seeds and categories."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from fod_bench.record import Cell, CostName, MetricName, Record, RunPlan
from fod_bench.report.published import MEAN
from fod_bench.report.results import METRIC_TITLES, Observation, Results, Selection, describe_damaged
from fod_bench.report.table import TableCell

SHOWN = 6
"""Names spelled out in a list of missing cells before the rest is only counted."""

PROTOCOL: dict[Selection, str] = {
    "best": "epoch selected on test data, best for each metric by itself (the paper's protocol)",
    "last": "last epoch, no selection",
}


class Place(NamedTuple):
    """What one cell answers, whichever run it belongs to."""

    row: str
    dataset: str
    category: str
    seed: int


class View:
    """The cells of some runs, each place once: from the newest plan that has a record for it.

    A place without any record stands with the newest plan that asks for it.
    """

    def __init__(
        self,
        results: Results,
        plans: Sequence[RunPlan],
        selection: Selection,
        keep: Callable[[Cell], bool] = lambda cell: True,
    ) -> None:
        """Take the cells of `plans`, oldest first, that `keep` accepts."""
        self.results = results
        self.selection = selection
        self.cells: dict[Place, tuple[RunPlan, Cell]] = {}
        for plan in plans:
            for cell in filter(keep, plan.cells):
                place = Place(cell.row, cell.dataset, cell.category, cell.seed)
                known = self.cells.get(place)
                if known is None or results.record_of(cell) or not results.record_of(known[1]):
                    self.cells[place] = (plan, cell)
        self._by_category: dict[tuple[str, str, str], list[Place]] = {}
        for place in self.cells:
            self._by_category.setdefault(place[:3], []).append(place)

    def rows(self) -> tuple[str, ...]:
        """Row labels in the order of the jobs."""
        return tuple(dict.fromkeys(place.row for place in self.cells))

    def datasets(self) -> tuple[str, ...]:
        """Names of the data sets in the order of the jobs."""
        return tuple(dict.fromkeys(place.dataset for place in self.cells))

    def categories(self, dataset: str) -> tuple[str, ...]:
        """Categories asked for, in the order of the jobs."""
        return tuple(dict.fromkeys(place.category for place in self.cells if place.dataset == dataset))

    def records(self) -> list[Record]:
        """The records behind the numbers."""
        found = (self.results.record_of(cell) for _, cell in self.cells.values())
        return [record for record in found if record is not None]

    def category(self, row: str, dataset: str, category: str, metric: MetricName | CostName) -> TableCell:
        """Our number of one category: the mean over seeds."""
        observations = self._observe(row, dataset, category, metric)
        values = {seen.seed: seen.value for seen in observations if seen.value is not None}
        cell = TableCell(row, dataset, category, metric, keys=_keys(observations))
        if values:
            cell.value = statistics.fmean(values.values())
            cell.seeds, cell.covered = len(values), 1
            cell.deviation = statistics.stdev(values.values()) if len(values) > 1 else None
        elif observations:
            cell.undefined = observations[0].undefined
            cell.notes.append(f"{METRIC_TITLES[metric]} is undefined: {cell.undefined}")
        return cell

    def mean(self, row: str, dataset: str, categories: Sequence[str], metric: MetricName | CostName) -> TableCell:
        """Our number of a data set: the mean over `categories` of the mean over seeds.

        The deviation is that of the seeds' own means, given only where every category has the same seeds.
        """
        observations = [self._observe(row, dataset, category, metric) for category in categories]
        values = [{seen.seed: seen.value for seen in group if seen.value is not None} for group in observations]
        values = [by_seed for by_seed in values if by_seed]
        cell = TableCell(row, dataset, MEAN, metric, expected=len(categories))
        if values:
            cell.value = statistics.fmean(statistics.fmean(by_seed.values()) for by_seed in values)
            cell.covered = len(values)
            cell.keys = _keys(seen for group in observations for seen in group if seen.value is not None)
            seeds = set(values[0])
            cell.seeds = max(len(by_seed) for by_seed in values)
            if len(seeds) > 1 and all(set(by_seed) == seeds for by_seed in values):
                cell.deviation = statistics.stdev(statistics.fmean(v[seed] for v in values) for seed in seeds)
        elif any(observations):
            cell.undefined = "no category defines it"
            cell.keys = _keys(seen for group in observations for seen in group)
            cell.notes.append(f"{METRIC_TITLES[metric]} is undefined: {cell.undefined}")
        return cell

    def caption(self) -> str:
        """Protocol, seeds and setting in a few words."""
        records = self.records()
        if not records:
            return "no result yet"
        seeds = sorted({record.seed for record in records})
        listed = ", ".join(map(str, seeds[:SHOWN])) + (", …" if len(seeds) > SHOWN else "")
        parts = [PROTOCOL[self.selection]]
        if len(seeds) == 1:
            parts.append(f"1 seed ({listed})")
        else:
            parts.append(f"{len(seeds)} seeds ({listed}), mean ± sample standard deviation")
        epochs = sorted({record.epochs[-1].epoch for record in records})
        parts.append(f"{_span(epochs)} epoch{'' if epochs == [1] else 's'}")
        sizes = sorted({size for record in records if isinstance(size := record.features.get("image_size"), int)})
        if sizes:
            parts.append(" and ".join(f"{size}×{size}" for size in sizes) + " pixels")
        backbones = sorted({str(record.features["backbone"]) for record in records if "backbone" in record.features})
        if backbones:
            parts.append(" and ".join(backbones))
        return "; ".join(parts)

    def remarks(self) -> list[str]:
        """What is missing or damaged among the cells of this view."""
        missing = [place for place, (_, cell) in self.cells.items() if self.results.record_of(cell) is None]
        remarks = []
        if missing:
            have = len(self.cells) - len(missing)
            remarks.append(f"{have} of {len(self.cells)} cells have a result; missing: {self._name(missing)}.")
        keys = {cell.key for _, cell in self.cells.values()}
        concerned = {
            name: reason
            for name, reason in self.results.damaged.items()
            if name.startswith("runs/") or name.split("/")[1] in keys
        }
        if concerned:
            remarks.append(sentence(describe_damaged(concerned)))
        return remarks

    def _observe(self, row: str, dataset: str, category: str, metric: MetricName | CostName) -> list[Observation]:
        places = self._by_category.get((row, dataset, category), [])
        seen = (self.results.observe(*self.cells[place], self.selection, metric) for place in places)
        return [observation for observation in seen if observation is not None]

    def _name(self, places: list[Place]) -> str:
        several_seeds = len({place.seed for place in self.cells}) > 1
        groups: dict[tuple[str, str], list[str]] = {}
        for place in places:
            name = f"{place.category} (seed {place.seed})" if several_seeds else place.category
            groups.setdefault((place.row, place.dataset), []).append(name)
        texts = [f"{row} on {dataset}: {_shorten(names)}" for (row, dataset), names in groups.items()]
        return _shorten(texts, "; ")


def _keys(observations: Iterable[Observation]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(observation.key for observation in observations))


def _shorten(names: list[str], separator: str = ", ") -> str:
    rest = len(names) - SHOWN
    return separator.join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _span(values: list[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def sentence(text: str) -> str:
    """`text` with a capital and a full stop."""
    return text[0].upper() + text[1:] + "."
