"""Where workers are started and which are let go, and what each training runs on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from fod_bench.errors import ClusterError
from fod_bench.job import Resources
from fod_bench.plan import Plan
from fod_bench.plan.durations import Durations
from fod_bench.runs.placement import Room, workers_to_end, workers_to_start
from fod_bench.runs.resources import FILLED, LIBRARY_BYTES, MOST_PER_GPU, NodeResources, Share, share_of, shares_of
from fod_bench.runs.slot import Slot
from tests.helpers.simulation import Simulation

CPU, GPU, PART = Share(1, 0), Share(1, 1), Share(1, 0.25)
MIXED = {"gpus": NodeResources(4, 2), "cpus": NodeResources(3)}


def test_a_part_of_a_gpu_is_a_part_of_one() -> None:
    room = Room(NodeResources(16, 2))
    assert [room.take(Share(1, 0.4)) for _ in range(5)] == [True] * 4 + [False]
    assert Share(1, 0.4).fit([NodeResources(16, 2)]) == 4, "as counted without taking any"
    assert not room.take(GPU)


def test_workers_with_gpus_come_first_and_those_without_go_to_nodes_that_have_none() -> None:
    started = workers_to_start(MIXED, [], {CPU: 4, GPU: 5}, None)
    assert started == [(GPU, "gpus"), (GPU, "gpus"), *[(CPU, "cpus")] * 3, (CPU, "gpus")]
    assert workers_to_start(MIXED, [], {CPU: 9, GPU: 5}, 3) == started[:3]


def test_parts_of_gpus_are_spread_over_nodes() -> None:
    nodes = {name: NodeResources(8, 1) for name in "abcd"}
    assert Counter(name for _, name in workers_to_start(nodes, [], {PART: 8}, None)) == dict.fromkeys("abcd", 2)


def test_what_is_there_counts(plan_of: Callable[..., Plan]) -> None:
    slots = [Slot(0, GPU, "gpus"), Slot(1, CPU, "cpus"), Slot(2, CPU, "gone")]
    assert workers_to_start(MIXED, slots, {CPU: 3, GPU: 1}, None) == [(CPU, "cpus")]


def test_workers_that_nothing_is_left_for_are_let_go_from_idle_nodes_first() -> None:
    slots = [Slot(number, CPU, node, started=True) for number, node in enumerate("aabb")]
    slots[0].work = (None,)  # type: ignore[assignment]
    assert [slot.worker for slot in workers_to_end(slots, {CPU: 2})] == [2, 3]
    assert [slot.worker for slot in workers_to_end(slots, {})] == [2, 3, 1], "what is at work ends it"
    slots.append(Slot(9, CPU, "a"))
    assert [slot.worker for slot in workers_to_end(slots, {CPU: 4})] == [9], "one that has not started is no loss"


class TestShares:
    ROWS = {"FOD": {}, "PaDiM": {"method": "padim"}, "cost": {"measure": "cost"}, "cheap": {"method": "padim"}}  # noqa: RUF012
    LARGE = (NodeResources(64, 2, 0, 80 * 2.0**30), NodeResources(16))

    def _shares(self, plan: Plan, nodes: tuple[NodeResources, ...], **resources: float) -> dict[str, Share]:
        shares = shares_of(Resources(**resources), nodes, list(plan.trials.values()), Durations())
        return {trial.rows[0]: shares.of(trial) for trial in plan.trials.values()}

    @pytest.fixture
    def plan(self, plan_of: Callable[..., Plan]) -> Plan:
        rows = {"FOD": {}, "PaDiM": {"method": "padim"}, "cost": {"measure": "cost"}}
        return plan_of(seeds=list(range(60)), variants=rows)

    def test_short_trainings_share_a_gpu_where_its_memory_is_known(self, plan: Plan) -> None:
        found = self._shares(plan, self.LARGE)
        assert found == {"FOD": Share(1, 1 / MOST_PER_GPU), "PaDiM": CPU, "cost": GPU}
        unknown = (NodeResources(64, 2), NodeResources(16))
        assert self._shares(plan, unknown)["FOD"] == GPU
        silent = (*self.LARGE, NodeResources(64, 2))
        assert self._shares(plan, silent)["FOD"] == Share(1, 1 / MOST_PER_GPU), (
            "one that has not answered changes nothing"
        )

    def test_and_not_where_memory_or_cpus_do_not_hold_several_or_there_are_few(
        self, plan: Plan, plan_of: Callable[..., Plan]
    ) -> None:
        assert self._shares(plan, (NodeResources(64, 2, 0, 2.0 * 2**30),))["FOD"] == GPU
        assert self._shares(plan, (NodeResources(4, 2, 0, 80 * 2.0**30),))["FOD"] == Share(1, 0.5)
        assert self._shares(plan, (NodeResources(64, 64, 0, 80 * 2.0**30),))["FOD"] == GPU
        assert self._shares(plan_of(seeds=[1, 2]), self.LARGE)["FOD"] == GPU

    def test_memory_has_to_hold_whole_packs_where_they_share_steps(self, plan: Plan) -> None:
        fod = next(trial for trial in plan.trials.values() if trial.rows == ["FOD"])
        assert fod.counts is not None
        memory = (LIBRARY_BYTES + 2 * fod.settings.work(fod.counts).memory) * 4 / FILLED
        nodes, trials = (NodeResources(64, 2, 0, memory + 1),), list(plan.trials.values())
        packed = {
            pack: shares_of(Resources(), nodes, trials, Durations(), pack=pack).of(fod).gpus for pack in (1, 2, 2000)
        }
        assert packed[1] == packed[2] == 1 / MOST_PER_GPU and packed[2000] > packed[2]

    def test_a_long_one_among_short_ones_has_a_gpu_to_itself(self, plan_of: Callable[..., Plan]) -> None:
        rows = {"FOD": {}, "long": {"epochs": 1000}}
        plan = plan_of(seeds=list(range(60)), variants=rows)
        long = [trial for trial in plan.trials.values() if trial.rows == ["long"]][:1]
        trials = [trial for trial in plan.trials.values() if trial.rows == ["FOD"]] + long
        shares = shares_of(Resources(), self.LARGE, trials, Durations())
        assert shares.of(trials[0]) == Share(1, 0.25) and shares.of(long[0]) == GPU

    def test_what_the_job_says_holds_for_all(self, plan: Plan) -> None:
        assert set(self._shares(plan, self.LARGE, gpus=0.5).values()) == {Share(1, 0.5)}
        assert set(self._shares(plan, (NodeResources(8),)).values()) == {CPU}

    def test_on_a_cluster_that_grows_a_share_may_come_but_not_be_guessed(self) -> None:
        head = [NodeResources(0)]
        assert share_of(Resources(gpus=1), head, grows=True) == GPU
        with pytest.raises(ClusterError, match=r"no node yet that trains.*--set resources.gpus=1, or 0"):
            share_of(Resources(), head, grows=True)
        with pytest.raises(ClusterError, match="which no machine of the cluster has"):
            share_of(Resources(gpus=1), head)


class TestScheduled:
    """On a simulated cluster."""

    def test_as_work_ends_workers_are_let_go_and_nodes_are_asked_for_no_more(
        self, plan_of: Callable[..., Plan]
    ) -> None:
        trials = list(plan_of(seeds=[1, 2, 3, 4]).trials.values())
        simulation, asked = Simulation(trials, [NodeResources(3)]), []
        simulation.every(1.0, lambda: asked.append(sum(simulation.cluster.requested.values())))
        assert simulation.run().done == 4
        assert asked[20] == 4 and asked[110] == 1, "one is left in the second round"
        assert simulation.cluster.requested == {}

    def test_a_node_that_is_lost_before_its_workers_have_started_is_no_fault_of_theirs(
        self, plan_of: Callable[..., Plan]
    ) -> None:
        simulation = Simulation(list(plan_of().trials.values()))
        for moment in (2.0, 30.0, 60.0, 90.0):
            simulation.at(moment, lambda: simulation.cluster.lose_node(list(simulation.cluster.nodes())[-1]))
            simulation.at(moment + 20, lambda: simulation.cluster.add_node(NodeResources(1)))
        assert simulation.run().done == 1
