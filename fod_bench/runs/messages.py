"""What passes between the driver and its workers. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from fod_bench.features.request import SetRequest
from fod_bench.methods.settings import MethodSettings, Reference
from fod_bench.records.failures import Failure
from fod_bench.records.record import Counts


@dataclass(frozen=True)
class Attempt:
    """One handing-out of a piece of work."""

    name: str
    """Unlike any other's, e.g. `<driver>:12`; the worker's claim carries it."""
    lost: str | None
    """The attempt before, whose worker is known to be gone: its claim need not be waited for."""
    lease: float
    """Seconds without a heartbeat after which others may take over."""


class SetTask(NamedTuple):
    """A set that the store is to have, and the references wanted of it."""

    request: SetRequest
    references: Sequence[Reference]
    attempt: Attempt


@dataclass(frozen=True)
class Prepared:
    """A set lies in the store, and the references asked for but those that cannot be made."""

    made: bool
    """False when the store had it."""
    nbytes: int
    unmade: dict[str, Failure] = field(default_factory=dict)
    """Key of a reference that cannot be made, and why; trainings that do not need it go on."""
    notes: tuple[str, ...] = ()
    """What a person should know of how it went."""


@dataclass(frozen=True)
class Done:
    """A trial has its record."""

    key: str
    ours: bool
    """False when it was there already, or another worker's was taken."""
    notes: tuple[str, ...] = ()
    """What a person should know of how it went."""


@dataclass(frozen=True)
class Stopped:
    """A trial was asked to stop, by the driver or because its machine goes away, and left a checkpoint."""

    key: str


@dataclass(frozen=True)
class Taken:
    """Somebody else is at work on it."""

    key: str
    host: str
    """Where; empty when it took over from this worker, and only that is known."""


Outcome: TypeAlias = Done | Stopped | Taken | Failure
"""What became of a trial."""


class SpeedTask(NamedTuple):
    """Trainings whose speed is to be measured, which take their steps together."""

    settings: MethodSettings
    """Of each of them."""
    counts: Counts
    """Images of a category."""
    pack: int
    """How many they are."""
    threads: int
    seconds: float
    """For which steps are timed at least."""


class Speed(NamedTuple):
    """How fast a worker is, with the others of its node at work on the same."""

    step_seconds: float
    """Of a step that all trainings of the task take together."""
    image_seconds: float
    """Of the evaluation of one image, of one training."""
    evaluations: int
    """Of the test images in a whole training."""


@dataclass(frozen=True)
class Status:
    """How far a worker is."""

    doing: Literal["idle", "features", "trial"] = "idle"
    key: str = ""
    """Key of a set, or train key."""
    epoch: int = 0
    epochs: int = 0
    """0 while costs are measured."""
    step: int = 0
    steps: int = 0
    loss: float | None = None
    node: str = ""
    """Host name."""
