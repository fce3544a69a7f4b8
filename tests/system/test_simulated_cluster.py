"""A simulation against a real Ray of several nodes, whose workers do nothing but wait: both take about the same time."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fod_bench.cluster.session import ray_session
from fod_bench.plan import Plan, TrialJob
from fod_bench.plan.durations import Durations
from fod_bench.records.record import Trial
from fod_bench.runs.executor import Event, StatusReport
from fod_bench.runs.messages import Attempt, Done, Prepared, SetTask, Status
from fod_bench.runs.order import Order
from fod_bench.runs.progress import Progress
from fod_bench.runs.resources import NodeResources, Share, Shares
from fod_bench.runs.scheduler import Scheduler
from fod_bench.runs.simulate import Behaviour, SimulatedExecutor
from fod_bench.runs.simulate.memory_store import MemoryStore
from tests.helpers.commands import LIMIT, Bench
from tests.helpers.ray_nodes import SETTINGS, Nodes
from tests.helpers.simulation import planned

ROOT = Path(__file__).parents[2]
NODES = 3
PREPARE_SECONDS = 1.0


def train_seconds(trial: Trial) -> float:
    """Of a training that only waits; long against what a busy machine takes to answer."""
    return float(trial.setting["epochs"]) / 10


class Waiter:
    """A worker whose work is waiting."""

    def __init__(self, store_uri: str, share: Share, expected_object: str) -> None:
        import ray

        self._node = ray.get_runtime_context().get_node_id()

    def prepare(self, tasks: list[SetTask]) -> list[Prepared]:
        time.sleep(PREPARE_SECONDS)
        return [Prepared(True, 0) for _ in tasks]

    def train(self, tasks: list[tuple[Trial, Attempt]]) -> list[Done]:
        time.sleep(sum(train_seconds(trial) for trial, _ in tasks))
        return [Done(trial.key, True) for trial, _ in tasks]

    def status(self) -> tuple[str, list[Status]]:
        return self._node, [Status()]


class Planned(Behaviour):
    """The same, simulated."""

    startup_seconds = 0.0
    status_seconds = 0.0

    def prepare_seconds(self, request: object, share: Share) -> float:
        return PREPARE_SECONDS

    def train_seconds(self, trial: Trial, share: Share) -> float:
        return train_seconds(trial)


def scheduled(executor: Any, trials: list[TrialJob]) -> None:
    shares, progress = Shares(lambda trial: Share(1, 0)), Progress(trials, Console(file=io.StringIO()))
    given: dict[str, Any] = {"driver": "test", "checkpoint_seconds": 10.0, "lease_seconds": 600.0}
    left = Scheduler(executor, MemoryStore(), shares, Order(Durations()), progress, **given).run(trials)
    assert left == [] and progress.counts.done == len(trials)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.chdir(tmp_path)
    return planned(tmp_path, ["weave", "board"], seeds=[1, 2], grid={"epochs": [10, 15, 20, 30, 60]})


def test_a_simulation_takes_as_long_as_a_real_cluster_within_fifteen_percent(
    bench: Bench, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    nodes = Nodes(bench, {"PYTHONPATH": str(ROOT)})  # workers find `Waiter` in this file
    nodes.add(NODES)
    trials = list(plan.trials.values())
    with ray_session(nodes.address):
        from fod_bench.cluster.ray_pool import RayPool

        class Together(RayPool):
            """Tells nothing of its workers until all have started, which on a busy machine takes very different times."""

            held: list[Event] = []  # noqa: RUF012
            began = 0.0

            def wait(self, seconds: float) -> list[Event]:
                events = super().wait(seconds)
                if self.began:
                    return events
                self.held += events
                assert self.clock.now() < given_up, f"the workers did not all start: {self.held}"
                if len({event.worker for event in self.held if isinstance(event, StatusReport)}) < NODES:
                    return []
                self.began = self.clock.now()
                return self.held

        given_up = time.monotonic() + LIMIT
        pool = Together("memory", "nothing", worker=Waiter)
        there = {name for name, node in pool.nodes().items() if node.cpus}
        scheduled(pool, trials)
        real = pool.clock.now() - pool.began
    assert len(there) == NODES
    cluster = SimulatedExecutor(MemoryStore(), [NodeResources(1)] * NODES, Planned())
    scheduled(cluster, trials)
    simulated = max(span.until for span in cluster.spans)
    assert simulated == pytest.approx(real, rel=0.15)
