"""What is chosen by measurements that are made up: the choice is a function of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from fod_bench.job import Resources
from fod_bench.plan import Plan, TrialJob
from fod_bench.records.record import Counts
from fod_bench.runs.choice import (
    BETTER,
    MOST_PACK,
    NEVER,
    WORKER_BYTES,
    Candidate,
    Expected,
    Kind,
    Machine,
    choose,
    crew,
    expected,
    idling,
    kinds_of,
    last_end,
    machines_of,
    packs,
    search,
    shares,
)
from fod_bench.runs.messages import Attempt, Speed
from fod_bench.runs.resources import FILLED, LIBRARY_BYTES, NodeResources, Share
from fod_bench.runs.simulate import SimulatedExecutor
from tests.helpers.simulation import Scripted, Simulation

GIB = 2.0**30


@pytest.fixture
def trial(plan_of: Callable[..., Plan]) -> TrialJob:
    return next(iter(plan_of().trials.values()))


def machine(cpus: float = 4, nodes: int = 1, **has: Any) -> Machine:
    return Machine(NodeResources(cpus, **has), tuple(f"node{number}" for number in range(nodes)))


def kind(trial: TrialJob, trainings: int, steps: int = 100, tested: int = 0) -> Kind:
    """Of so many steps and test images each."""
    return Kind(trial, trainings, steps * trainings, tested * trainings)


def cores(number: int, pack: int = 1) -> Candidate:
    return Candidate(Share(float(number), 0.0), pack)


# What there is to choose from.


@pytest.mark.parametrize(
    ("cpus", "asked", "offered"),
    [(1, "auto", [1]), (2, "auto", [1, 2]), (6, "auto", [1, 2, 4, 6]), (6, 3.0, [3]), (0.5, 0.5, [0.5]), (2, 3.0, [])],
)
def test_a_trial_has_one_core_or_more_up_to_those_of_the_largest_machine(
    cpus: float, asked: Any, offered: list[float]
) -> None:
    found = shares(Resources(cpus=asked), [machine(cpus), machine(min(cpus, 1))], on_gpu=False)
    assert found == [Share(float(number), 0.0) for number in offered]


def test_a_gpu_is_whole_or_shared_as_far_as_there_are_cores() -> None:
    assert [share.gpus for share in shares(Resources(), [machine(8, gpus=1)], on_gpu=True)] == [1, 0.5, 0.25]
    assert shares(Resources(gpus=0.5, cpus=2), [machine(8, gpus=1)], on_gpu=True) == [Share(2, 0.5)]
    assert all(share.cpus == 1 for share in shares(Resources(cpus="auto"), [machine(8, gpus=1)], on_gpu=True))


def test_machines_are_told_apart_by_what_they_have_and_the_least_memory_counts() -> None:
    nodes = {
        "a": NodeResources(4, memory=9),
        "b": NodeResources(4, memory=7),
        "c": NodeResources(8),
        "head": NodeResources(0),
    }
    four, eight = machines_of(nodes)
    assert (four.names, four.node.memory, eight.names) == (("a", "b"), 7, ("c",))


@pytest.mark.parametrize(("cpus", "found"), [(1, [1, 2]), (2, [1, 2, 4, 5]), (4, [1, 2, 4, 8, 12])])
def test_packs_are_bounded_by_the_memory_that_each_worker_has(trial: TrialJob, cpus: int, found: list[int]) -> None:
    memory = 4 * (WORKER_BYTES + 2.5 * GIB)  # four workers: 2 trainings of 1 GiB each
    assert packs(Share(cpus, 0), "auto", [machine(4, memory=memory)], GIB, [kind(trial, 100)]) == found


def test_no_pack_is_left_where_the_memory_holds_no_training(trial: TrialJob) -> None:
    small = [machine(4, memory=4 * WORKER_BYTES + 3.5 * GIB)]
    assert packs(Share(1, 0), "auto", small, GIB, [kind(trial, 9)]) == []
    assert packs(Share(2, 0), "auto", small, GIB, [kind(trial, 9)]) == [1, 2]
    assert packs(Share(2, 0), 3, small, GIB, [kind(trial, 9)]) == [], "nor for the number that the job gives"
    assert packs(Share(4, 0), 3, small, GIB, [kind(trial, 9)]) == [3]


def test_packs_are_bounded_by_the_memory_of_a_gpu(trial: TrialJob) -> None:
    gpu = (4 * LIBRARY_BYTES + 16 * GIB) / FILLED
    gpus = [machine(8, gpus=1, gpu_memory=gpu)]
    many = [kind(trial, 1000)]
    assert packs(Share(1, 0.25), "auto", gpus, GIB, many)[-1] == 4
    assert packs(Share(1, 1), "auto", gpus, GIB, many)[-1] == MOST_PACK
    unknown = [machine(8, gpus=1)]
    assert packs(Share(1, 0.25), "auto", unknown, GIB, many) == [], "a GPU of unknown memory is not shared"
    assert packs(Share(1, 1), "auto", unknown, GIB, many)[-1] == MOST_PACK


def test_packs_leave_no_worker_idle_and_hold_no_more_than_can_be_packed(trial: TrialJob) -> None:
    assert packs(Share(1, 0), "auto", [machine(2)], GIB, [kind(trial, 6)]) == [1, 2, 3]
    assert packs(Share(2, 0), "auto", [machine(2)], GIB, [kind(trial, 6)]) == [1, 2, 4, 6]
    assert packs(Share(1, 0), "auto", [machine(2)], GIB, [kind(trial, 1)]) == [1]
    assert packs(Share(1, 0), "auto", [machine(1)], GIB, [kind(trial, 3), kind(trial, 2)]) == [1, 2, 3]
    assert packs(Share(1, 0), "auto", [machine(1)], GIB, [kind(_unpackable(trial), 9)]) == [1]


def _unpackable(trial: TrialJob) -> TrialJob:
    other = replace(trial)
    other.__dict__["kind"] = None
    return other


def test_as_many_are_measured_at_once_as_a_node_or_one_gpu_holds() -> None:
    assert crew(Share(1, 0), NodeResources(6), None) == 6
    assert crew(Share(4, 0), NodeResources(6), None) == 1
    assert crew(Share(1, 0), NodeResources(6), 2) == 2
    assert crew(Share(1, 0.25), NodeResources(64, 8), None) == 4
    assert crew(Share(1, 1), NodeResources(64, 8), None) == 1


def test_measured_are_the_kinds_that_most_of_the_time_goes_to(plan_of: Callable[..., Plan]) -> None:
    rows: dict[str, Any] = {name: {"layers": layers} for name, layers in zip("ABCDE", (1, 2, 3, 4, 5), strict=True)}
    plan = plan_of(variants=rows, seeds=[1, 2])
    seconds = {1: 1.0, 2: 50.0, 3: 60.0, 4: 1000.0, 5: 70.0}
    found = kinds_of(plan.trials.values(), lambda trial: seconds[trial.settings.training()["layers"]])
    assert [(one.trial.settings.training()["layers"], one.trainings) for one in found] == [(4, 2)]
    seconds[4] = 200.0
    found = kinds_of(plan.trials.values(), lambda trial: seconds[trial.settings.training()["layers"]])
    assert [one.trial.settings.training()["layers"] for one in found] == [4, 5, 3]
    (one, *_) = found
    counts = one.trial.counts
    assert isinstance(counts, Counts)
    assert one.steps == 2 * one.trial.settings.steps(counts) and one.tested == 2 * (
        counts.test_good + counts.test_defect
    )


# What is expected of it.


class PackTimes(SimulatedExecutor):
    """Whose packs take a minute for each of their trainings."""

    def train(self, worker: int, tasks: Sequence[tuple[Any, Attempt]]) -> None:
        self._behaviour = Scripted(60.0 * len(tasks))
        super().train(worker, tasks)


@pytest.mark.parametrize("pack", [1, 2, 3, 16])
def test_the_last_training_ends_as_in_a_run(plan_of: Callable[..., Plan], pack: int) -> None:
    """The scheduler itself is the slow twin."""
    for trainings, workers in product((1, 2, 5, 6, 7, 12), (1, 2, 3, 4)):
        simulation = Simulation(list(plan_of(seeds=list(range(trainings))).trials.values()), pack=pack)
        simulation.cluster = PackTimes(simulation.store, [NodeResources(workers)])
        simulation.run()
        spans = [span for span in simulation.cluster.spans if span.training]
        took = max(span.until for span in spans) - min(span.since for span in spans)
        assert last_end(trainings, workers, pack) == pytest.approx(took / 60, abs=0.1), (trainings, workers)


def test_all_end_when_the_last_has(trial: TrialJob) -> None:
    speed = Speed(0.02, 0.0, 1)  # of a pack of two
    told = expected(cores(1, 2), [kind(trial, 6)], {(0, 0): speed}, [machine(2)], None)
    assert told.even == pytest.approx(6 / 2)
    assert told.whole == pytest.approx(4), "one worker has two packs, the other stands idle for the last"


def test_steps_of_a_pack_are_shared_and_evaluations_are_not(trial: TrialJob) -> None:
    speeds = {(0, 0): Speed(0.3, 0.02, 5)}
    told = expected(cores(1, 4), [kind(trial, 8, steps=100, tested=10)], speeds, [machine(2)], None)
    assert told.whole == pytest.approx((8 * 100 * 0.3 / 4 + 8 * 10 * 5 * 0.02) / 2)


def test_what_cannot_be_packed_takes_its_steps_alone(trial: TrialJob) -> None:
    speeds = {(0, 0): Speed(0.3, 0.0, 1)}
    told = expected(cores(1, 4), [kind(_unpackable(trial), 8)], speeds, [machine(2)], None)
    assert told.even == pytest.approx(8 * 100 * 0.3 / 2)


def test_faster_machines_do_more_and_kinds_add_up(trial: TrialJob) -> None:
    speeds = {(0, 0): Speed(0.01, 0.0, 1), (0, 1): Speed(0.02, 0.0, 1)}
    there = [machine(2), machine(4, nodes=3)]
    told = expected(cores(1), [kind(trial, 80)], speeds, there, None)
    assert told.even == pytest.approx(80 / (2 / 1 + 12 / 2))
    both = expected(
        cores(1),
        [kind(trial, 80)] * 2,
        speeds | {(1, 0): Speed(0.01, 0.0, 1), (1, 1): Speed(0.02, 0.0, 1)},
        there,
        None,
    )
    assert both.even == pytest.approx(2 * told.even)
    halved = expected(cores(1), [kind(trial, 80)], speeds, there, 7)
    assert halved.even == pytest.approx(2 * told.even), "fewer workers than the machines hold"


def test_what_does_not_do_on_one_machine_is_never_chosen(trial: TrialJob) -> None:
    there = [machine(2), machine(4)]
    assert expected(cores(1), [kind(trial, 8)], {(0, 0): Speed(1, 0, 1), (0, 1): None}, there, None) == NEVER
    assert expected(cores(8), [kind(trial, 8)], {}, there, None) == NEVER
    assert choose({cores(1): NEVER}) is None


# What is tried, and what is taken.


def test_the_best_is_taken_and_among_alike_the_first() -> None:
    assert choose({cores(1): Expected(9, 10), cores(1, 2): Expected(7, 8), cores(2): Expected(8, 9)}) == cores(1, 2)
    hardly = 10 * (BETTER + 0.01)
    assert choose({cores(1): Expected(10, 10), cores(1, 2): Expected(hardly, hardly), cores(2): NEVER}) == cores(1)
    assert choose({cores(1): NEVER, cores(2): Expected(5, 5)}) == cores(2)


@pytest.mark.parametrize(
    ("overhead", "work", "parallel", "trainings"),
    list(product((0.0, 0.2, 1.0, 5.0), (0.2, 1.0), (0.5, 0.8, 1.0), (1, 3, 6, 100))),
)
def test_trying_some_finds_the_best_of_all(
    trial: TrialJob, overhead: float, work: float, parallel: float, trainings: int
) -> None:
    """Over steps that have a fixed part, which a pack shares, and a part that threads divide more or less well."""
    there, members = [machine(8)], [kind(trial, trainings)]

    def told(candidate: Candidate) -> Expected:
        together = members[0].together(candidate.pack)
        speed = Speed((overhead + work * together) / candidate.share.cpus**parallel, 0.0, 1)
        return expected(candidate, members, {(0, 0): speed}, there, None)

    def packs_of(share: Share) -> list[int]:
        return packs(share, "auto", there, 0.0, members)

    offered = shares(Resources(cpus="auto"), there, on_gpu=False)
    tried = search(offered, packs_of, told, lambda one: idling(one, members, one.share.fit([there[0].node])))
    taken = choose(tried)
    assert taken is not None
    everything = [told(Candidate(share, pack)).whole for share in offered for pack in packs_of(share)]
    assert tried[taken].whole <= min(everything) / BETTER**2


def test_what_gets_worse_is_not_tried_further() -> None:
    asked: list[Candidate] = []

    def told(candidate: Candidate) -> Expected:
        asked.append(candidate)
        seconds = 10.0 * candidate.share.cpus
        return Expected(seconds, seconds)

    offered = [Share(float(cpus), 0.0) for cpus in (1, 2, 4, 8)]
    search(offered, lambda share: [1, 2, 4], told)
    assert asked == [cores(1), cores(1, 2)], "20 s are no better than 10 s, even if nobody idles"


def test_a_share_that_does_not_do_is_followed_by_the_next() -> None:
    seconds = {1: math.inf, 2: math.inf, 4: 3.0, 8: 9.0}
    offered = [Share(float(cpus), 0.0) for cpus in seconds]
    tried = search(offered, lambda share: [1], lambda one: Expected(*[seconds[int(one.share.cpus)]] * 2))
    assert choose(tried) == cores(4)


def test_it_ends_when_it_has_been_long_enough_with_one_at_least() -> None:
    tried = search([Share(1, 0), Share(2, 0)], lambda share: [1, 2], lambda one: Expected(1, 1), enough=lambda: True)
    assert list(tried) == [cores(1)]
