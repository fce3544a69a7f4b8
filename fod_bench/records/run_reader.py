"""The runs of a store and the drivers at work on them, as the store tells of them. Needs no data, no torch and no Ray."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Container, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from pydantic import ValidationError

from fod_bench.errors import DamagedObjectError
from fod_bench.records.names import RUNS, is_plan, kind_of, run_of
from fod_bench.records.run import Cell, RunPlan
from fod_bench.records.state import SILENT_SECONDS, DriverState
from fod_bench.store import ObjectInfo, ObjectMissingError, Store
from fod_bench.store.reading import describe

Standing = Literal["alive", "done", "interrupted", "failed", "died", "silent"]
"""`done`, `interrupted` and `failed` are what a driver said last; `died` is known of a process on this machine only."""

T = TypeVar("T")


@dataclass(frozen=True)
class Driver:
    """A driver and how it stands."""

    state: DriverState
    silence: float
    """Seconds since it last wrote, by the store's clock."""
    standing: Standing

    @property
    def alive(self) -> bool:
        """Whether it is at work, as far as can be told."""
        return self.standing == "alive"


@dataclass(frozen=True)
class Runs:
    """Plans and drivers, as far as they could be read."""

    plans: tuple[RunPlan, ...]
    """Newest first."""
    objects: frozenset[ObjectInfo]
    """The plans as they lay in the store."""
    drivers: tuple[Driver, ...]
    damaged: dict[str, str]
    """`{store name: what is wrong with it}`."""

    def of(self, run_id: str) -> list[Driver]:
        """The drivers of one run."""
        return [driver for driver in self.drivers if driver.state.run_id == run_id]


KEPT_CELLS = 200_000
"""Plans of no more cells than this, all together, are kept from one reading to the next: a million take a gigabyte."""


class RunReader:
    """Reads the runs of one store, again and again: plans that stay as they are are read once, where there are not very many."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._plans: dict[ObjectInfo, RunPlan] = {}

    def run_ids(self) -> list[str]:
        """Names of the runs that have a plan, be it readable or not. Raises `StoreError`."""
        return [run_of(info.name) for info in self._store.list(RUNS) if is_plan(info.name)]

    def read(self, plans_of: Collection[str] | None = None, drivers: bool = True) -> Runs:
        """The drivers' states and the plans not read yet.

        Args:
            plans_of: runs whose plans are read; None stands for all.
            drivers: whether to read the drivers' states.

        Raises `StoreError`.
        """
        damaged: dict[str, str] = {}
        plans = {} if plans_of is not None and not plans_of else dict(self.each(damaged, plans_of))
        states = {}
        for info in self._store.list(RUNS) if drivers else ():
            if kind_of(info.name) == "states":
                state = self._parsed(info.name, DriverState.model_validate_json, damaged)
                if state is not None:
                    states[info] = state
        now = self._store.now() if states else 0.0
        return Runs(
            tuple(sorted(plans.values(), key=age_of, reverse=True)),
            frozenset(plans),
            tuple(_driver(state, now - info.modified) for info, state in states.items()),
            damaged,
        )

    def each(
        self, damaged: dict[str, str], plans_of: Container[str] | None = None
    ) -> Iterator[tuple[ObjectInfo, RunPlan]]:
        """The plans one after the other, as they lie in the store: for who need not have all at once.

        Args:
            damaged: gains `{store name: what is wrong with it}`.
            plans_of: as for `read`.

        Raises `StoreError`.
        """
        kept: dict[ObjectInfo, RunPlan] = {}
        room = KEPT_CELLS
        for info in self._store.list(RUNS):
            if is_plan(info.name) and (plans_of is None or run_of(info.name) in plans_of):
                plan = self._plans.get(info) or self._parsed(info.name, RunPlan.model_validate_json, damaged)
                if plan is not None:
                    if len(plan.cells) <= room:
                        kept[info], room = plan, room - len(plan.cells)
                    yield info, plan
        self._plans = kept

    def _parsed(self, name: str, parse: Callable[[bytes], T], damaged: dict[str, str]) -> T | None:
        try:
            return parse(self._store.get(name))
        except ObjectMissingError:  # it went meanwhile
            return None
        except DamagedObjectError as error:
            damaged[name] = str(error)
        except ValidationError as error:
            damaged[name] = describe(error)
        return None


def age_of(plan: RunPlan) -> tuple[str, str]:
    """By which plans are ordered, the oldest first."""
    return plan.created, plan.run_id


def no_run(store: Store) -> str:
    """The line for a store without any run."""
    command = shlex.join(["fod-bench", "run", "jobs/quickstart.yaml", "--store", store.uri])
    return f"no run in store {store.uri}: `{command}` makes one"


def trained_keys(plan: RunPlan) -> dict[str, str]:
    """Train key of every training a run wants, in the order of its cells, to its name, which is `TrialJob.name` again."""
    first: dict[str, Cell] = {}
    rows: dict[str, set[str]] = {}
    for cell in plan.cells:
        if cell.key is not None:
            first.setdefault(cell.key, cell)
            rows.setdefault(cell.key, set()).add(cell.row)
    more = {key: f" (+{len(served) - 1})" if len(served) > 1 else "" for key, served in rows.items()}
    return {
        key: f"{cell.dataset}/{cell.category} · {cell.row}{more[key]} · seed {cell.seed}" for key, cell in first.items()
    }


def _driver(state: DriverState, silence: float) -> Driver:
    standing: Standing = "alive"
    if state.ended is not None:
        standing = state.ended
    elif state.process.is_dead():
        standing = "died"
    elif silence >= SILENT_SECONDS:
        standing = "silent"
    return Driver(state, max(0.0, silence), standing)
