"""What happens to a simulated cluster by chance; a seed decides."""

from __future__ import annotations

from functools import partial
from random import Random

from fod_bench.runs.executor import LossKind
from fod_bench.runs.simulate.executor import SimulatedExecutor

REPLACED_SECONDS = 60.0
"""From the loss of a node to another in its place."""


def disturb(cluster: SimulatedExecutor, random: Random, mean_seconds: float) -> None:
    """From now on, lose or cut off working workers and their nodes by chance; a lost node is replaced after a minute."""

    def strike() -> None:
        working = cluster.working()
        if working:
            _strike(cluster, random.choice(working), random.randrange(10))
        disturb(cluster, random, mean_seconds)

    cluster.at(cluster.clock.now() + random.expovariate(1 / mean_seconds), strike)


def _strike(cluster: SimulatedExecutor, worker: int, number: int) -> None:
    name = cluster.node_of(worker)
    if number == 9 and name is not None:
        resources = cluster.nodes()[name]
        cluster.lose_node(name)
        cluster.at(cluster.clock.now() + REPLACED_SECONDS, partial(cluster.add_node, resources))
    elif number == 8:
        cluster.silence(worker)
    else:
        kinds: list[LossKind] = ["killed", "killed", "memory", "unreachable"]
        cluster.lose(worker, kinds[number % 4])
