"""Three nodes with eight GPUs each, as Ray sees them, on this machine: what the driver hands out a second, against what Ray can."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import Result
from benchmarks.bench_store import MANY
from fod_bench.cluster.session import ray_session
from fod_bench.job import load_job
from fod_bench.plan import TrialJob, make_plan
from fod_bench.plan.durations import Durations
from fod_bench.records.record import Trial
from fod_bench.runs.messages import Attempt, Done, Prepared, SetTask, Status
from fod_bench.runs.order import Order
from fod_bench.runs.progress import Progress, stderr_console
from fod_bench.runs.resources import Share, Shares
from fod_bench.runs.scheduler import Scheduler
from fod_bench.store import open_store

NODES, GPUS, TRIALS = 3, 8, 5000
_OBJECT_STORE_BYTES = 100 << 20


class Idler:
    """A worker that says it is done."""

    def __init__(self, store_uri: str = "", share: Share | None = None, expected_object: str = "") -> None:
        import ray

        self._node = ray.get_runtime_context().get_node_id()

    def prepare(self, tasks: list[SetTask]) -> list[Prepared]:
        return [Prepared(False, 0) for _ in tasks]

    def train(self, tasks: list[tuple[Trial, Attempt]]) -> list[Done]:
        return [Done(trial.key, True) for trial, _ in tasks]

    def status(self) -> tuple[str, list[Status]]:
        return self._node, [Status()]


class Clock(Progress):
    """Notes when each trial was done, and how large the driver was then."""

    times: list[float]
    megabytes: list[float]

    def done(self, trial: TrialJob) -> None:
        super().done(trial)
        self.times.append(time.perf_counter())
        if len(self.times) % 100 == 0:
            self.megabytes.append(resident())


@contextmanager
def cluster() -> Iterator[str]:
    """Address of the cluster for as long as the block lasts; its head has nothing to train on."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_AUTH_MODE"] = "disabled"
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(NODES):
            made.add_node(num_cpus=GPUS, num_gpus=GPUS, object_store_memory=_OBJECT_STORE_BYTES)
        made.wait_for_nodes()
        yield made.address
    finally:
        made.shutdown()


def run() -> list[Result]:
    """Trials a second against Ray's own calls a second, and what the driver gains in memory meanwhile."""
    with tempfile.TemporaryDirectory(prefix="fod-bench-") as folder, cluster() as address:
        job = Path(folder) / "many.yaml"
        job.write_text(MANY)
        trials = list(make_plan(load_job(job), download=False).trials.values())[:TRIALS]
        clock = Clock(trials, stderr_console(), quiet=True)
        clock.times, clock.megabytes = [], []
        with ray_session(address):
            from fod_bench.cluster.ray_pool import RayPool  # Ray reads its settings when it is imported

            limit = calls_a_second()
            store = open_store(f"{folder}/store")
            Scheduler(
                RayPool(store.uri, "none", worker=Idler),
                store,
                Shares(lambda trial: Share(1, 1)),
                Order(Durations()),
                clock,
                driver="bench",
                checkpoint_seconds=10,
                lease_seconds=600,
            ).run(trials)
    assert len(clock.times) == TRIALS
    rate = (TRIALS - 1) / (clock.times[-1] - clock.times[0])
    print(f"trials a second: {rate:.0f}; Ray's own calls a second, one under way for each actor: {limit:.0f}")
    reached = max(rate / 100, rate / (0.8 * limit))
    return [
        Result(
            f"{TRIALS} trials on {NODES} nodes × {GPUS} GPUs, of 100 a second or of 80 % of Ray's calls",
            reached,
            1.0,
            "×",
        ),
        Result(
            "driver's memory gained over the last 4000 of them",
            clock.megabytes[-1] - clock.megabytes[9],
            20.0,
            "MB",
            False,
        ),
    ]


def calls_a_second() -> float:
    """Of as many actors as the cluster has GPUs, each with a call under way, which is answered at once: what Ray itself can."""
    import ray

    remote: Any = ray.remote
    kind = remote(num_cpus=1, num_gpus=1, concurrency_groups={"control": 1})(Idler)
    actors = [kind.remote() for _ in range(NODES * GPUS)]
    ray.get([actor.status.remote() for actor in actors])
    start, left = time.perf_counter(), TRIALS
    under_way = {actor.status.remote(): actor for actor in actors}
    while under_way:
        ended, _ = ray.wait(list(under_way), num_returns=1)
        for answer in ended:
            actor = under_way.pop(answer)
            ray.get(answer)
            left -= 1
            if left >= len(actors):
                under_way[actor.status.remote()] = actor
    seconds = time.perf_counter() - start
    for actor in actors:
        ray.kill(actor)
    return TRIALS / seconds


def resident() -> float:
    """Megabytes of this process."""
    found = re.search(r"VmRSS:\s*(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1e3
