"""What is tried again, how often and after which pause: work that failed, and workers that did not start.

Faults of machines and of the store are tried again, faults of the work itself are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from fod_bench.records.failures import Failure
from fod_bench.runs.executor import Clock, LossKind, WorkerLost
from fod_bench.runs.messages import Attempt

Cause: TypeAlias = Literal["killed", "lost", "store", "features"]
"""What ended work that may be tried again: its worker was lost on a healthy node, or with its node; the store failed, or what was
read from it."""

LIMITS: dict[Cause, int] = {"killed": 2, "lost": 10, "store": 3, "features": 3}
"""Times that each may happen to a piece of work that does not get further in between."""
STARTUP_FAILURES = 3
"""Workers in a row that may fail to start."""
STARTUP_MEMORY_FAILURES = 10
"""The same of those that fail because their node has no memory left, which may pass: about four minutes, with the pauses."""
LONGEST_PAUSE = 60.0
"""Seconds; pauses grow up to it."""

Mark: TypeAlias = tuple[int, int]
"""How far a training was: epochs and steps of the epoch."""
NOWHERE: Mark = (-1, -1)


def cause_of(loss: LossKind) -> Cause:
    """What the loss of a worker is to the work that it had."""
    return "lost" if loss in ("node", "unreachable") else "killed"


@dataclass(frozen=True)
class Retry:
    """Work is to be tried again."""

    pause: float = 0.0
    """Seconds to wait first."""


@dataclass
class _History:
    furthest: Mark = NOWHERE
    counts: dict[Cause, int] | None = None


class Retries:
    """Remembers what happened to each piece of work."""

    def __init__(self) -> None:
        self._histories: dict[str, _History] = {}

    def again(self, key: str, cause: Cause, mark: Mark) -> bool:
        """Whether to try again work that `cause` ended when it had got as far as `mark`.

        Work that gets further each time is tried for ever: it ends some day, and what disturbs it is not its own doing.
        """
        history = self._histories.setdefault(key, _History())
        if mark > history.furthest or history.counts is None:
            history.furthest, history.counts = max(mark, history.furthest), {}
        history.counts[cause] = history.counts.get(cause, 0) + 1
        return history.counts[cause] < LIMITS[cause]

    def pause(self, key: str) -> float:
        """Seconds to wait before work that something failed is tried again: 1, 2, 4, ... up to 60; 1 after progress."""
        counts = self._histories[key].counts or {}
        return _pause(sum(counts.values()))

    def verdict(self, failure: Failure, cause: Cause) -> str:
        """The reason given for work that is not tried again."""
        times = f"{failure.reason} {LIMITS[cause]} times without getting further"
        if cause == "killed":
            return f"{times}; set apart (memory too small? raise resources.cpus, so that fewer trials share a node)"
        return f"{times}; set apart"


class Attempts:
    """Numbers what is handed out, and remembers which attempts are over, so that nobody waits for the lease of their claims."""

    def __init__(self, driver: str, lease: float) -> None:
        self._driver, self._lease = driver, lease
        self._made = 0
        self._over: dict[str, str] = {}

    def next(self, key: str) -> Attempt:
        """The next attempt at the work `key`."""
        self._made += 1
        return Attempt(f"{self._driver}:{self._made}", self._over.pop(key, None), self._lease)

    def over(self, key: str, attempt: Attempt) -> None:
        """This attempt has ended, or its worker is gone: its claim means nothing any more."""
        self._over[key] = attempt.name

    def forget(self, key: str) -> None:
        """There will be no other attempt at this work."""
        self._over.pop(key, None)


class StartupFailures:
    """Workers in a row that did not start, and whether others are to be started in their place."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.forget()

    def forget(self) -> None:
        """One has started."""
        self._faulty = self._no_memory = 0
        self._not_before = float("-inf")

    def add(self, loss: WorkerLost) -> str:
        """One more did not start; the reason in a line."""
        reason = loss.reason
        if loss.kind == "node":  # which says nothing of the others
            return reason
        if loss.kind == "memory":
            self._no_memory += 1
            reason = "its machine ran out of memory"
        else:
            self._faulty += 1
        self._not_before = self._clock.now() + _pause(self._faulty + self._no_memory)
        return reason

    @property
    def too_many(self) -> bool:
        """Whether it is no use to start more."""
        return self._faulty >= STARTUP_FAILURES or self._no_memory >= STARTUP_MEMORY_FAILURES

    @property
    def over(self) -> bool:
        """Whether it is time to start the next: 1, 2, 4, … up to 60 seconds after the last has failed."""
        return self._clock.now() >= self._not_before


def _pause(failures: int) -> float:
    return min(LONGEST_PAUSE, 2.0 ** min(failures - 1, 10))
