"""What a job needs: its cells, the trainings left after merging equal ones, their features and references, what is there.

Keys are made here, and nowhere else, from the content of what they stand for: pictures, weights, settings. A path, a
machine or the shape of a cluster is never part of one.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from fod_bench.datasets import Category, expected_counts, open_category
from fod_bench.errors import DatasetError, JobError, WeightsError
from fod_bench.features.request import FeatureRequest
from fod_bench.features.weights import Weights, resolve_weights
from fod_bench.job import CellSpec, Job, Limit, Settings, cell_score, expand, run_id, training_setting
from fod_bench.record import COST_SCORE, Cell, Counts, RunPlan, Trial, canonical_digest
from fod_bench.references import reference_key

METHOD_VERSIONS = {"fod": 1}
"""Raised when a change of the code changes a method's results, so that old records are not taken for new ones."""


@dataclass(frozen=True)
class TrialJob:
    """One training, whoever asked for it."""

    key: str
    dataset: str
    category: str
    layout: str
    seed: int
    settings: Settings
    counts: Counts | None
    """Pictures of the category; None when they cannot be known."""
    features: FeatureRequest | None
    """None when data or weights are missing: then the trial is counted but cannot run."""
    rows: list[str] = field(default_factory=list)
    """Labels of the rows it serves."""
    cells: list[str] = field(default_factory=list)
    """`row/dataset/category` of the cells it serves: a merged training may be asked for under several names."""

    @property
    def name(self) -> str:
        """For people: data set, category, the first row served and the seed."""
        more = f" (+{len(self.rows) - 1})" if len(self.rows) > 1 else ""
        return f"{self.dataset}/{self.category} · {self.rows[0]}{more} · seed {self.seed}"

    @property
    def uses_reference(self) -> bool:
        """Whether the views look at reference features."""
        return self.settings.views in ("inter", "full")

    @property
    def measures_cost(self) -> bool:
        """Whether it is no training but a measurement of what one costs."""
        return self.settings.measure == "cost"

    @property
    def reference_key(self) -> str | None:
        """Key of the reference features; None where there are none, or they cannot be known."""
        if self.features is None or not self.uses_reference:
            return None
        return reference_key(self.features.key, self.settings.reference)

    def trial(self, checkpoint_seconds: float) -> Trial:
        """What a worker is given. Only for a trial that can run."""
        assert self.features is not None
        setting, reference = training_setting(self.settings), self.reference_key
        return Trial(
            key=self.key,
            method=self.settings.method,
            dataset=self.dataset,
            layout=self.layout,
            category=self.category,
            fingerprint=self.features.fingerprint,
            seed=self.seed,
            setting=setting,
            features=self.features.describe(),
            reference={**setting["reference"], "key": reference} if reference else None,
            checkpoint_seconds=checkpoint_seconds,
        )

    def steps(self) -> int | None:
        """Optimiser steps of the training, all levels counted as one; 0 for a measurement, which takes only some."""
        if self.measures_cost:
            return 0
        if self.counts is None:
            return None
        return -(-self.counts.train // self.settings.batch_size) * self.settings.epochs


@dataclass(frozen=True)
class PartPlan:
    """What one part of a job comes to."""

    name: str
    tables: list[int]
    rows: int
    categories: int
    seeds: int
    trainings_apart: int
    """One for every row, category and seed."""
    trainings: int
    """Left after merging equal ones of this part."""
    trainings_new: int
    """Of those, the ones that no part before it has."""
    measurements: int
    """Cells whose cost is measured, which are no trainings."""


@dataclass(frozen=True)
class Plan:
    """Everything a run of a job comes to."""

    job: Job
    run: RunPlan
    trials: dict[str, TrialJob]
    """By train key, in the order of the cells."""
    parts: list[PartPlan]
    problems: list[str]
    """Data sets and weights that are not there, each with its remedy."""
    unusable: dict[tuple[str, str], str]
    """(data set, category) to the reason why its trials cannot run."""

    def faults(self) -> list[str]:
        """Everything that keeps trials from running, a line each; a missing root is one, not one per category."""
        blamed = {problem.split(":", 1)[0].removeprefix("datasets.") for problem in self.problems}
        unusable = [f"{'/'.join(where)}: {why}" for where, why in self.unusable.items() if where[0] not in blamed]
        return list(dict.fromkeys([*self.problems, *unusable]))


def make_plan(job: Job, *, download: bool) -> Plan:
    """Plan `job`. Data or weights that are missing leave their trials counted but not runnable.

    Args:
        download: fetch pretrained weights that are not on this machine, and insist on having all weights.

    Raises:
        JobError: the job names categories a data set lacks, or references that a category has too few pictures for.
        WeightsError: with `download`, weights cannot be had.
    """
    expansion = expand(job)
    planner = _Planner(download, list(expansion.problems))
    cells, parts = [], []
    for part in job.parts():
        before = set(planner.trials)
        planned = [planner.cell(spec) for spec in expansion.cells if spec.part is part]
        cells += [cell for cell, _ in planned]
        parts.append(_part_plan(part, planned, before))
    trials = planner.trials.values()
    refused = [problem for trial in trials if (problem := _impossible_reference(trial)) is not None]
    if refused:
        raise JobError("\n".join(dict.fromkeys(refused)))
    run = RunPlan(
        run_id=run_id(job),
        job=job.name,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        tables=job.fed_tables(),
        cells=cells,
        features=sorted({trial.features.key for trial in trials if trial.features is not None}),
        references=sorted({trial.reference_key for trial in trials if trial.reference_key is not None}),
    )
    return Plan(job, run, planner.trials, parts, planner.problems, planner.unusable)


def _part_plan(part: Job, planned: list[tuple[Cell, str]], before: set[str]) -> PartPlan:
    """The counts of one part; `before` are the keys of the parts before it."""
    keys = [key for cell, key in planned if cell.score != COST_SCORE]
    return PartPlan(
        name=part.name,
        tables=list(part.tables),
        rows=len({cell.row for cell, _ in planned}),
        categories=len({(cell.dataset, cell.category) for cell, _ in planned}),
        seeds=len(part.seeds),
        trainings_apart=len(keys),
        trainings=len(set(keys)),
        trainings_new=len(set(keys) - before),
        measurements=len(planned) - len(keys),
    )


def _impossible_reference(trial: TrialJob) -> str | None:
    """Why the category has too few training pictures for the reference that the trial wants."""
    if trial.counts is None or not trial.uses_reference:
        return None
    problem = trial.settings.reference.too_few(trial.counts.train)
    return f"reference: {problem} (row {trial.rows[0]!r}, {trial.dataset}/{trial.category})" if problem else None


class _Planner:
    """Opens each category, finds each backbone's weights and hashes each training once."""

    def __init__(self, download: bool, problems: list[str]) -> None:
        self.download = download
        self.problems = problems
        self.trials: dict[str, TrialJob] = {}
        self.unusable: dict[tuple[str, str], str] = {}
        self._categories: dict[Hashable, tuple[Category, str] | None] = {}
        self._weights: dict[tuple[str, str, int], Weights | None] = {}
        self._features: dict[tuple[Any, ...], FeatureRequest | None] = {}

    def cell(self, spec: CellSpec) -> tuple[Cell, str]:
        """The cell of a number asked for, and the key its training has, known or not, in `trials`, where it gains a row."""
        layout = spec.part.datasets[spec.dataset].layout
        features = self._features_of(spec)
        source = features.key if features else ["missing", *_supposed(spec), spec.settings.weights]
        key = canonical_digest(
            {
                "features": source,
                "seed": spec.seed,
                "setting": training_setting(spec.settings),
                "version": METHOD_VERSIONS[spec.settings.method],
            }
        )[:32]
        trial = self.trials.get(key)
        if trial is None:
            counts = self._counts(spec)
            trial = TrialJob(key, spec.dataset, spec.category, layout, spec.seed, spec.settings, counts, features)
            self.trials[key] = trial
        if spec.row not in trial.rows:
            trial.rows.append(spec.row)
        trial.cells.append(f"{spec.row}/{spec.dataset}/{spec.category}")
        cell = Cell(
            row=spec.row,
            method=spec.settings.method,
            dataset=spec.dataset,
            layout=layout,
            category=spec.category,
            seed=spec.seed,
            score=cell_score(spec.settings),
            key=key if features else None,
            part=spec.part.name,
            tables=list(spec.part.tables),
        )
        return cell, key

    def _features_of(self, spec: CellSpec) -> FeatureRequest | None:
        settings = spec.settings
        wanted = (settings.backbone, settings.weights, settings.weights_seed)
        identity = (_place(spec), *wanted, settings.image_size, settings.levels)
        if identity not in self._features:
            opened, weights = self._open(spec), self._find_weights(*wanted)
            self._features[identity] = None
            if opened is not None and weights is not None:
                category, fingerprint = opened
                self._features[identity] = FeatureRequest(
                    category, fingerprint, weights, settings.image_size, settings.levels
                )
        return self._features[identity]

    def _open(self, spec: CellSpec) -> tuple[Category, str] | None:
        """The category and its fingerprint, or None and an entry in `unusable`."""
        place = _place(spec)
        if place not in self._categories:
            data = spec.part.dataset(spec.dataset)
            try:
                root = Path(data.root).absolute() if data.root else None  # workers may have another working folder
                opened = open_category(data.layout, root, spec.category, limit=data.limit, synthetic=data.synthetic)
                self._categories[place] = (opened, opened.fingerprint())
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

    def _counts(self, spec: CellSpec) -> Counts | None:
        opened = self._open(spec)
        if opened is None:
            data = spec.part.dataset(spec.dataset)
            expected = expected_counts(data.layout, spec.category)
            return _limited(expected, data.limit) if expected and data.limit else expected
        defects = sum(sample.label for sample in opened[0].test)
        return Counts(train=len(opened[0].train), test_good=len(opened[0].test) - defects, test_defect=defects)


def _place(spec: CellSpec) -> Hashable:
    """What tells one category on disk, or drawn, from another."""
    data = spec.part.dataset(spec.dataset)
    return data.layout, data.root, data.limit, data.synthetic, spec.dataset, spec.category


def _supposed(spec: CellSpec) -> list[Any]:
    """What stands for a category's content while it cannot be read: data of one name, form and number are taken as equal."""
    data = spec.part.dataset(spec.dataset)
    return [spec.dataset, spec.category, data.model_dump(include={"layout", "limit", "synthetic"})]


def _limited(counts: Counts, limit: Limit) -> Counts:
    """About what a limit leaves: testing takes turns between good and defective pictures."""
    test = min(limit.test or math.inf, counts.test_good + counts.test_defect)
    good = min(counts.test_good, math.ceil(test / 2))
    train = counts.train if limit.train is None else min(limit.train, counts.train)
    return Counts(train=train, test_good=good, test_defect=int(test - good))
