"""When work that failed is tried again: faults of the machines are, faults of the work are not."""

from __future__ import annotations

from dataclasses import dataclass

from fod_bench.records.failures import Failure

KILLS = 2
"""Times that a piece of work may lose its worker on a healthy machine without having got further in between."""
LOSSES = 10
"""Times that it may lose its worker together with the machine, likewise."""
STORE_FAULTS = 3
"""Times that the store, or what was read from it, may fail a piece of work."""
_LIMITS = {"killed": KILLS, "lost": LOSSES, "store": STORE_FAULTS, "features": STORE_FAULTS}


@dataclass(frozen=True)
class Again:
    """The work is to be tried again."""

    pause: float = 0.0
    """Seconds to wait first."""


Mark = tuple[int, int]
"""How far a training was: epochs and steps of the epoch."""


@dataclass
class _History:
    furthest: Mark = (-1, -1)
    counts: dict[str, int] | None = None


class Retries:
    """Remembers what happened to each piece of work."""

    def __init__(self) -> None:
        self._histories: dict[str, _History] = {}

    def again(self, key: str, kind: str, mark: Mark) -> bool:
        """Whether to try again work that failed as `kind`: `killed`, `lost`, `store` or `features`, having got as far as `mark`.

        Work that gets further each time is tried for ever: it ends some day, and what disturbs it is not its own doing.
        """
        history = self._histories.setdefault(key, _History())
        if mark > history.furthest or history.counts is None:
            history.furthest, history.counts = max(mark, history.furthest), {}
        history.counts[kind] = history.counts.get(kind, 0) + 1
        return history.counts[kind] < _LIMITS[kind]

    def pause(self, key: str) -> float:
        """Seconds to wait before work that something failed is tried again: 1, 2, 4, ... up to 60; 1 after progress."""
        counts = self._histories[key].counts or {}
        return min(60.0, 2.0 ** (sum(counts.values()) - 1))

    def verdict(self, failure: Failure, kind: str) -> str:
        """The reason given for work that is not tried again."""
        times = f"{failure.reason} {_LIMITS[kind]} times without getting further"
        if kind == "killed":
            return f"{times}; set apart (memory too small? raise resources.cpus, so that fewer trials share a node)"
        return f"{times}; set apart"
