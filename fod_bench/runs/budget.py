"""What a run may take: a time, or an amount of money; and how long that lasts on the nodes that are there."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from fod_bench.errors import FodBenchError, UsageError
from fod_bench.plan import TrialJob
from fod_bench.runs.executor import Clock
from fod_bench.runs.resources import NodeResources
from fod_bench.text import format_seconds

_START_SECONDS = 8.0
"""Until a worker has started, which imports torch."""
_NAMED = 5
"""Categories that are named of each row."""
_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_FORM = re.compile(r"(?P<dollar>\$?)\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[A-Za-z]*)")


@dataclass(frozen=True)
class Budget:
    """One of the two."""

    seconds: float = math.inf
    """From when the run has its cluster."""
    dollars: float = math.inf
    """What the cluster's nodes cost, by the price list, whoever uses them."""

    def __str__(self) -> str:
        return format_seconds(self.seconds) if math.isinf(self.dollars) else f"${self.dollars:,.2f}"


def parse_budget(text: str) -> Budget:
    """`90s`, `30min`, `3h`, `2d`, or `50USD`, `$50`. Raises `UsageError`."""
    found = _FORM.fullmatch(text.strip())
    number = float(found["number"]) if found else 0.0
    unit = found["unit"].lower() if found else ""
    if found and (found["dollar"], unit) in (("$", ""), ("", "usd")):
        budget = Budget(dollars=number)
    elif found and not found["dollar"] and unit in _UNITS:
        budget = Budget(seconds=number * _UNITS[unit])
    else:
        raise UsageError(f"--budget {text!r}: should be a time, such as 90min, 3h or 2d, or an amount, such as 50USD")
    if not number:
        raise UsageError(f"--budget {text!r}: holds nothing; give a time such as 3h, or an amount such as 50USD")
    return budget


class Allowance:
    """How much of a budget is left."""

    def __init__(self, budget: Budget, clock: Clock, per_hour: Callable[[NodeResources], float] | None = None) -> None:
        """`per_hour`: what a node costs, in dollars; raises `FodBenchError` without a price. An amount of money needs it."""
        assert per_hour is not None or math.isinf(budget.dollars)
        self._budget, self._clock, self._per_hour = budget, clock, per_hour
        self._began = self._looked = clock.now()
        self._spent = self._rate = 0.0

    def look(self, nodes: Mapping[str, NodeResources]) -> dict[str, str]:
        """Take note of the nodes that are there, from now until the next look; by name those that have no price, and why.

        What these cost is not known, so it does not count, and nothing may be done on them.
        """
        self._spent, self._looked = self.dollars, self._clock.now()
        unpriced: dict[str, str] = {}
        if self._per_hour is None:
            return unpriced
        self._rate = 0.0
        for name, node in nodes.items():
            try:
                self._rate += self._per_hour(node) / 3600
            except FodBenchError as error:
                unpriced[name] = str(error)
        return unpriced

    @property
    def dollars(self) -> float:
        """Spent until now."""
        return self._spent + self._rate * (self._clock.now() - self._looked)

    @property
    def seconds(self) -> float:
        """Left, on the nodes that are there; may be negative."""
        by_cost = (self._budget.dollars - self.dollars) / self._rate if self._rate else math.inf
        return min(self._budget.seconds - (self._clock.now() - self._began), by_cost)


def check_holds(budget: Budget, seconds: float, estimates: Iterable[float]) -> None:
    """Raises `UsageError` where a budget, which lasts for so many seconds, holds none of the trainings, by what each takes."""
    shortest = min(estimates, default=0.0) + _START_SECONDS
    if shortest > seconds:
        lasts = (
            "" if math.isinf(budget.dollars) else f", which last {format_seconds(max(0.0, seconds))} on this cluster,"
        )
        raise UsageError(
            f"--budget {budget}{lasts} holds nothing: the shortest training that is left takes about {format_seconds(shortest)}, "
            "the start of a worker included; give more, or leave it out"
        )


def left_out(left: Iterable[TrialJob], planned: Iterable[TrialJob], only: str | None = None) -> list[str]:
    """The trainings that a budget left out, a line for each row and seed: which of the row's categories have no number.

    `only`: shell pattern on `row/dataset/category` of the cells that were asked for; None: all.
    """
    wanted: dict[tuple[str, int], set[str]] = {}
    missing: dict[tuple[str, int], set[str]] = {}
    for trials, found in ((planned, wanted), (left, missing)):
        for trial in trials:
            for cell in trial.cells:
                if only is not None and not fnmatchcase(cell, only):
                    continue
                row, *where = cell.rsplit("/", 2)
                found.setdefault((row, trial.seed), set()).add("/".join(where))
    lines = []
    for (row, seed), categories in missing.items():
        every = len(wanted[row, seed])
        named = ", ".join(sorted(categories)[:_NAMED]) + (
            f" and {len(categories) - _NAMED} more" * (len(categories) > _NAMED)
        )
        lines.append(f"{row} · seed {seed}: {len(categories)} of {every} categories ({named})")
    return lines
