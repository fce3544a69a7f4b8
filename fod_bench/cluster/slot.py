"""A worker as the driver sees it: its actor, what it is doing, when it was last heard of."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import ray

from fod_bench.plan import TrialJob
from fod_bench.runs.backlog import Work
from fod_bench.runs.messages import Attempt, Status
from fod_bench.runs.retries import Mark

_NOWHERE: Mark = (-1, -1)


@dataclass(eq=False)
class Slot:
    """A worker and what it is doing."""

    number: int
    actor: Any
    alive: bool = False
    """Whether it has answered once. One that waits for its share of a busy cluster is given no work."""
    task: Any = None
    """Reference of the call under way; None when idle."""
    work: tuple[tuple[Work, Attempt], ...] = ()
    """What it is doing: features, or trainings that share their steps."""
    holds: str | None = None
    """Key of the features it used last."""
    marks: dict[str, Mark] = field(default_factory=dict)
    """How far each of its trainings was when last heard of."""
    asked: Any = None
    """Reference of a status call under way."""
    heard: float = field(default_factory=time.monotonic)
    node_id: str = ""

    def begin(self, features: str, *work: tuple[Work, Attempt]) -> None:
        """Note what it is about to do."""
        self.work, self.holds, self.marks = work, features, {}

    def mark(self, work: Work) -> Mark:
        """How far it was with this when last heard of."""
        return self.marks.get(work.key, _NOWHERE)

    def training(self) -> list[TrialJob]:
        """The trainings at hand."""
        return [work for work, _ in self.work if isinstance(work, TrialJob)]

    def ask(self) -> None:
        """Ask for its status without waiting."""
        self.asked = self.actor.status.options(concurrency_group="control").remote()

    def answer(self) -> list[Status]:
        """The statuses that have arrived, one for each piece of work. Raises `RayError` when the worker is gone."""
        asked, self.asked = self.asked, None
        statuses: list[Status] = ray.get(asked)
        self.alive, self.heard, self.node_id = True, time.monotonic(), statuses[0].node_id
        for work, _ in self.work:
            far = [(status.epoch, status.step) for status in statuses if status.key == work.key]
            self.marks[work.key] = max(self.mark(work), *far, _NOWHERE)
        return statuses

    def silent_for(self) -> float:
        """Seconds since it was last heard of; 0 for one that is still starting."""
        return time.monotonic() - self.heard if self.alive else 0.0

    def on_lost_node(self) -> bool:
        """Whether its machine went, and not only its process."""
        return all(node["NodeID"] != self.node_id or not node["Alive"] for node in ray.nodes())
