"""A bucket beside a bare boto3 transfer to the same server, a plan against 10 000 records, and 5 GB through little memory.

The server is moto; `FOD_BENCH_BENCH_SERVER=ceph` takes a real Ceph gateway, whose packages `make test-ceph` installs. The 5 GB
go through Swift, which keeps them on disk: moto takes seconds for each range of an object so large.
"""

from __future__ import annotations

import io
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import Result
from fod_bench.job import load_job
from fod_bench.machine.process import ProcessId
from fod_bench.plan import make_plan, summarize
from fod_bench.records.names import record_name, state_name
from fod_bench.records.state import FLUSH_SECONDS, DriverState, Task
from fod_bench.store import open_store
from tests.helpers.s3_servers import BUCKET, Server, moto
from tests.helpers.s3_swift import swift

_MEGABYTES = 64
_ROUNDS = 7
_WEIGHTS = int(os.environ.get("FOD_BENCH_BENCH_WEIGHTS", "0"))
"""Further objects beside each record: moto takes longer for a page the more it holds, a real server does not."""

MANY = """
name: many
datasets:
  drawn:
    layout: synthetic
    categories: [weave]
    synthetic: {train: 6, test_good: 3, test_defect_per_type: 1, size: 64}
settings: {weights: random, backbone: resnet18, image_size: 64, d_model: {8: 16, 16: 16}}
grid:
  lambda1: [0.1, 0.5, 1, 3, 5]
  lambda2: [0.1, 0.5, 1, 3, 5]
  learning_rate: [0.1, 0.2, 0.3, 0.4]
  heads: [1, 2]
  epochs: [1, 2, 3, 4, 5]
seeds: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
"""  # 1000 rows × 10 seeds

_STREAM = """
import re, sys
from pathlib import Path
from fod_bench.store import open_store
store, path, size = open_store(sys.argv[1], 300), Path(sys.argv[2]), int(sys.argv[3])
store.put("features/large", path)
path.unlink()
with store.open("features/large") as file:
    assert file.seek(0, 2) == size
print(int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) / 1e3)
"""


def run() -> list[Result]:
    """Ratios of the fastest of several transfers each way, taken in turn; seconds of a plan; megabytes of a large transfer."""
    with tempfile.TemporaryDirectory(prefix="fod-bench-") as folder, _server(Path(folder)) as server:
        os.environ |= server.environment() | {"FOD_BENCH_CACHE": f"{folder}/cache"}
        results = [*_transfers(server), _state(server), _plan(server, Path(folder))]
    with tempfile.TemporaryDirectory(prefix="fod-bench-") as folder, swift(Path(folder)) as servers:
        os.environ |= servers["swift"].environment() | {"FOD_BENCH_CACHE": f"{folder}/cache"}
        return [*results, _memory(servers["swift"], Path(folder))]


@contextmanager
def _server(folder: Path) -> Iterator[Server]:
    if os.environ.get("FOD_BENCH_BENCH_SERVER") == "ceph":
        from tests.helpers.s3_ceph import ceph

        with ceph(folder) as servers:
            yield servers["ceph"]
    else:
        with moto(folder) as servers:
            yield servers["moto"]


def _transfers(server: Server) -> list[Result]:
    content = secrets.token_bytes(_MEGABYTES << 20)
    store, client = open_store(server.address("bench")), server.client()
    results = []
    for name, ours, bare in (
        (
            "put",
            lambda: store.put("ours", content),
            lambda: client.upload_fileobj(io.BytesIO(content), BUCKET, "bare"),
        ),
        ("get", lambda: store.get("ours"), lambda: client.download_fileobj(BUCKET, "bare", io.BytesIO())),
    ):
        times: dict[str, list[float]] = {"ours": [], "bare": []}
        for _ in range(_ROUNDS):
            times["ours"].append(_seconds(ours))
            times["bare"].append(_seconds(bare))
        ratio = min(times["ours"]) / min(times["bare"])
        results.append(Result(f"{name} of {_MEGABYTES} MB against bare boto3", ratio, 1.2, "×", higher_is_better=False))
    return results


def _state(server: Server) -> Result:
    """What writing a run's state takes of the time between two writes, with a hundred workers at work and a hundred failures."""
    task = Task(
        kind="trial", name="mvtec/bottle · FOD · seed 3407", key="0" * 32, node="node", since="2026-01-01T00:00:00"
    )
    state = DriverState(
        run_id="bench",
        job="bench",
        driver="0",
        process=ProcessId.own(),
        started="",
        updated="",
        total=1000,
        done=0,
        reused=0,
        elsewhere=0,
        failed={
            f"mvtec/{number}": "diverged: a loss is not finite in epoch 1, step 1 (log: …)" for number in range(100)
        },
        tasks=[task] * 100,
    )
    store = open_store(server.address("state"))
    name = state_name("bench", "0")
    share = (
        min(_seconds(lambda: store.put(name, state.model_dump_json(indent=1).encode())) for _ in range(_ROUNDS))
        / FLUSH_SECONDS
    )
    return Result("writing a run's state, of the run's time", 100 * share, 1.0, "%", higher_is_better=False)


def _plan(server: Server, folder: Path) -> Result:
    job = folder / "many.yaml"
    job.write_text(MANY)
    plan = make_plan(load_job(job), download=False)
    client, store = server.client(), open_store(server.address("planned"))
    names = [
        name
        for key in plan.trials
        for name in (record_name(key), *(f"trials/{key}/00000001-0/{n}" for n in range(_WEIGHTS)))
    ]

    def fill(name: str) -> None:
        client.put_object(Bucket=BUCKET, Key=f"planned/{name}", Body=b"{}")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(fill, names))
    found: list[Any] = []
    seconds = _seconds(lambda: found.append(summarize(make_plan(load_job(job), download=False), store)))
    assert found[0].trainings == found[0].trainings_recorded == len(plan.trials) == 10_000
    return Result("plan against a bucket with 10 000 records", seconds, 5.0, "s", higher_is_better=False)


def _memory(server: Server, folder: Path) -> Result:
    size = int(float(os.environ.get("FOD_BENCH_BENCH_GB", "5")) * 1e9)
    path = folder / "large"
    with path.open("wb") as file:
        block = secrets.token_bytes(1 << 24)
        for start in range(0, size, len(block)):
            file.write(block[: size - start])
    done = subprocess.run(
        [sys.executable, "-c", _STREAM, server.address("memory"), str(path), str(size)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return Result(
        f"peak memory of {size / 1e9:g} GB put and opened", float(done.stdout), 300.0, "MB", higher_is_better=False
    )


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
