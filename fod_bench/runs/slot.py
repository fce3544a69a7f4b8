"""A worker as the scheduler sees it: what it is doing, how far it is, when it was last heard of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fod_bench.plan import TrialJob
from fod_bench.runs.backlog import Work
from fod_bench.runs.messages import Attempt, Status
from fod_bench.runs.resources import Share
from fod_bench.runs.retries import NOWHERE, Mark


@dataclass(eq=False)
class Slot:
    """A worker and what it is doing."""

    worker: int
    """The executor's number of it."""
    share: Share
    """What it has."""
    node: str
    """Where it is, or, until it has told, was asked to be."""
    started: bool = False
    """Whether it has been heard of. One that waits for its share of a busy cluster is given no work."""
    work: tuple[tuple[Work, Attempt], ...] = ()
    """What it is doing: sets made in one pass, or trainings that share their steps. Empty when idle."""
    since: float = 0.0
    """When that began."""
    idle_since: float = 0.0
    """When it ended what it did last, or had started."""
    holds: str | None = None
    """Key of what it worked on last, see `Wanted`."""
    marks: dict[str, Mark] = field(default_factory=dict)
    """How far each piece of its work was when last heard of."""
    silent: float = 0.0
    """Seconds since it was last heard of; 0 for one that is still starting."""

    @property
    def idle(self) -> bool:
        """Whether it can be given work."""
        return self.started and not self.work

    def begin(self, now: float, holds: str, *work: tuple[Work, Attempt]) -> None:
        """Note what it is about to do."""
        self.work, self.since, self.holds, self.marks = work, now, holds, {}

    def end(self, now: float) -> tuple[tuple[Work, Attempt], ...]:
        """What it was doing; it is idle now."""
        ended, self.work, self.idle_since = self.work, (), now
        return ended

    def mark(self, work: Work) -> Mark:
        """How far it was with this when last heard of."""
        return self.marks.get(work.key, NOWHERE)

    def trainings(self) -> list[TrialJob]:
        """The trainings at hand."""
        return [work for work, _ in self.work if isinstance(work, TrialJob)]

    def note_status(self, now: float, statuses: Sequence[Status]) -> None:
        """Note what it has said of itself."""
        self.idle_since = self.idle_since if self.started else now
        self.started, self.silent = True, 0.0
        for work, _ in self.work:
            far = [(status.epoch, status.step) for status in statuses if status.key == work.key]
            self.marks[work.key] = max(self.mark(work), *far, NOWHERE)
