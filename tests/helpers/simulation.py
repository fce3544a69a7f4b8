"""Plans of tiny jobs, and the scheduler on a simulated cluster. Needs nothing of pytest, so that benchmarks can use it too."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from fod_bench.features.request import SetRequest
from fod_bench.job import load_job
from fod_bench.methods.fod.references.specs import ReferenceSpec
from fod_bench.plan import Plan, TrialJob, make_plan
from fod_bench.plan.durations import Durations
from fod_bench.records.failures import Failure
from fod_bench.records.names import record_name
from fod_bench.records.record import Trial
from fod_bench.runs.counts import Counts
from fod_bench.runs.executor import LossKind
from fod_bench.runs.messages import Prepared
from fod_bench.runs.order import Order
from fod_bench.runs.progress import Progress
from fod_bench.runs.resources import NodeResources, Share, Shares
from fod_bench.runs.scheduler import TICK_SECONDS, Scheduler
from fod_bench.runs.simulate import Behaviour, SimulatedExecutor
from fod_bench.runs.simulate.memory_store import MemoryStore
from tests.helpers.commands import DRAWN, TINY


def planned(
    folder: Path, categories: Sequence[str] = ("weave",), settings: dict[str, Any] | None = None, **keys: Any
) -> Plan:
    """The plan of a tiny job, whose file is left in `folder`."""
    content: dict[str, Any] = {"name": "tiny", "datasets": {"drawn": {**DRAWN, "categories": list(categories)}}, **keys}
    content["settings"] = TINY | (settings or {})
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return make_plan(load_job(path), download=False)


ONE_CPU = Share(1, 0)
_LIMIT = 100_000.0
"""Seconds that a simulation may take by its own clock."""


class Scripted(Behaviour):
    """Trials take a minute and all ends well, unless told otherwise."""

    def __init__(
        self,
        seconds: float = 60.0,
        *,
        fails: Callable[[Trial, Share, int], Failure | None] = lambda trial, share, together: None,
        prepares: Callable[[SetRequest], Prepared | Failure] = lambda request: Prepared(True, 0),
        starts: Callable[[int], LossKind | None] = lambda worker: None,
        **times: float,
    ) -> None:
        """`times`: attributes of `Behaviour`."""
        self._seconds, self._fails, self._prepares, self._starts = seconds, fails, prepares, starts
        for name, value in times.items():
            assert hasattr(Behaviour, name)
            setattr(self, name, value)

    def train_seconds(self, trial: Trial, share: Share) -> float:
        return self._seconds

    def train(self, trial: Trial, share: Share, together: int) -> Failure | None:
        return self._fails(trial, share, together)

    def prepare(self, request: SetRequest, references: Sequence[ReferenceSpec]) -> Prepared | Failure:
        return self._prepares(request)

    def startup_loss(self, worker: int) -> LossKind | None:
        return self._starts(worker)


class Simulation:
    """Trials, a cluster, and runs of a scheduler. The cluster may be disturbed before `run`, for later moments."""

    def __init__(
        self,
        trials: Sequence[TrialJob],
        nodes: Sequence[NodeResources] = (NodeResources(1),),
        behaviour: Behaviour | None = None,
        *,
        share: Share = ONE_CPU,
        pack: int = 1,
        workers: int | None = None,
        checkpoint_seconds: float = 10.0,
        lease_seconds: float = 60.0,
        tick_seconds: float = TICK_SECONDS,
        quiet: bool = False,
    ) -> None:
        self.trials, self.store, self._quiet = list(trials), MemoryStore(), quiet
        self.cluster = SimulatedExecutor(self.store, nodes, behaviour or Scripted())
        self.clock = self.cluster.clock
        self.at(_LIMIT, self._endless)
        self.progress = Progress(self.trials, Console(file=io.StringIO()))
        self._said = io.StringIO()
        self._share = share
        self._given = {
            "pack": pack,
            "workers": workers,
            "checkpoint_seconds": checkpoint_seconds,
            "lease_seconds": lease_seconds,
            "tick_seconds": tick_seconds,
        }

    def run(self, driver: str = "first") -> Counts:
        """One run to its end, over all trials without a record; what it raises is let through."""
        left = [trial for trial in self.trials if not self.store.exists(record_name(trial.key))]
        self.progress = Progress(left, Console(file=self._said, width=200), quiet=self._quiet)
        given: dict[str, Any] = self._given
        shares, order = Shares(lambda trial: self._share), Order(Durations())
        Scheduler(self.cluster, self.store, shares, order, self.progress, driver=driver, **given).run(left)
        return self.progress.counts

    def _endless(self) -> None:
        raise AssertionError(f"not over after {_LIMIT:g} simulated seconds")

    def at(self, moment: float, action: Callable[[], object]) -> None:
        """Have something happen at a moment."""
        self.cluster.at(moment, action)

    def every(self, seconds: float, action: Callable[[], object], since: float = 0.0) -> None:
        """Have something happen again and again."""

        def act() -> None:
            action()
            self.every(seconds, action, self.clock.now())

        self.at(since + seconds, act)

    @property
    def said(self) -> str:
        """Everything a person was told."""
        return self._said.getvalue()

    def worker_of(self, trial: TrialJob) -> int:
        """The worker that was given this trial last."""
        return next(worker for worker, keys in reversed(self.cluster.handed_out) if trial.key in keys)

    def packs(self) -> list[list[str]]:
        """Keys of the trainings handed out, those for one worker together, features left out."""
        known = {trial.key for trial in self.trials}
        return [keys for _, keys in self.cluster.handed_out if known.issuperset(keys)]
