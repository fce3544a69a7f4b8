"""What the backlog is made of: sets that are wanted, the trainings that wait for them, and the idle workers that ask."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from fod_bench.features.request import SetRequest
from fod_bench.plan import TrialJob
from fod_bench.runs.resources import Share


@dataclass
class WantedSet:
    """A set that trainings need."""

    request: SetRequest
    ready: bool = False
    """Whether the store has it."""
    preparing: bool = False
    not_before: float = 0.0
    """When preparing may be tried again."""


@dataclass
class Queue:
    """Trainings to do on the same sets."""

    sets: list[WantedSet]
    waiting: dict[Share, list[TrialJob]] = field(default_factory=dict)
    """By the share that they run on, the next one last."""
    open: dict[str, TrialJob] = field(default_factory=dict)
    """All that are not finished, by key."""

    @property
    def ready(self) -> bool:
        """Whether the store has all sets."""
        return all(one.ready for one in self.sets)


class Waiting(NamedTuple):
    """A training put off."""

    until: float
    trial: TrialJob
    elsewhere: bool
    """Whether somebody else may have done it by then."""


class Seat(NamedTuple):
    """An idle worker, as far as it matters for what it is given."""

    share: Share
    holds: str | None = None
    """Key of what it worked on last: of all that a training wanted, or of a set."""
    node_holds: Collection[str] = ()
    """Keys of the sets that workers of its node have used."""
    seconds: float = float("inf")
    """In which a training has to end."""
    idle: float = float("inf")
    """Seconds for which the worker has had nothing to do."""


def distance(seat: Seat, wanted: str, queue: Queue) -> int:
    """How far what the queue works on is from the seat; see `Turn.elsewhere`."""
    keys = [one.request.key for one in queue.sets]
    if seat.holds is not None and (seat.holds == wanted or seat.holds in keys):
        return 0
    return 1 if all(key in seat.node_holds for key in keys) else 2
