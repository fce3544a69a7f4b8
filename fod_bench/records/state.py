"""What a run under way tells of itself: a small object in the store, rewritten every few seconds, that anybody can read."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from fod_bench.machine.process import ProcessId
from fod_bench.store.reading import Part

FLUSH_SECONDS = 5.0
"""Time between two writes of a driver's state."""
SILENT_SECONDS = 30.0
"""A driver that has not written for so long, by the store's clock, has died or cannot reach the store."""


Ended = Literal["done", "interrupted", "failed"] | None


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Task(_Frozen):
    """What one worker is doing."""

    kind: Literal["features", "trial"]
    name: str
    """For people: data set, category, row, seed."""
    key: str
    """Key of a set, or train key."""
    node: str
    """Host name; empty while the worker has not told."""
    since: str
    """UTC, ISO 8601."""
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    loss: float | None = None


class DriverState(_Frozen):
    """One `fod-bench run` and how far it is."""

    schema_version: int = 1
    run_id: Part
    job: str
    driver: Part
    """Random; tells apart two drivers of the same run."""
    process: ProcessId
    started: str
    """UTC, ISO 8601."""
    updated: str
    """UTC, ISO 8601, by the driver's clock; whether it is alive is told by the object's time in the store."""
    ended: Ended = None
    """How it ended; `failed` when the run broke off, None while it goes on."""
    only: str | None = None
    """Shell pattern on `row/dataset/category` of the cells that it works on; None for all of the plan's."""
    total: int
    """Trainings asked for."""
    done: int
    """Trained by this driver."""
    reused: int
    """Recorded before it began."""
    elsewhere: int
    """Recorded meanwhile by another driver."""
    failed: dict[str, str] = Field(default_factory=dict)
    """Name of the trial to its reason and the place of its log."""
    tasks: list[Task] = Field(default_factory=list)
    steps_per_second: float | None = None
    """Optimiser steps, all workers together, since the first training began."""
    seconds_left: float | None = None
    """None while it cannot be told."""
