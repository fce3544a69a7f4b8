"""A store of very many records: the commands that a person waits for, and the keeping of the index, from a thousand to a million.

    python -m benchmarks.bench_scale --folder /scratch --sizes 1000 10000 100000 1000000
    python -m benchmarks.bench_scale --s3 --sizes 1000 10000 100000

The records are those of jobs of 10 000 trainings each, which differ in their learning rate; values are drawn at random. One of the
jobs is planned, reported and looked at, as whole processes. A record in a folder takes four inodes and, of blocks of 4 KiB, 16 KiB.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from benchmarks import Result
from benchmarks.steps import write
from fod_bench.evaluation.metric import METRICS
from fod_bench.job import Job, dump_job, parse_job, run_id
from fod_bench.plan import make_plan
from fod_bench.records.index.changes import note_change
from fod_bench.records.names import canonical_digest, job_name, key_of, plan_name, record_name
from fod_bench.records.record import Counts, Record, RunInfo, Trial, score_name
from fod_bench.records.run import RunPlan
from fod_bench.store import Store, open_store

TRAININGS = 10_000
"""Of one job: 5 categories × 40 rows × 50 seeds."""
LEFT = 100
"""Of the job that is looked at so many have no record."""
SMALL = (1_000, 4_000, 16_000)
"""What `make bench` runs."""
APPENDED = 1_000
_PIECE = 2_000
_VALUE = re.compile(r"0\.[789]\d{8,}")
_WRITERS = 8
_APPEND = """
import sys
from fod_bench.records.index.append import append_changes
from fod_bench.store import open_store
append_changes(open_store(sys.argv[1]))
"""
_RULES = ("rec", "div", "rec_div", "rec_div_printed")
_JOB: dict[str, Any] = {
    "name": "scale",
    "datasets": {"drawn": {"layout": "synthetic", "categories": ["weave", "board", "tray", "tiling", "gauge"]}},
    "settings": {
        **{"backbone": "resnet18", "weights": "random", "image_size": 64, "levels": [8], "d_model": {8: 16}},
        **{"heads": 2, "layers": 1, "epochs": 2},
    },
    "grid": {"lambda1": [0, 0.1, 0.5, 1, 3, 5, 8, 10], "lambda2": [0, 0.1, 0.5, 1, 3]},
    "seeds": list(range(50)),
}


class Took(NamedTuple):
    """What a process took."""

    seconds: float
    processor_seconds: float
    megabytes: float
    """Its peak."""


Put = Callable[[str, bytes], object]
Line = dict[str, float]
"""Figure to its value."""


def run() -> list[Result]:
    """The small sizes, in a folder."""
    with tempfile.TemporaryDirectory() as folder:
        lines = measure_folder(Path(folder) / "store", SMALL, SMALL[-1])
    large, small = lines[-1], lines[0]
    job, records = f"{TRAININGS} trainings", f"{SMALL[-1]} records"
    return [
        Result(f"plan of {job}, {records} in the store", large["plan_s"], 5.0, "s", higher_is_better=False),
        Result(f"report of {job}, {records}", large["report_s"], 5.0, "s", higher_is_better=False),
        Result(f"memory of these, {records}", max(large["plan_mb"], large["report_mb"]), 1000.0, "MB", False),
        Result(
            f"index of {SMALL[-1]} over one of {SMALL[0]}, processor time of a record",
            large["index_us_each"] / small["index_us_each"],
            1.5,
            "",
            higher_is_better=False,
        ),
    ]


def measure_folder(folder: Path, sizes: Sequence[int], slow_until: int) -> list[Line]:
    """One line for each size, of a store in a folder that is made. `slow_until`: largest size that is also done without."""

    def put(name: str, content: bytes) -> None:
        """As the store leaves an object, without waiting for the disk, and without pathlib: it is called a million times."""
        lines = f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode()
        for path, data in ((f"{folder}/{name}", content), (f"{folder}/.checksums/{name}", lines)):
            os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
            with open(path, "wb") as file:  # noqa: PTH123
                file.write(data)

    return _measured(open_store(str(folder)), sizes, put, slow_until)


def measure_s3(sizes: Sequence[int], slow_until: int) -> list[Line]:
    """The same of a bucket of moto's server."""
    from tests.helpers.s3_servers import moto

    with tempfile.TemporaryDirectory() as folder, moto(Path(folder)) as servers:
        server = servers["moto"]
        os.environ |= server.environment() | {"FOD_BENCH_CACHE": str(Path(folder) / "cache")}
        store = open_store(server.address("scale"))
        return _measured(store, sizes, store.put, slow_until)


def _measured(store: Store, sizes: Sequence[int], put: Put, slow_until: int) -> list[Line]:
    lines: list[Line] = []
    records, made = _records(put), 0
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(_WRITERS) as pool:
        job = Path(scratch) / "job.yaml"
        job.write_text(yaml.safe_dump(_JOB))
        put("fod-bench.json", b'{"format": 1}')
        for size in sizes:
            started = time.perf_counter()
            while made < size:  # by pieces, so that few records are in memory
                piece = list(islice(records, min(_PIECE, size - made)))
                list(pool.map(lambda named: put(*named), piece))
                made += len(piece)
            filled = time.perf_counter() - started
            lines.append({"records": size} | _commands(store, job, size, size <= slow_until))
            piece = list(islice(records, APPENDED))
            for name, content in piece:
                note_change(store, key_of(name))
                put(name, content)
            made += len(piece)
            appended = _process([sys.executable, "-c", _APPEND, store.uri])[0]
            lines[-1] |= {"append_1000_s": appended.seconds, "append_1000_processor_s": appended.processor_seconds}
            print(json.dumps(lines[-1] | {"made_s": round(filled)}), flush=True)
    return lines


