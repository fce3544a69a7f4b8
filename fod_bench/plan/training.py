"""One training of a plan, whoever asks for it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property

from fod_bench.features.request import FeatureRequest
from fod_bench.job import Settings, training_setting
from fod_bench.methods.fod.references import reference_key
from fod_bench.records.record import Counts, Trial


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
        return self.settings.uses_reference

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

    @cached_property
    def kind(self) -> str | None:
        """What trials have in common that can share their steps; None for one that cannot."""
        if self.measures_cost:
            return None
        setting = training_setting(self.settings)
        return json.dumps(
            {key: value for key, value in setting.items() if key not in ("lambda1", "lambda2")}, sort_keys=True
        )

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
