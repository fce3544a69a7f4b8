"""What the scheduler does with trials that share a worker: with each by itself when the worker answers, and when it is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fod_bench.plan import Plan, TrialJob
from fod_bench.records.failures import Failure
from fod_bench.records.names import record_name
from fod_bench.records.record import Trial
from fod_bench.runs.executor import LossKind
from fod_bench.runs.resources import NodeResources, Share
from tests.helpers.simulation import Scripted, Simulation

BEGUN = 28.0
"""When the pack begins: a worker has started and prepared the features."""


@pytest.fixture
def trials(plan_of: Callable[..., Plan]) -> list[TrialJob]:
    """Four that can share their steps."""
    return list(plan_of(seeds=[1, 2, 3, 4]).trials.values())


def test_each_trial_of_a_pack_is_settled_by_itself(trials: list[TrialJob]) -> None:
    first, second, third, fourth = (trial.key for trial in trials)
    answers = {
        second: Failure("diverged: so", "", "diverged"),
        third: Failure("out of GPU memory", "", "memory"),
        fourth: Failure("RuntimeError: allocation failed", ""),
    }

    def fails(trial: Trial, share: Share, together: int) -> Failure | None:
        return answers.get(trial.key) if together > 1 else None

    simulation = Simulation(trials, behaviour=Scripted(fails=fails), pack=4)
    counts = simulation.run()
    assert counts.done == 3 and list(counts.failed) == [trials[1].name]
    assert simulation.packs()[0] == [first, second, third, fourth]
    assert sorted(simulation.packs()[1:]) == sorted([[third], [fourth]]), (
        "what others may be to blame for is tried alone"
    )
    assert f"again     {trials[3].name}: RuntimeError: allocation failed; now by itself" in simulation.said


def test_what_fails_alone_too_has_failed(trials: list[TrialJob]) -> None:
    faulty = trials[0].key
    answer = Failure("RuntimeError: so", "")
    behaviour = Scripted(fails=lambda trial, share, together: answer if trial.key == faulty else None)
    simulation = Simulation(trials, behaviour=behaviour, pack=4)
    counts = simulation.run()
    assert counts.done == 3 and list(counts.failed) == [trials[0].name]
    assert [keys for keys in simulation.packs() if faulty in keys] == [simulation.packs()[0], [faulty]]


def test_a_lost_workers_trials_go_on_one_by_one_and_what_has_a_record_is_done(trials: list[TrialJob]) -> None:
    """Each goes on from its own checkpoint, and no lease is waited for."""
    first = trials[0].key
    simulation = Simulation(trials[:3], pack=4, lease_seconds=600)

    def strike() -> None:
        simulation.store.put(record_name(first), b"{}")
        simulation.cluster.lose(simulation.worker_of(trials[0]), "killed")

    simulation.at(BEGUN + 30, strike)
    counts = simulation.run()
    assert (counts.done, counts.elsewhere) == (3, 0)
    pack, *later = simulation.packs()
    assert len(pack) == 3 and sorted(later) == sorted([trial.key] for trial in trials[1:3]), "one may be what killed it"
    assert simulation.clock.now() < BEGUN + 30 + 15 + 2 * 40


def test_each_of_them_has_got_as_far_as_it_has(trials: list[TrialJob]) -> None:
    """One that had got further when its worker was killed again is tried once more; one that had not is set apart."""
    fast, slow = trials[:2]

    class Uneven(Scripted):
        def train_seconds(self, trial: Trial, share: Share) -> float:
            return 200.0 if trial.key == fast.key else 1e6

    simulation = Simulation([fast, slow], behaviour=Uneven(), pack=2, checkpoint_seconds=1)

    def strike() -> None:
        for worker in simulation.cluster.working():
            simulation.cluster.lose(worker, "killed")

    simulation.every(40, strike, since=BEGUN)
    counts = simulation.run()
    assert counts.done == 1 and list(counts.failed) == [slow.name]


@pytest.mark.parametrize("kind", ["node", "unreachable"])
def test_a_lost_nodes_trials_stay_together(trials: list[TrialJob], kind: LossKind) -> None:
    simulation = Simulation(trials[:3], pack=4)
    simulation.at(BEGUN + 30, lambda: simulation.cluster.lose(simulation.worker_of(trials[0]), kind))
    assert simulation.run().done == 3
    assert [len(pack) for pack in simulation.packs()] == [3, 3], "the machine was to blame"


def test_a_pack_that_is_told_to_end_goes_on_elsewhere_as_one(trials: list[TrialJob]) -> None:
    simulation = Simulation(trials, [NodeResources(1)], pack=4, checkpoint_seconds=1000)
    simulation.at(BEGUN + 30, lambda: simulation.cluster.leave_node("node0"))
    simulation.at(BEGUN + 30, lambda: simulation.cluster.add_node(NodeResources(1)))
    assert simulation.run().done == 4
    assert [len(pack) for pack in simulation.packs()] == [4, 4]


def test_no_worker_takes_what_others_would_stand_idle_for(trials: list[TrialJob]) -> None:
    simulation = Simulation(trials, [NodeResources(2)], pack=4)
    assert simulation.run().done == 4
    assert sorted(len(pack) for pack in simulation.packs()) == [2, 2]


def test_what_does_not_fit_a_gpu_is_tried_alone_in_its_share_and_then_with_all_of_it(trials: list[TrialJob]) -> None:
    full = Failure("out of GPU memory", "", "memory")
    behaviour = Scripted(fails=lambda trial, share, together: full if share.gpus < 1 else None)
    simulation = Simulation(trials, [NodeResources(4, 1)], behaviour, share=Share(1, 0.5), pack=2)
    assert simulation.run().done == 4
    assert sorted(len(pack) for pack in simulation.packs()) == [1] * 4 + [1] * 4 + [2] * 2


def test_with_a_whole_gpu_nothing_is_packed(trials: list[TrialJob]) -> None:
    full = Failure("out of GPU memory", "", "memory")
    behaviour = Scripted(fails=lambda trial, share, together: full if share.gpus < 1 else None)
    simulation = Simulation(trials[:2], [NodeResources(4, 1)], behaviour, share=Share(1, 0.5), pack=2)
    assert simulation.run().done == 2
    assert [len(pack) for pack in simulation.packs()] == [1] * 4, "each in its share, then each by itself"


def test_a_pack_is_filled_from_several_categories(plan_of: Callable[..., Plan]) -> None:
    """Their features are prepared first, where one category has too few trainings for it."""
    trials = list(plan_of(["weave", "board", "tray", "wood"], seeds=[1]).trials.values())
    simulation = Simulation(trials, [NodeResources(1)], pack=4)
    assert simulation.run().done == 4
    assert [len(pack) for pack in simulation.packs()] == [4]
