"""Speed and size against what a plain implementation or the usual library needs, as ratios taken in one run."""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

import fod_bench  # noqa: F401  before numpy is imported: it settles how numpy sorts


class Result(NamedTuple):
    """One measured figure and the value it must reach."""

    name: str
    value: float
    floor: float
    unit: str
    higher_is_better: bool = True


def run(name: str) -> list[Result]:
    """The figures of one benchmark."""
    found: list[Result] = import_module(f"benchmarks.{name}").run()
    return found
