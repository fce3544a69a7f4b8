"""Which training goes first: the one place that decides it, for a cluster and a simulated one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from fod_bench.job import Job
from fod_bench.plan import TrialJob
from fod_bench.plan.durations import Durations
from fod_bench.runs.resources import Share

Rank = tuple[int, ...]
"""What goes before how long a training takes: a smaller one is first."""
_LAST: Rank = (1 << 62,)
_ALIKE = 1.1
"""Factor within which trainings take about the same. Those of one category and method mostly do."""
SHORT_PART = 0.1
"""Trainings that take a worker no more than this part of all that is left for it are alike too: in whichever order they go, those
that take longer than that part of what is left by then are still begun before the others, so the last to end are short."""
_MOVED = 1.2
"""Factor between two estimates that makes it worth while to order anew."""


class Turn(NamedTuple):
    """A training's turn: the least is next."""

    rank: Rank
    band: int
    """Trainings of one band take about the same, within a tenth, or are all short; the longest have the least."""
    elsewhere: int
    """0: the worker has its features; 1: its node has; 2: they come from the store."""
    seconds: float
    """Of the training, negative: the longer the sooner."""


class Order:
    """The longest first, so that the last to end are short; in a rank of its own whatever was given one.

    Among trainings that take about the same, and those that are short against what is left, a worker goes on with the features
    that it or its node has. It never waits for those of its node: they are in the store, from which any node reads them in seconds.
    """

    def __init__(self, durations: Durations, ranks: Mapping[str, Rank] | None = None) -> None:
        """`ranks`: of trainings by their keys; those that have none come after all others."""
        self._durations, self._ranks = durations, ranks or {}
        self._factors = durations.factors()
        self._short: dict[Share, float] = {}

    def seconds(self, trial: TrialJob, share: Share) -> float:
        """How long it is expected to take a worker of this share; what shares a GPU is taken to take turns."""
        return self._durations.seconds(trial, gpu=share.gpus > 0, threads=share.threads) / share.speed

    def took(self, trial: TrialJob, share: Share, seconds: float) -> None:
        """A training took so long, from its beginning to its end."""
        self._durations.took(trial, seconds * share.speed, gpu=share.gpus > 0, threads=share.threads)

    def moved(self) -> bool:
        """Whether trainings of some method have turned out so different, since the last time it was so, that others may be next."""
        factors = self._durations.factors()
        if all(_MOVED > factor / self._factors.get(kind, 1.0) > 1 / _MOVED for kind, factor in factors.items()):
            return False
        self._factors = factors
        return True

    def left(self, share: Share, seconds: float) -> None:
        """So much is left for each worker of a share, by which turns are reckoned from now on."""
        self._short[share] = SHORT_PART * seconds

    def turn(self, trial: TrialJob, share: Share, elsewhere: int = 0) -> Turn:
        """See `Turn`."""
        seconds = self.seconds(trial, share)
        alike = max(seconds, self._short.get(share, 0.0))
        band = -math.floor(math.log(alike, _ALIKE)) if alike > 0 else 1 << 30
        return Turn(self._ranks.get(trial.key, _LAST), band, elsewhere, -seconds)


def ranks_of(job: Job, trials: Iterable[TrialJob], by_value: bool) -> dict[str, Rank]:
    """What the job says goes first: parts by their priority and, `by_value`, line after line of the tables: all categories of a row
    before the next row, and every row with the first seed before any with the second.

    A training that several parts or rows ask for has the best of their ranks.
    """
    parts = job.parts()
    seeds = {(part.name, seed): place for part in parts for place, seed in enumerate(part.seeds)}
    rows = {row: place for place, row in enumerate((part.name, label) for part in parts for label, _ in part.rows())}
    ranks: dict[str, Rank] = {}
    for trial in trials:
        asked = [(part, cell.rsplit("/", 2)[0]) for part, cell in zip(trial.parts, trial.cells, strict=True)]
        ranks[trial.key] = min(
            (-job.priorities.get(part, 0), *((seeds[part, trial.seed], rows[part, row]) if by_value else ()))
            for part, row in asked
        )
    return ranks