def _commands(store: Store, job: Path, size: int, slow: bool) -> Line:
    """What each command takes, and that it says the same without an index."""
    made, _ = _process(_command("store", "index", "--anew", "--store", store.uri))
    found: Line = {"index_s": made.seconds, "index_mb": made.megabytes}
    found |= {"index_us_each": made.processor_seconds / size * 1e6}
    found["index_bytes_each"] = sum(info.size for info in store.list("index/")) / size
    for name, arguments in (
        ("plan", ["plan", str(job), "--json"]),
        ("report", ["report", str(job)]),
        ("status", ["status", str(job)]),
    ):
        took, said = min(
            (_process(_command(*arguments, "--store", store.uri)) for _ in range(2)), key=lambda pair: pair[0]
        )
        found |= {
            f"{name}_s": took.seconds,
            f"{name}_processor_s": took.processor_seconds,
            f"{name}_mb": took.megabytes,
        }
        if slow:
            without, told = _process(_command(*arguments, "--store", store.uri), {"FOD_BENCH_INDEX": "0"})
            found |= {
                f"{name}_without_s": without.seconds,
                f"{name}_without_processor_s": without.processor_seconds,
                f"{name}_without_mb": without.megabytes,
            }
            assert told == said, f"{name} says something else without the index"
    return found


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "fod_bench", *arguments]


def _process(command: list[str], environment: dict[str, str] | None = None) -> tuple[Took, bytes]:
    """What a process took, and its output."""
    with tempfile.TemporaryFile() as out:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, env=os.environ | (environment or {}))
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, f"{shlex.join(command)}: {process.returncode}"
        out.seek(0)
        return Took(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024), out.read()


def _records(put: Put) -> Iterator[tuple[str, bytes]]:
    """Names and contents of records, without end: of one job after the other, its plan put before. The first job lacks some.

    The first job's are as a run leaves them. Those of the others, which nothing but an index and an estimate reads, are the same
    with another learning rate, other values, and keys drawn at random.
    """
    draw = random.Random(3407)
    job = parse_job(yaml.safe_dump(_JOB), "job.yaml")
    plan = make_plan(job, download=False)
    trials = list(plan.trials.values())
    texts = [_record(trial.trial(60.0), trial.settings.score, draw).model_dump_json() for trial in trials]
    _put_run(put, job, plan.run)
    for trial, text in zip(trials[:-LEFT], texts, strict=False):
        yield record_name(trial.key), text.encode()
    for number in count(1):
        rate = {"learning_rate": number / 1e5}
        other = parse_job(
            yaml.safe_dump(_JOB | {"name": f"scale{number}", "settings": _JOB["settings"] | rate}), "job.yaml"
        )
        keys = {trial.key: f"{draw.getrandbits(128):032x}" for trial in trials}
        cells = [cell.model_copy(update={"part": other.name, "key": keys[str(cell.key)]}) for cell in plan.run.cells]
        _put_run(put, other, plan.run.model_copy(update={"run_id": run_id(other), "job": other.name, "cells": cells}))
        for trial, text in zip(trials, texts, strict=True):
            changed = text.replace(trial.key, keys[trial.key]).replace(
                '"learning_rate":0.0001', f'"learning_rate":{number / 1e5}'
            )
            yield record_name(keys[trial.key]), _VALUE.sub(lambda _: repr(draw.uniform(0.7, 1)), changed).encode()


def _put_run(put: Put, job: Job, run: RunPlan) -> None:
    put(job_name(run.run_id), dump_job(job).encode())
    put(plan_name(run.run_id), run.model_dump_json(indent=1).encode())


def _record(trial: Trial, score: str, draw: random.Random) -> Record:
    """A record of the trial, of two epochs, with values drawn at random."""
    return Record(
        **trial.training(),
        counts=Counts(train=100, test_good=20, test_defect=60),
        primary_score=score,
        epochs=2,
        selected={
            score_name(rule, (8,)): {metric: (draw.uniform(0.8, 1), 1, draw.uniform(0.7, 0.8), 2) for metric in METRICS}
            for rule in _RULES
        },
        curves=canonical_digest(trial.key),
        run=RunInfo(
            started="2026-05-01T10:00:00+00:00",
            finished="2026-05-01T10:05:00+00:00",
            train_seconds=draw.uniform(200, 300),
            evaluate_seconds=draw.uniform(20, 30),
            seconds_per_step=0.011574,
            device="NVIDIA H200",
            threads=4,
            host="node-17",
            claim="00000001-0a1b2c3d",
            versions={"fod-bench": "0.1.0", "python": "3.11.7", "torch": "2.9.0"},
        ),
    )


def main() -> None:
    """Measure what the command line asks for, and write `results/scale-<where>.csv`."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SMALL)
    parser.add_argument("--folder", type=Path, help="where the store is made; default: the temporary folder")
    parser.add_argument("--s3", action="store_true", help="a bucket instead, of moto's server")
    parser.add_argument(
        "--slow-until", type=int, default=10_000, help="largest size that is also done without an index"
    )
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        if chosen.s3:
            lines = measure_s3(chosen.sizes, chosen.slow_until)
        else:
            lines = measure_folder(Path(folder) / "store", chosen.sizes, chosen.slow_until)
    columns = list(dict.fromkeys(name for line in lines for name in line))
    write(
        f"scale-{'s3' if chosen.s3 else 'folder'}",
        [{name: f"{line[name]:.4g}" if name in line else "" for name in columns} for line in lines],
    )


if __name__ == "__main__":
    main()
