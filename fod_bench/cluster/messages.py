"""What passes between the driver and its workers. Imports neither torch nor Ray."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Levels = dict[int, NDArray[np.float32]]


@dataclass(frozen=True)
class Prepared:
    """Features of one category with the references its trials need; as a Ray object its arrays are shared, not copied."""

    train: Levels
    test: Levels
    masks: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    references: dict[str, Levels]
    """By kind."""


@dataclass(frozen=True)
class PreparedInfo:
    """What the driver learns of prepared features."""

    extracted: bool
    """False when the store had them."""
    nbytes: int
    notes: tuple[str, ...] = ()
    """What a person should know of how it went."""


@dataclass(frozen=True)
class Done:
    """A trial has its record."""

    key: str
    notes: tuple[str, ...] = ()
    """What a person should know of how it went."""


@dataclass(frozen=True)
class Stopped:
    """A trial was asked to stop and left a checkpoint."""

    key: str


@dataclass(frozen=True)
class Failure:
    """Work that failed by its own fault: a retry would fail again."""

    reason: str
    """One line for a person."""
    details: str
    """Everything known, for the log."""
    kind: Literal["data", "diverged", "memory", "store", "worker", "fault"] = "fault"


@dataclass(frozen=True)
class Status:
    """How far a worker is."""

    doing: Literal["idle", "features", "trial"] = "idle"
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    loss: float | None = None
    node: str = ""
