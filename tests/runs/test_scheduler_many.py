"""Whole sweeps on a simulated cluster while workers, nodes and the store come and go, by seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from fod_bench.plan import Plan
from fod_bench.records.names import record_name
from fod_bench.runs.resources import NodeResources
from fod_bench.runs.simulate import disturb
from tests.helpers.simulation import Scripted, Simulation

GRID = {"lambda1": [0.1, 0.5, 1, 3, 5], "lambda2": [0.1, 0.5, 1, 3, 5], "heads": [1, 2]}
"""50 rows."""
SET_APART = "without getting further; set apart"


def sweep(plan: Plan, seed: int, pack: int = 1) -> Simulation:
    """A sweep on four nodes of eight CPUs, of which something is lost every half minute."""
    nodes = [NodeResources(8)] * 4
    made = Simulation(plan.trials.values(), nodes, Scripted(60.0), pack=pack, tick_seconds=5.0)
    disturb(made.cluster, Random(seed), 30.0)
    for moment in (500, 5000, 9000):
        made.at(moment, lambda: made.cluster.work.lose_store(120.0))
    return made


def check(simulation: Simulation) -> None:
    """Every training has one record, or has lost its worker twice at one place; nothing is left undone."""
    counts = simulation.run()
    assert counts.left == 0 and counts.total == counts.recorded + len(counts.failed)
    assert all(SET_APART in reason for reason in counts.failed.values()) and len(counts.failed) < counts.total / 100
    recorded = {trial.name for trial in simulation.trials if simulation.store.exists(record_name(trial.key))}
    assert recorded == {trial.name for trial in simulation.trials} - counts.failed.keys()


def test_ten_thousand_trainings_with_workers_lost_by_the_hundred(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(seeds=list(range(100)), grid={**GRID, "epochs": [1, 2]})
    assert len(plan.trials) == 10_000
    simulation = sweep(plan, seed=7)
    check(simulation)
    begun = Counter(key for keys in simulation.packs() for key in keys)
    assert sum(times > 1 for times in begun.values()) > 500, "many were tried again"
    assert simulation.cluster.work.refused > 50, "late results were kept out"
    assert simulation.clock.now() < 1.5 * 10_000 * 60 / 32, "the nodes were kept busy"


@pytest.mark.parametrize("pack", [1, 4])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_course_of_faults_comes_to_the_same_end(plan_of: Callable[..., Plan], seed: int, pack: int) -> None:
    check(sweep(plan_of(["weave", "board", "tray"], seeds=[1, 2, 3], grid=GRID), seed, pack))


def test_one_seed_is_one_course(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(seeds=[1, 2, 3, 4], grid=GRID)
    one, same, other = sweep(plan, 1), sweep(plan, 1), sweep(plan, 2)
    for simulation in (one, same, other):
        simulation.run()
    assert one.said == same.said and one.cluster.handed_out == same.cluster.handed_out
    assert one.said != other.said
