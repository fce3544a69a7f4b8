"""A worker as the driver sees it: its actor, what it is doing, when it was last heard of."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import ray

from fod_bench.cluster.backlog import Work
from fod_bench.cluster.messages import Attempt, Status
from fod_bench.cluster.retries import Mark

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
    work: Work | None = None
    attempt: Attempt | None = None
    holds: str | None = None
    """Key of the features it used last."""
    mark: Mark = _NOWHERE
    """How far its training was when last heard of."""
    asked: Any = None
    """Reference of a status call under way."""
    heard: float = field(default_factory=time.monotonic)
    node_id: str = ""

    def begin(self, work: Work, features: str, attempt: Attempt) -> None:
        """Note what it is about to do."""
        self.work, self.holds, self.attempt, self.mark = work, features, attempt, _NOWHERE

    def ask(self) -> None:
        """Ask for its status without waiting."""
        self.asked = self.actor.status.options(concurrency_group="control").remote()

    def answer(self) -> Status:
        """The status that has arrived. Raises `RayError` when the worker is gone."""
        asked, self.asked = self.asked, None
        status: Status = ray.get(asked)
        self.alive, self.heard, self.node_id = True, time.monotonic(), status.node_id
        if self.work is not None and status.key == self.work.key:
            self.mark = max(self.mark, (status.epoch, status.step))
        return status

    def silent_for(self) -> float:
        """Seconds since it was last heard of; 0 for one that is still starting."""
        return time.monotonic() - self.heard if self.alive else 0.0

    def on_lost_node(self) -> bool:
        """Whether its machine went, and not only its process."""
        return all(node["NodeID"] != self.node_id or not node["Alive"] for node in ray.nodes())
