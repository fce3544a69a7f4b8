"""From a cell that is asked for to its training, the sets it works on, and its key.

Keys are made here, and nowhere else, from the content of what they stand for: images, weights, settings. A path, a
machine or the shape of a cluster is never part of one.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import replace
from typing import Any

from fod_bench.datasets import Category, Resize, expected_counts
from fod_bench.errors import DatasetError, WeightsError
from fod_bench.features.offered import map_distinction
from fod_bench.features.request import FeatureRequest, ImageRequest, SetRequest, Wanted
from fod_bench.features.weights import Weights, resolve_weights
from fod_bench.features.weights_file import check_weights
from fod_bench.job import CellSpec, Limit
from fod_bench.methods.settings import FeatureNeed, Needs, NetworkNeed
from fod_bench.plan.training import TrialJob
from fod_bench.records.record import Counts, train_key
from fod_bench.records.run import Cell


class Planner:
    """Opens each category, finds each backbone's weights and hashes each training once."""

    def __init__(self, download: bool, problems: list[str]) -> None:
        self.download = download
        self.problems = problems
        self.trials: dict[str, TrialJob] = {}
        self.unusable: dict[tuple[str, str], str] = {}
        self.data: dict[tuple[str, str], list[str]] = {}
        self._rows: set[tuple[str, str]] = set()
        self._counted: dict[Hashable, Counts | None] = {}
        self._categories: dict[Hashable, tuple[Category, str] | None] = {}
        self._weights: dict[tuple[str, str, int], Weights | None] = {}
        self._fitting: dict[tuple[Weights, tuple[int, ...], int], Weights | None] = {}
        self._sets: dict[tuple[Any, ...], Wanted | None] = {}

    def cell(self, spec: CellSpec) -> tuple[Cell, str]:
        """The cell of a number asked for, and the key its training has, known or not, in `trials`, where it gains a row."""
        layout = spec.part.datasets[spec.dataset].layout
        wanted = self._wanted(spec)
        source = wanted.key if wanted else ["missing", *_supposed(spec)]
        key = train_key(source, spec.seed, spec.settings.training(), spec.settings.version)
        trial = self.trials.get(key)
        if trial is None:
            place = _place(spec)
            if place not in self._counted:
                self._counted[place] = self._counts(spec)
            counts = self._counted[place]
            trial = TrialJob(key, spec.dataset, spec.category, layout, spec.seed, spec.settings, counts, wanted)
            self.trials[key] = trial
        if (key, spec.row) not in self._rows:
            self._rows.add((key, spec.row))
            trial.rows.append(spec.row)
        trial.cells.append(f"{spec.row}/{spec.dataset}/{spec.category}")
        trial.parts.append(spec.part.name)
        cell = Cell(
            row=spec.row,
            method=spec.settings.method,
            dataset=spec.dataset,
            layout=layout,
            category=spec.category,
            seed=spec.seed,
            score=spec.settings.score,
            key=key if wanted else None,
            part=spec.part.name,
            tables=spec.part.tables_of(spec.row),
        )
        return cell, key

    def _wanted(self, spec: CellSpec) -> Wanted | None:
        """What the training works on; None when data or weights are missing."""
        needs = spec.settings.needs()
        resize = spec.settings.resize_of(spec.part.datasets[spec.dataset].layout)
        identity = (_place(spec), needs.features, needs.images, needs.network, resize)
        if identity not in self._sets:
            self._sets[identity] = self._resolved(spec, needs, resize)
        return self._sets[identity]

    def _resolved(self, spec: CellSpec, needs: Needs, resize: Resize) -> Wanted | None:
        opened, network = self._open(spec), None
        levels: tuple[int, ...] = ()
        sets: list[SetRequest] = []
        complete = opened is not None
        for need in needs.features:
            weights = self._usable_weights(need, resize)
            if opened is None or weights is None:
                complete = False
                continue
            maps = map_distinction(need.backbone, resize.size, need.levels)
            sets.append(
                FeatureRequest(
                    *(*opened, weights, resize.size, need.levels),
                    precision=need.precision,
                    shorter_side=resize.shorter_side,
                    maps=maps,
                    pooled=need.pooled,
                )
            )
        if needs.images and opened is not None:
            sets.append(ImageRequest(*opened, resize.size, resize.shorter_side))
        if needs.network is not None:
            network, levels = self._usable_weights(needs.network, resize), needs.network.levels
            complete = complete and network is not None
        return Wanted(tuple(sets), network, levels) if complete else None

    def _usable_weights(self, need: FeatureNeed | NetworkNeed, resize: Resize) -> Weights | None:
        found = self._find_weights(need.backbone, need.weights, need.weights_seed)
        return self._fitting_weights(found, need.levels, resize.size)

    def _open(self, spec: CellSpec) -> tuple[Category, str] | None:
        """The category and its fingerprint, or None and an entry in `unusable`."""
        place = _place(spec)
        if place not in self._categories:
            data = spec.part.dataset(spec.dataset)
            try:
                opened = data.open_category(spec.category)
                self._categories[place] = (opened, opened.fingerprint())
                told = [opened.found(), *opened.notes()]
                self.data.setdefault((spec.dataset, spec.category), []).extend(line for line in told if line)
            except DatasetError as error:
                self._categories[place] = None
                self.unusable[spec.dataset, spec.category] = str(error)
        return self._categories[place]

    def _find_weights(self, backbone: str, weights: str, seed: int) -> Weights | None:
        if (backbone, weights, seed) not in self._weights:
            try:
                found = resolve_weights(backbone, weights, seed, download=self.download)
            except WeightsError as error:
                if self.download:
                    raise
                self.problems.append(str(error))
                found = None
            if found is not None and found.path is not None:
                found = replace(found, path=found.path.absolute())
            self._weights[backbone, weights, seed] = found
        return self._weights[backbone, weights, seed]

    def _fitting_weights(self, weights: Weights | None, levels: tuple[int, ...], image_size: int) -> Weights | None:
        """The weights, if they can be used for these levels of images of this size."""
        if weights is None:
            return None
        if (weights, levels, image_size) not in self._fitting:
            self._fitting[weights, levels, image_size] = weights
            try:
                check_weights(weights, levels, image_size)
            except WeightsError as error:
                if self.download:
                    raise
                if str(error) not in self.problems:  # as of the same file for other levels
                    self.problems.append(str(error))
                self._fitting[weights, levels, image_size] = None
        return self._fitting[weights, levels, image_size]

    def _counts(self, spec: CellSpec) -> Counts | None:
        opened = self._open(spec)
        if opened is None:
            data = spec.part.dataset(spec.dataset)
            expected = expected_counts(data.layout, spec.category)
            return _limited(expected, data.limit) if expected and data.limit else expected
        test = opened[0].test
        defects = sum(sample.label for sample in test)
        unmasked = sum(not sample.masked for sample in test)
        return Counts(
            train=len(opened[0].train), test_good=len(test) - defects, test_defect=defects, test_unmasked=unmasked
        )


def _place(spec: CellSpec) -> Hashable:
    """What tells one category on disk, or drawn, from another."""
    data = spec.part.dataset(spec.dataset)
    return data.layout, data.root, data.limit, data.synthetic, data.own, spec.dataset, spec.category


def _supposed(spec: CellSpec) -> list[Any]:
    """What stands for a category's content while it cannot be read: data of one name, form and number are taken as equal."""
    data = spec.part.dataset(spec.dataset)
    known = data.model_dump(include={"layout", "limit", "synthetic"})
    needs = spec.settings.needs()
    weights = [need.weights for need in needs.features] + ([needs.network.weights] if needs.network else [])
    return [spec.dataset, spec.category, known, spec.settings.resize_of(data.layout).preprocessing, *weights]


def _limited(counts: Counts, limit: Limit) -> Counts:
    """About what a limit leaves: testing takes turns between good and defective images."""
    test = min(limit.test or math.inf, counts.test_good + counts.test_defect)
    good = min(counts.test_good, math.ceil(test / 2))
    train = counts.train if limit.train is None else min(limit.train, counts.train)
    return Counts(train=train, test_good=good, test_defect=int(test - good))
