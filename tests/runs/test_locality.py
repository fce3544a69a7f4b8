"""Features stay where they are: how often nodes fetch them and workers change them, against the longest training first alone."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from rich.console import Console

from fod_bench.plan import Plan, TrialJob
from fod_bench.plan.durations import Durations
from fod_bench.records.record import Trial
from fod_bench.runs import order
from fod_bench.runs.order import Order
from fod_bench.runs.progress import Progress
from fod_bench.runs.resources import NodeResources, Share, Shares
from fod_bench.runs.scheduler import Scheduler
from fod_bench.runs.simulate import Behaviour, SimulatedExecutor
from fod_bench.runs.simulate.memory_store import MemoryStore

NODES = [NodeResources(2)] * 4
ONE_CPU = Share(1, 0)


def seconds(epochs: int, image_size: int) -> float:
    """Of a training: on each set of features others than on the next."""
    return 6.0 * epochs * (image_size / 64) ** 0.5


class Known(Durations):
    """What trainings take is known beforehand."""

    def estimate(self, trial: TrialJob, *, gpu: bool, threads: float) -> float:
        return seconds(trial.settings.epochs, trial.settings.image_size)


class Timed(Behaviour):
    """And it is what they take."""

    def train_seconds(self, trial: Trial, share: Share) -> float:
        return seconds(trial.setting["epochs"], trial.setting["image_size"])


@dataclass
class Course:
    """What came of a run."""

    seconds: float
    fetched: int
    """Sets of features that nodes came to have, each set once on each node."""
    changed: int
    """How often a worker's next training was on other features."""


def course(trials: list[TrialJob]) -> Course:
    cluster = SimulatedExecutor(MemoryStore(), NODES, Timed())
    progress = Progress(trials, Console(file=io.StringIO()), quiet=True)
    shares = Shares(lambda trial: ONE_CPU)
    scheduler = Scheduler(
        cluster,
        MemoryStore(),
        shares,
        Order(Known()),
        progress,
        driver="test",
        checkpoint_seconds=10.0,
        lease_seconds=600.0,
        tick_seconds=1.0,
    )
    assert scheduler.run(trials) == [] and progress.counts.done == len(trials)
    wanted = {trial.key: trial.wanted.key for trial in trials if trial.wanted is not None}
    spans = sorted((span for span in cluster.spans if span.training), key=lambda span: span.since)
    work = [(span.worker, span.node, wanted[span.keys[0]]) for span in spans]
    last: dict[int, str] = {}
    changed = 0
    for worker, _, sets in work:
        changed += last.get(worker, sets) != sets
        last[worker] = sets
    return Course(max(span.until for span in spans), len({(node, sets) for _, node, sets in work}), changed)


@pytest.fixture
def trials(plan_of: Callable[..., Plan]) -> list[TrialJob]:
    """36 for each worker, on nine sets of features."""
    grid = {"epochs": [10, 12, 15, 18, 22, 27, 33, 40], "image_size": [64, 96, 128]}
    return list(plan_of(["weave", "board", "tray"], seeds=[1, 2, 3, 4], grid=grid).trials.values())


def test_short_trainings_stay_with_their_features_and_the_run_is_no_longer(
    trials: list[TrialJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = course(trials)
    monkeypatch.setattr(order, "SHORT_PART", 0.0)
    longest_first = course(trials)
    assert found.fetched < 0.9 * longest_first.fetched
    assert found.changed < 0.5 * longest_first.changed
    assert found.seconds < 1.02 * longest_first.seconds


def test_with_few_trainings_for_each_worker_the_longest_are_first_whatever_their_features(
    trials: list[TrialJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [trial for trial in trials if trial.seed == 1]
    found = course(few)
    monkeypatch.setattr(order, "SHORT_PART", 0.0)
    assert found == course(few)
