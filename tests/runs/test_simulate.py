"""The simulated cluster is as strict as a real one: what would be a fault of the scheduler there is one here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fod_bench.plan import Plan, TrialJob
from fod_bench.records.failures import Failure
from fod_bench.records.names import record_name
from fod_bench.runs.executor import StatusReport, WorkEnded, WorkerLost
from fod_bench.runs.messages import Attempt, Done, SetTask, Taken
from fod_bench.runs.resources import NodeResources, Share
from fod_bench.runs.simulate import SimulatedExecutor
from fod_bench.runs.simulate.memory_store import MemoryStore
from tests.helpers.simulation import Scripted

ONE = Share(1, 0)
LEASE = 50.0


@pytest.fixture
def trial(plan_of: Callable[..., Plan]) -> TrialJob:
    (made,) = plan_of().trials.values()
    return made


class Cluster(SimulatedExecutor):
    """Two workers that have started, and the features of a trial."""

    def __init__(self, trial: TrialJob, features: bool = True) -> None:
        self.store = MemoryStore()
        super().__init__(self.store, [NodeResources(2)], Scripted(100.0))
        self.workers = [self.start(ONE, "node0"), self.start(ONE, "node0")]
        self.work_on = trial
        assert self.heard(10) == []
        if features and trial.wanted is not None:
            self.prepare(self.workers[0], [SetTask(trial.wanted.sets[0], [], Attempt("features", None, LEASE))])
            self.heard(30)

    def begin(self, worker: int, attempt: str, lost: str | None = None) -> None:
        self.train(worker, [(self.work_on.trial(10.0), Attempt(attempt, lost, LEASE))])

    def heard(self, seconds: float) -> list[Any]:
        """Everything but statuses, for so long."""
        end, found = self.clock.now() + seconds, []
        while self.clock.now() < end:
            found += [event for event in self.wait(end - self.clock.now()) if not isinstance(event, StatusReport)]
        return found


def test_work_takes_its_time_and_leaves_a_record(trial: TrialJob) -> None:
    cluster = Cluster(trial)
    cluster.begin(0, "first")
    assert cluster.heard(99) == [] and not cluster.store.exists(record_name(trial.key))
    assert cluster.heard(2) == [WorkEnded(0, [Done(trial.key, True)])] and cluster.store.exists(record_name(trial.key))
    cluster.begin(1, "second")
    assert cluster.heard(1) == [WorkEnded(1, [Done(trial.key, False)])], "it was there"


def test_a_status_says_how_far_it_is(trial: TrialJob) -> None:
    cluster = Cluster(trial)
    cluster.begin(1, "first")
    events = cluster.wait(75.0)
    told = {event.worker: event.statuses for event in events if isinstance(event, StatusReport)}
    assert told[0][0].doing == "idle"
    (status,) = told[1]
    assert (status.key, status.epoch, status.epochs, status.step, status.steps) == (trial.key, 1, 2, 50, 100)


def test_training_needs_features(trial: TrialJob) -> None:
    cluster = Cluster(trial, features=False)
    cluster.begin(0, "first")
    (ended,) = cluster.heard(1)
    (failure,) = ended.outcomes
    assert isinstance(failure, Failure) and failure.kind == "features"


def test_a_claim_keeps_others_out_until_its_attempt_is_known_to_be_lost_or_its_lease_is_over(trial: TrialJob) -> None:
    for lost, pause, taken in [(None, 0.0, True), ("other", 0.0, True), ("first", 0.0, False), (None, LEASE, False)]:
        cluster = Cluster(trial)
        cluster.begin(0, "first")
        cluster.heard(45)
        cluster.lose(0, "killed")
        assert cluster.heard(1 + pause) == [WorkerLost(0, "killed", "simulated: killed")]
        cluster.begin(1, "second", lost)
        (ended,) = cluster.heard(61)  # 40 of 100 seconds were in a checkpoint
        assert isinstance(ended.outcomes[0], Taken) is taken, (lost, pause)


@pytest.mark.parametrize("overtaken", [True, False])
def test_a_late_result_is_not_taken_once_another_has_taken_over(trial: TrialJob, overtaken: bool) -> None:
    cluster = Cluster(trial)
    cluster.begin(0, "first")
    cluster.heard(50)
    cluster.silence(0)
    cluster.kill(0)  # which it does not hear
    if overtaken:
        cluster.begin(1, "second", "first")
    assert cluster.heard(49) == []
    if overtaken:
        assert cluster.heard(2) == [WorkEnded(1, [Done(trial.key, True)])] and cluster.work.refused == 1
    else:
        assert cluster.heard(2) == [] and cluster.store.exists(record_name(trial.key))


def test_a_worker_waits_for_room_and_has_one_piece_of_work_at_a_time(trial: TrialJob) -> None:
    cluster = Cluster(trial)
    third = cluster.start(ONE, "node0")
    cluster.heard(100)
    assert cluster.node_of(third) is None
    cluster.kill(0)
    assert cluster.node_of(third) == "node0"
    cluster.begin(1, "first")
    with pytest.raises(AssertionError, match="worker 1 was given work while it had some"):
        cluster.begin(1, "second")
