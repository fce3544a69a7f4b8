"""Which cells stand behind one table, and their means over seeds and categories."""

from __future__ import annotations

import statistics
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple

from fod_bench.evaluation.measures import MEASURES, Metric
from fod_bench.paper.published import MEAN
from fod_bench.records.record import COST_SCORE
from fod_bench.records.run import Cell, RunPlan
from fod_bench.report.results import Observation, Outcome, Results, Selection
from fod_bench.report.rows import rows_of
from fod_bench.report.table import TableCell
from fod_bench.report.words import SHOWN, shortened
from fod_bench.schema.hidden import hidden

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
    """The cells behind a table, each place once; cells of two settings never make one row (`rows.py`)."""

    def __init__(self, results: Results, cells: Iterable[tuple[RunPlan, Cell]], selection: Selection) -> None:
        """`cells`: those of the oldest run first."""
        self.results = results
        self.selection = selection
        rows = rows_of(results, cells)
        self.by_label = {row.label: row for row in rows}
        self.cells: dict[Place, tuple[RunPlan, Cell]] = {
            Place(row.label, *where): cell for row in rows for where, cell in row.cells.items()
        }
        self._by_category: dict[tuple[str, str, str], list[Place]] = {}
        for place in self.cells:
            self._by_category.setdefault(place[:3], []).append(place)
        self._observed: dict[tuple[tuple[str, str, str], Metric], list[Observation]] = {}

    def rows(self) -> tuple[str, ...]:
        """Row labels in the order of the jobs."""
        return tuple(dict.fromkeys(row for row, _, _ in self._by_category))

    def datasets(self) -> tuple[str, ...]:
        """Names of the data sets in the order of the jobs."""
        return tuple(dict.fromkeys(dataset for _, dataset, _ in self._by_category))

    def categories(self, dataset: str) -> tuple[str, ...]:
        """Categories asked for, in the order of the jobs."""
        return tuple(dict.fromkeys(category for _, name, category in self._by_category if name == dataset))

    def asked(self, row: str, dataset: str) -> frozenset[str]:
        """Categories asked for of one row."""
        return frozenset(category for label, name, category in self._by_category if (label, name) == (row, dataset))

    def run_with(self, row: str) -> str:
        """What a row with results was run with, in words; empty where that is not known."""
        given = self.by_label[row].given
        if given is None or not self.outcomes([row]):
            return ""
        if not given:
            return "all by default"
        return hidden(", ".join(f"{key}={value}" for key, value in given.items()) + ", all else by default")

    def outcomes(self, rows: Container[str] | None = None) -> list[Outcome]:
        """What is behind the numbers, of some rows or of all."""
        return [outcome for found in self._of_methods(rows).values() for outcome in found]

    def _of_methods(self, rows: Container[str] | None) -> dict[str, list[Outcome]]:
        """The same by method."""
        by_method: dict[str, list[Outcome]] = {}
        for place, (_, cell) in self.cells.items():
            outcome = self.results.outcome_of(cell) if rows is None or place.row in rows else None
            if outcome is not None:
                by_method.setdefault(cell.method, []).append(outcome)
        return by_method

    def category(self, row: str, dataset: str, category: str, metric: Metric) -> TableCell:
        """Our number of one category: the mean over seeds."""
        observations = self.observe(row, dataset, category, metric)
        values = {seen.seed: seen.value for seen in observations if seen.value is not None}
        cell = TableCell(row, dataset, category, metric, keys=_keys(observations))
        if values:
            cell.value, cell.by_seed = statistics.fmean(values.values()), values
            cell.seeds, cell.covered = len(values), 1
            self._note_seeds(cell, [(category, values)])
            cell.notes += [*self._left_out(observations, metric), *self._computed(observations, metric)]
        elif observations:
            cell.undefined = observations[0].undefined
            cell.notes.append(f"{MEASURES[metric].title} is not available: {cell.undefined}")
        elif failures := self.failures(row, dataset, category, metric):
            cell.failed, cell.undefined, cell.keys = True, failures[0].undefined, _keys(failures)
        return cell

    def _left_out(self, observations: Sequence[Observation], metric: Metric) -> list[str]:
        """What of the test images a pixel metric does not cover."""
        if not metric.startswith("pixel_"):
            return []
        outcome = self.results.outcomes[observations[0].key]
        unmasked, vanished = outcome.unmasked, outcome.vanished
        notes = []
        if unmasked:
            notes.append(f"leaves out {unmasked} defective test image{'s' * (unmasked > 1)} without a mask")
        if vanished:
            notes.append(
                f"takes {vanished} defective test image{'s' * (vanished > 1)} for normal: no pixel of the mask is left at this "
                "image size"
            )
        return notes

    def _computed(self, observations: Sequence[Observation], metric: Metric) -> list[str]:
        """That a metric is not of the record, where that is so, and what its best epoch then is."""
        if not any(metric in self.results.outcomes[seen.key].computed for seen in observations):
            return []
        selecting = "image AUROC" if metric.startswith("image_") else "pixel AUROC"
        best = f"; its best epoch is the one that {selecting} selected" if self.selection == "best" else ""
        return [
            f"{MEASURES[metric].title} is computed from kept scores, as the record was made before it was measured{best}"
        ]

    def mean(self, row: str, dataset: str, categories: Sequence[str], metric: Metric) -> TableCell:
        """Our number of a data set: the mean over `categories` of the mean over seeds.

        A seed has a value, and the mean a deviation, only where every category has the same seeds.
        """
        observations = {category: self.observe(row, dataset, category, metric) for category in categories}
        found = [
            (category, {seen.seed: seen.value for seen in group if seen.value is not None})
            for category, group in observations.items()
        ]
        found = [(category, by_seed) for category, by_seed in found if by_seed]
        cell = TableCell(row, dataset, MEAN, metric, expected=len(categories))
        if found:
            values = [by_seed for _, by_seed in found]
            cell.value = statistics.fmean(statistics.fmean(by_seed.values()) for by_seed in values)
            cell.covered = len(values)
            cell.keys = _keys(seen for group in observations.values() for seen in group if seen.value is not None)
            cell.seeds = max(map(len, values))
            if all(by_seed.keys() == values[0].keys() for by_seed in values):
                cell.by_seed = {seed: statistics.fmean(v[seed] for v in values) for seed in values[0]}
            self._note_seeds(cell, found)
            cell.notes += _undefined_elsewhere(observations)
            cell.notes += self._computed([seen for group in observations.values() for seen in group], metric)
        elif any(observations.values()):
            reasons = {seen.undefined for group in observations.values() for seen in group}
            shared = {(reason or "").split(":")[0] for reason in reasons}
            cell.undefined = f"{shared.pop()}, in every category" if len(shared) == 1 else "no category defines it"
            cell.keys = _keys(seen for group in observations.values() for seen in group)
            cell.notes.append(f"{MEASURES[metric].title} is not available: {cell.undefined}")
        else:
            failures = [self.failures(row, dataset, category, metric) for category in categories]
            if categories and all(failures):
                cell.failed, cell.undefined = True, "failed in every category"
                cell.keys = _keys(failure for group in failures for failure in group)
        return cell

    def observe(self, row: str, dataset: str, category: str, metric: Metric) -> list[Observation]:
        """What the seeds of one place have."""
        where = (row, dataset, category)
        if (where, metric) not in self._observed:
            places = self._by_category.get(where, [])
            seen = (self.results.observe(*self.cells[place], self.selection, metric) for place in places)
            self._observed[where, metric] = [observation for observation in seen if observation is not None]
        return self._observed[where, metric]

    def failures(self, row: str, dataset: str, category: str, metric: Metric) -> list[Observation]:
        """Of the seeds of one place those whose training failed, with the reason in place of a number."""
        if not self.results.failed:
            return []
        places = self._by_category.get((row, dataset, category), [])
        seen = (self.results.observe_failure(*self.cells[place], self.selection, metric) for place in places)
        return [failure for failure in seen if failure is not None]

    def _note_seeds(self, cell: TableCell, found: Sequence[tuple[str, dict[int, float]]]) -> None:
        """Say of how many seeds a number is the mean where it is fewer than were asked for."""
        asked = max(len(self._by_category[cell.row, cell.dataset, category]) for category, _ in found)
        counts = sorted({len(by_seed) for _, by_seed in found})
        if counts[0] < asked:
            cell.notes.append(f"over {_span(counts)} of {asked} seeds")

    def caption(self, rows: Container[str] | None = None) -> str:
        """Protocol, seeds and setting of the numbers of some rows, or of all, in a few words."""
        by_method = self._of_methods(rows)
        outcomes = [outcome for found in by_method.values() for outcome in found]
        if not outcomes:
            return "no result yet"
        seeds = sorted({outcome.seed for outcome in outcomes})
        listed = ", ".join(map(str, seeds[:SHOWN])) + (", …" if len(seeds) > SHOWN else "")
        costs = all(cell.score == COST_SCORE for _, cell in self.cells.values())
        parts = ["mean over categories"] if costs else [PROTOCOL[self.selection]]
        if len(seeds) == 1:
            parts.append(f"1 seed ({listed})")
        else:
            parts.append(f"{len(seeds)} seeds ({listed}), mean ± sample standard deviation")
        if costs:
            machines = sorted({f"{outcome.device}, threads: {outcome.threads}" for outcome in outcomes})
            batches = sorted({outcome.batch_size for outcome in outcomes if outcome.batch_size is not None})
            parts.append("measured on " + " and ".join(machines))
            if batches:
                parts.append("training with batches of " + " and ".join(map(str, batches)))
        else:
            epochs = {method: _span(sorted({one.epochs for one in found})) for method, found in by_method.items()}
            first, *others = dict.fromkeys(epochs.values())
            parts.append(f"epochs: {_each(epochs)}" if others else f"{first} epoch{'s' * (first != '1')}")
        sizes = sorted({outcome.image_size for outcome in outcomes if outcome.image_size is not None})
        if sizes:
            parts.append(" and ".join(f"{size}×{size}" for size in sizes) + " pixels")
        backbones = {
            method: " and ".join(sorted({one.backbone for one in found if one.backbone is not None})) or "none"
            for method, found in by_method.items()
        }
        first, *others = dict.fromkeys(backbones.values())
        parts += [f"backbone: {_each(backbones)}"] if others else [first] * (first != "none")
        return "; ".join(parts)


def _each(by_method: Mapping[str, str]) -> str:
    """`100 (fod), 1 (patchcore, padim)`."""
    methods: dict[str, list[str]] = {}
    for method, text in by_method.items():
        methods.setdefault(text, []).append(method)
    return ", ".join(f"{text} ({', '.join(names)})" for text, names in methods.items())


def _keys(observations: Iterable[Observation]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(observation.key for observation in observations))


def _undefined_elsewhere(observations: dict[str, list[Observation]]) -> list[str]:
    """Which categories a mean leaves out though they have results, with the reason."""
    reasons: dict[str, list[str]] = {}
    for category, group in observations.items():
        if group and all(seen.value is None for seen in group):
            reasons.setdefault((group[0].undefined or "").split(":")[0], []).append(category)
    return [f"without {shortened(names)}, where it is undefined: {reason}" for reason, names in reasons.items()]


def _span(values: list[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"
