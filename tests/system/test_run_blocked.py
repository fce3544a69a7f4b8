"""A store in which something else stands where objects have to be: the trainings that need them fail, and no others."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fod_bench.job import load_job
from fod_bench.plan import TrialJob, make_plan
from tests.helpers.commands import DRAWN, TINY, Bench

ROWS = {
    "Free": {},
    "Patch": {"views": "patch"},
    "Record": {"lambda1": 0.1},
    "Trial": {"lambda1": 0.2},
    "Claim": {"lambda1": 0.3},
    "Checkpoint": {"lambda1": 0.4},
    "Coreset": {"reference": {"kind": "coreset", "per_position": 2}},
}


def blocks(trials: dict[tuple[str, str], TrialJob]) -> dict[str, Callable[[Path], object]]:
    """What is put where, by `(row, category)` of the trainings."""

    def key(row: str) -> str:
        return trials[row, "weave"].key

    board, tray = (trials["Free", category].wanted for category in ("board", "tray"))
    assert board is not None and tray is not None
    return {
        f"trials/{key('Record')}/record.json": lambda place: place.mkdir(),
        f"trials/{key('Trial')}": lambda place: place.write_text("by hand"),
        f"claims/{key('Claim')}": lambda place: place.symlink_to(place.name),
        f"trials/{key('Checkpoint')}/checkpoints": lambda place: place.symlink_to("nowhere"),
        f"references/{trials['Coreset', 'weave'].reference_key}.safetensors": lambda place: place.mkdir(),
        f"features/{board.sets[0].key}/manifest.json": lambda place: place.mkdir(),
        f"truth/{tray.truth.key}.safetensors": lambda place: place.mkdir(),
    }


def test_only_what_needs_them_fails_and_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = {"drawn": DRAWN, "more": DRAWN | {"categories": ["board", "tray"]}}
    job = bench.job("blocked", datasets=datasets, variants=ROWS, checkpoint_seconds=0)
    monkeypatch.chdir(bench.folder)
    trials = {(one.rows[0], one.category): one for one in make_plan(load_job(job), download=False).trials.values()}
    assert len(trials) == 21 and TINY["epochs"] == 2
    store = bench.folder / "results/store"
    placed = blocks(trials)
    for name, put in placed.items():
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        put(store / name)

    done = bench.run("run", job, code=3)
    lines = done.err.splitlines()
    assert lines[-1] == "21 trainings: 2 done, 19 failed" and "Traceback" not in done.err
    assert not any(line.startswith("again ") for line in lines), "nothing is tried in vain"
    recorded = {path.parent.name for path in bench.stored("trials/*/record.json") if path.is_file()}
    assert recorded == {trials[row, "weave"].key for row in ("Free", "Patch")}
    for name, count in zip(placed, (1, 1, 1, 1, 1, 7, 7), strict=True):
        told = [line for line in lines if line.startswith("failed    ") and f"{store / name}" in line]
        assert len(told) == count and all(
            "; move it away" in line or f"move {store / name} away" in line for line in told
        )
    (log,) = bench.stored(f"trials/{trials['Claim', 'weave'].key}/failure.log")
    assert f"{store / 'claims'}" in log.read_text() and not bench.stored("trials/*/failure.json")
    named = bench.run("store", "verify", code=1).out
    assert all(name in named for name in placed)
    assert re.search(r"failed +2/21 +0 +0 +19 ", bench.run("status").out)
    assert "move" in bench.run("report", job).out

    for name in placed:
        place = store / name
        place.rmdir() if place.is_dir() else place.unlink()
    again = bench.run("run", job, "--only", "[FC]*")
    assert again.err.endswith("12 trainings: 11 done, 1 reused\n") and "in an earlier run" not in again.err
    assert not bench.stored("claims/*") and "no fault found" in bench.run("store", "verify").err
