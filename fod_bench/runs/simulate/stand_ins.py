"""Trainings whose data need not be there: what they work on is only named, and made in no time or in a time that is supposed."""

from __future__ import annotations

from collections.abc import Hashable, Set
from dataclasses import dataclass, replace
from typing import Any, cast

from fod_bench.features.request import SetRequest, Wanted
from fod_bench.plan import TrialJob
from fod_bench.plan.estimate import identity, images_of, pass_of, sources_of


@dataclass(frozen=True)
class StandIn:
    """In the place of a set of features or images, as far as a run without data asks."""

    key: str
    made_with: Hashable
    name: str
    form: str
    """One of its own in each training."""
    images: float
    """How many there are, each as so many of 256×256 pixels: what extracting takes goes by it. 0 for sets that need no backbone."""
    stored: bool
    """Whether the store has it."""
    fingerprint: str = ""

    @property
    def truth(self) -> StandIn:
        """In the place of the labels and masks."""
        return replace(self, key="truth")

    @property
    def category(self) -> _Category:
        """In the place of the category."""
        return _Category(self.name, ())

    def describe(self) -> dict[str, Any]:
        """Nothing."""
        return {}


@dataclass(frozen=True)
class _Category:
    name: str
    samples: tuple[()]


class StandIns:
    """Makes the sets of trainings up, each once."""

    def __init__(self, stored: Set[str]) -> None:
        """`stored`: keys of sets that the store has."""
        self._stored = stored
        self._keys: dict[Hashable, str] = {}

    def of(self, trial: TrialJob) -> TrialJob:
        """The training with sets that are only named."""
        sets = []
        for number, source in enumerate(sources_of(trial)):
            known = identity(source)
            key = self._keys.setdefault(known, f"set{len(self._keys)}")
            one = pass_of(source)
            alike = round(images_of(trial) * (trial.settings.image_size / 256) ** 2)
            stored = known in self._stored
            name = f"{trial.dataset}/{trial.category}"
            sets.append(
                StandIn(key, key if one is None else one, name, f"set{number}", 0 if one is None else alike, stored)
            )
        return replace(trial, wanted=Wanted(cast("tuple[SetRequest, ...]", tuple(sets))))
