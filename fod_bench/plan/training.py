"""One training of a plan, whoever asks for it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import cached_property

from fod_bench.features.request import Wanted
from fod_bench.methods.settings import MethodSettings
from fod_bench.records.record import Counts, KeepScores, Trial


@dataclass(frozen=True)
class TrialJob:
    """One training, whoever asked for it."""

    key: str
    dataset: str
    category: str
    layout: str
    seed: int
    settings: MethodSettings
    counts: Counts | None
    """Images of the category; None when they cannot be known."""
    wanted: Wanted | None
    """What it works on; None when data or weights are missing: then the trial is counted but cannot run."""
    rows: list[str] = field(default_factory=list)
    """Labels of the rows it serves."""
    cells: list[str] = field(default_factory=list)
    """`row/dataset/category` of the cells it serves: a merged training may be asked for under several names."""
    parts: list[str] = field(default_factory=list)
    """Name of the job, the run's own or one that it includes, that asks for each of these."""

    @property
    def name(self) -> str:
        """For people: data set, category, the first row served and the seed."""
        more = f" (+{len(self.rows) - 1})" if len(self.rows) > 1 else ""
        return f"{self.dataset}/{self.category} · {self.rows[0]}{more} · seed {self.seed}"

    @property
    def measures_cost(self) -> bool:
        """Whether it is no training but a measurement of what one costs."""
        return self.settings.measures_cost

    @cached_property
    def reference_key(self) -> str | None:
        """Key of the reference features; None where there are none, or they cannot be known."""
        reference = self.settings.needs().reference
        return None if self.wanted is None or reference is None else reference.key(self.wanted.sets[0].key)

    @cached_property
    def kind(self) -> str | None:
        """What trials have in common that can share their steps; None for one that cannot."""
        common = self.settings.pack_key()
        return None if common is None else json.dumps(common, sort_keys=True)

    def trial(self, checkpoint_seconds: float, keep_scores: KeepScores = "selected") -> Trial:
        """What a worker is given. Only for a trial that can run."""
        assert self.wanted is not None
        setting, reference, network = self.settings.training(), self.reference_key, self.wanted.network
        return Trial(
            key=self.key,
            method=self.settings.method,
            dataset=self.dataset,
            layout=self.layout,
            category=self.category,
            fingerprint=self.wanted.truth.fingerprint,
            seed=self.seed,
            setting=setting,
            features=self.wanted.describe(),
            sets=self.wanted.keys(),
            reference={**setting["reference"], "key": reference} if reference else None,
            checkpoint_seconds=checkpoint_seconds,
            keep_scores=keep_scores,
            network=None if network is None else {**asdict(network), "path": network.path and str(network.path)},
        )

    def steps(self) -> int | None:
        """Steps of the training; 0 for a measurement, which takes only some; None while its images are not counted."""
        return None if self.counts is None else self.settings.steps(self.counts)
