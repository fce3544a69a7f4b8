"""What the driver costs: trials that do nothing, ten thousand of them, on as many workers as there are cores."""

from __future__ import annotations

import os
import re
import tempfile
import time
from pathlib import Path

from benchmarks import Result
from benchmarks.bench_store import MANY
from fod_bench.cluster.messages import Attempt, Done, Prepared, Status
from fod_bench.cluster.orchestrator import Orchestrator
from fod_bench.cluster.progress import Progress, stderr_console
from fod_bench.cluster.session import Share, ray_session
from fod_bench.features.request import FeatureRequest
from fod_bench.job import load_job
from fod_bench.plan import TrialJob, make_plan
from fod_bench.record import Trial
from fod_bench.store import open_store


class Idler:
    """A worker that says it is done."""

    def __init__(self, store_uri: str, share: Share, landmark: str) -> None:
        pass

    def prepare(self, request: FeatureRequest, kinds: list[str], attempt: Attempt) -> Prepared:
        return Prepared(False, 0)

    def train(self, trial: Trial, attempt: Attempt) -> Done:
        return Done(trial.key, True)

    def status(self) -> Status:
        return Status()


class Clock(Progress):
    """Notes when each trial was done, and how large the driver was then."""

    times: list[float]
    megabytes: list[float]

    def done(self, trial: TrialJob) -> None:
        super().done(trial)
        self.times.append(time.perf_counter())
        if len(self.times) % 100 == 0:
            self.megabytes.append(_resident())


def run() -> list[Result]:
    """Milliseconds a trial, and how the last thousand compare to the second: in time a trial, and in the driver's memory."""
    with tempfile.TemporaryDirectory(prefix="fod-bench-") as folder:
        job = Path(folder) / "many.yaml"
        job.write_text(MANY)
        plan = make_plan(load_job(job), download=False)
        clock = Clock(len(plan.trials), stderr_console(), quiet=True)
        clock.times, clock.megabytes = [], []
        with ray_session(None):
            Orchestrator(
                open_store(f"{folder}/store"),
                "none",
                Share(1, 0),
                clock,
                driver="bench",
                checkpoint_seconds=10,
                lease_seconds=60,
                worker=Idler,
            ).run(list(plan.trials.values()))
    times, cores = clock.times, os.cpu_count() or 1
    assert len(times) == 10_000
    second, last = times[2000] - times[1000], times[-1] - times[-1001]
    growth = clock.megabytes[-1] - clock.megabytes[9]
    return [
        Result(
            f"driver's time a trial, {cores} cores", (times[-1] - times[0]) / 10, 20.0, "ms", higher_is_better=False
        ),
        Result(
            "the same, last 1000 of 10 000 trials against the second", last / second, 1.3, "×", higher_is_better=False
        ),
        Result("memory gained over the last 9000 trials", growth, 20.0, "MB", higher_is_better=False),
    ]


def _resident() -> float:
    found = re.search(r"VmRSS:\s*(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1e3
