"""Stores in folders with made-up runs, trials and features, as real ones leave them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner, Result

from fod_bench.cli.app import app
from fod_bench.job import dump_job, load_job, run_id
from fod_bench.machine.process import ProcessId
from fod_bench.records.names import curves_name, job_name, plan_name, record_name, state_name
from fod_bench.records.run import Cell, RunPlan
from fod_bench.records.state import DriverState, Ended, Task
from fod_bench.store import Store
from fod_bench.store.tensors import save_tensors
from tests.helpers.report_builders import SCORE, curves, record

CLAIM = "00000001-0a1b2c3d"
"""Name of the claim that results were made under."""
LOST = "00000000-deadbeef"
"""Name of a claim that was taken over."""


def cell(key: str | None, row: str = "FOD", category: str = "") -> Cell:
    """One cell, by default of the category of the key's name."""
    place = {"dataset": "drawn", "layout": "synthetic", "category": category or key or "gone"}
    return Cell(row=row, method="fod", seed=1, score=SCORE, key=key, **place)


def name_of(key: str) -> str:
    """What a person sees of the training `key` of `cell`."""
    return f"drawn/{key} · FOD · seed 1"


def save_plan(
    store: Store,
    run_id: str,
    keys: Sequence[str | None],
    *,
    job: str = "tiny",
    features: Sequence[str] = ("f1",),
    references: Sequence[str] = ("r1",),
    created: str = "2024-05-01T10:00:00+00:00",
) -> None:
    """A run of `job` that wants the trainings `keys`; one of None has no data."""
    plan = RunPlan(
        run_id=run_id,
        job=job,
        created=created,
        tables=[],
        cells=[cell(key) for key in keys],
        features=list(features),
        references=list(references),
    )
    store.put(f"runs/{run_id}/job.yaml", b"name: tiny\n")
    store.put(plan_name(run_id), plan.model_dump_json().encode())


def save_run_of(store: Store, path: Path, keys: Sequence[str | None], overrides: Sequence[str] = (), **of: Any) -> str:
    """A run of the job file at `path`, as `fod-bench run` with `--set` leaves it; its run id. `of`: as for `save_plan`."""
    job = load_job(path, list(overrides))
    save_plan(store, run_id(job), keys, job=job.name, **of)
    store.put(job_name(run_id(job)), dump_job(job).encode())
    return run_id(job)


def save_trial(store: Store, key: str, claim: str = CLAIM, features: str = "f1", reference: str = "r1") -> None:
    """A trial that is done."""
    epochs: list[tuple[float | None, float | None]] = [(0.9, 0.8)]
    made = record(key, cell(key), epochs, features={"key": features}, reference={"kind": "mean", "key": reference})
    made = made.model_copy(update={"run": made.run.model_copy(update={"claim": claim})})
    for part in ("last", "best_image", "best_pixel"):
        save_tensors(store, f"trials/{key}/{claim}/{part}.safetensors", {"8/embed.weight": np.ones(3)}, {"key": key})
    store.put(curves_name(key, claim), curves(key, cell(key), epochs).model_dump_json().encode())
    store.put(record_name(key), made.model_dump_json().encode())


def save_features(store: Store, key: str = "f1", reference: str = "r1", claim: str = CLAIM) -> None:
    """A feature set and its reference."""
    files = {part: f"features/{key}/{claim}/{part}.safetensors" for part in ("train", "test")}
    for part, name in files.items():
        store.put(name, part.encode() * 1000)
    store.put(f"features/{key}/manifest.json", json.dumps({"files": files}).encode())
    store.put(f"references/{reference}.safetensors", b"mean" * 100)


def save_state(
    store: Store,
    run_id: str,
    driver: str = "d1",
    tasks: Sequence[Task] = (),
    *,
    process: ProcessId | None = None,
    ended: Ended = None,
    failed: dict[str, str] | None = None,
    only: str | None = None,
) -> None:
    """A driver's state, written now; that of the running process unless `process` says otherwise."""
    state = DriverState(
        run_id=run_id,
        job="tiny",
        driver=driver,
        process=process or ProcessId.own(),
        started="2024-05-01T10:00:00+00:00",
        updated="2024-05-01T12:00:00+00:00",
        ended=ended,
        only=only,
        total=4,
        done=6,
        reused=0,
        elsewhere=0,
        failed=failed or {},
        tasks=list(tasks),
        steps_per_second=12.5,
        seconds_left=600.0,
    )
    store.put(state_name(run_id, driver), state.model_dump_json().encode())


def task(key: str, kind: str = "trial") -> Task:
    """A task in the middle of its second epoch."""
    return Task.model_validate(
        {
            "kind": kind,
            "name": name_of(key),
            "key": key,
            "node": "box",
            "since": "2024-05-01T11:58:30+00:00",
            "epoch": 1,
            "epochs": 4,
            "step": 3,
            "steps": 8,
            "loss": 0.25,
        }
    )


FAR = ProcessId(host="far", space="another machine", number=1, started="1")
"""A process that this machine cannot see."""


def age(store: Store, prefix: str = "", seconds: float = 7200) -> None:
    """Make the objects that begin with `prefix` look as if they had been written so long ago."""
    for info in store.list(prefix):
        os.utime(Path(store.location(info.name)), (time.time() - seconds,) * 2)


def names(store: Store, prefix: str = "") -> list[str]:
    """Names of the objects there are."""
    return [info.name for info in store.list(prefix)]


def damage(store: Store, name: str) -> None:
    """Change an object's bytes behind the store's back."""
    path = Path(store.location(name))
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])


def whole_store(store: Store) -> Store:
    """A run, its features, reference and two trials, all done long ago, and nothing else."""
    save_plan(store, "tiny-1", ["a1", "a2"])
    save_features(store)
    for key in ("a1", "a2"):
        save_trial(store, key)
    store.put("fod-bench.json", b'{"format": 1}')
    age(store)
    return store


def call(*arguments: str, code: int = 0) -> Result:
    """Run `fod-bench store ARGUMENTS`, which must end with exit code `code`."""
    result = CliRunner().invoke(app, ["store", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, f"exit code {result.exit_code}\n{result.output}\n{result.exception!r}"
    assert "Traceback" not in result.output
    return result


def collected(store: Store, *arguments: str) -> set[str]:
    """What `gc --delete` took away."""
    before = set(names(store))
    call("gc", *arguments, "--store", store.uri, "--delete")
    assert set(names(store)) <= before
    return before - set(names(store))
