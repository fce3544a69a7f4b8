"""What the driver costs: trials that do nothing, ten thousand of them on Ray; as many simulated ones while workers are lost; and
the way to the first trial of a job half done.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from benchmarks import Result
from benchmarks.bench_cluster import Clock, Idler
from benchmarks.bench_store import MANY
from fod_bench.cluster.ray_pool import RayPool
from fod_bench.cluster.session import ray_session
from fod_bench.job import load_job
from fod_bench.machine import system
from fod_bench.plan import Plan, make_plan
from fod_bench.plan.durations import Durations
from fod_bench.records.names import record_name
from fod_bench.runs.order import Order
from fod_bench.runs.progress import stderr_console
from fod_bench.runs.resources import NodeResources, Share, Shares
from fod_bench.runs.scheduler import Scheduler
from fod_bench.runs.simulate import disturb
from fod_bench.store import Store, open_store
from tests.helpers.simulation import Scripted, Simulation


def run() -> list[Result]:
    """Milliseconds a trial, and how the last thousand compare to the second: in time a trial, and in the driver's memory."""
    with tempfile.TemporaryDirectory(prefix="fod-bench-") as folder:
        job = Path(folder) / "many.yaml"
        job.write_text(MANY)
        plan = make_plan(load_job(job), download=False)
        clock = Clock(list(plan.trials.values()), stderr_console(), quiet=True)
        clock.times, clock.megabytes = [], []
        with ray_session(None):
            store = open_store(f"{folder}/store")
            Scheduler(
                RayPool(store.uri, "none", worker=Idler),
                store,
                Shares(lambda trial: Share(1, 0)),
                Order(Durations()),
                clock,
                driver="bench",
                checkpoint_seconds=10,
                lease_seconds=60,
            ).run(list(plan.trials.values()))
    times, cores = clock.times, system.cores()
    assert len(times) == 10_000
    second, last = times[2000] - times[1000], times[-1] - times[-1001]
    growth = clock.megabytes[-1] - clock.megabytes[9]
    return [
        _resume(),
        _simulated(plan),
        Result(
            f"driver's time a trial, {cores} cores", (times[-1] - times[0]) / 10, 20.0, "ms", higher_is_better=False
        ),
        Result(
            "the same, last 1000 of 10 000 trials against the second", last / second, 1.3, "×", higher_is_better=False
        ),
        Result("memory gained over the last 9000 trials", growth, 20.0, "MB", higher_is_better=False),
    ]


def _simulated(plan: Plan) -> Result:
    """Processor seconds for five hours on 32 simulated workers, one of which is lost, or its node, every half minute."""
    simulation = Simulation(plan.trials.values(), [NodeResources(8)] * 4, Scripted(60.0), tick_seconds=1.0, quiet=True)
    disturb(simulation.cluster, Random(7), 30.0)
    start = time.process_time()
    counts = simulation.run()
    assert counts.left == 0
    return Result(
        "10 000 simulated trials with workers lost", time.process_time() - start, 20.0, "s", higher_is_better=False
    )


def _resume() -> Result:
    """Seconds from the command to the first training at work, of a job of 1000 of which ten are left; the faster of two."""
    # Workers of a killed driver live for some seconds, and write.
    with tempfile.TemporaryDirectory(prefix="fod-bench-", ignore_cleanup_errors=True) as folder:
        job = Path(folder) / "many.yaml"
        job.write_text(MANY.replace("seeds: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]", "seeds: [1]"))
        plan, store = make_plan(load_job(job), download=False), open_store(f"{folder}/store")
        assert len(plan.trials) == 1000
        for key in list(plan.trials)[10:]:
            store.put(record_name(key), b"{}")  # only that it is there is asked before the report
        command = [sys.executable, "-m", "fod_bench.cli.app", "run", str(job), "--store", store.uri]
        seconds = [_to_first_trial(command, store, set(plan.trials)) for _ in range(2)]
    return Result("resume of 1000 trainings, to the first at work", min(seconds), 10.0, "s", higher_is_better=False)


def _to_first_trial(command: list[str], store: Store, keys: set[str]) -> float:
    start = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        while not any(info.name.split("/")[1] in keys for info in store.list("claims/")):
            assert process.poll() is None, "the run ended before its first training"
            time.sleep(0.05)
        seconds = time.perf_counter() - start
        os.killpg(process.pid, signal.SIGKILL)
    for info in list(store.list("claims/")):
        store.delete(info.name)
    return seconds
