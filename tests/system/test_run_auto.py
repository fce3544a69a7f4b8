"""`resources: auto` on a real Ray: measured in a moment, told, kept, and nothing that records depend on."""

from __future__ import annotations

import json
import signal

import pytest

from fod_bench.machine.system import cores
from tests.helpers.commands import LONG, Bench

SEEDS = {"seeds": [1, 2, 3]}


def test_a_run_chooses_says_so_and_its_records_are_those_of_one_that_names_the_same(bench: Bench) -> None:
    job = bench.job("auto", store="auto", resources="auto", **SEEDS)
    planned = json.loads(bench.run("plan", job, "--json").out)["resources"]
    assert planned["keys"] == ["resources.cpus", "pack"] and planned["chosen"] is None
    done = bench.run("run", job)
    assert done.err.endswith("3 trainings: 3 done\n")
    (said,) = [line for line in done.err.splitlines() if line.startswith("resources ")]
    run = json.loads(bench.run("status", job, "--json").out)["runs"][0]
    chosen = run["resources"]
    assert 1 <= chosen["cpus"] <= cores() and 1 <= chosen["pack"] <= 3 and chosen["workers"] >= 1
    assert chosen["candidates"][0]["cpus"] == chosen["candidates"][0]["pack"] == 1
    for candidate in chosen["candidates"]:
        assert 0 < candidate["seconds"] < 3600
        assert all(0 < step < 60 and 0 < image < 60 for step, image in candidate["measured"])
    assert 0 < chosen["seconds"] < 600
    assert "resources" in bench.run("status", job).out
    options = said.partition("; ")[2].removesuffix(" takes the same unmeasured").split()
    named = bench.job("named", store="named", resources="auto", **SEEDS)
    bench.run("run", named, "--quiet", *options)
    ours, theirs = bench.records("auto"), bench.records("named")
    assert ours.keys() == theirs.keys(), "training keys do not know of it"
    for key, record in ours.items():
        assert record.run.threads == int(chosen["cpus"]) and record.run.packed <= chosen["pack"]
        for score, metrics in theirs[key].selected.items():
            for metric, expected in metrics.items():
                assert record.selected[score][metric] == pytest.approx(expected, abs=0.02), (key, score, metric)
    again = bench.run("run", job)
    assert "resources" not in again.err, "nothing is left to choose for"


def test_an_interrupted_run_goes_on_with_what_was_chosen(bench: Bench) -> None:
    asked = {"settings": LONG, "checkpoint_seconds": 0.2, "resources": {"cpus": "auto"}, "seeds": [1]}
    job = bench.job("stopped", store="stopped", **asked)
    running = bench.start("run", job)
    running.reaches(lambda: bench.stored("trials/*/checkpoints/*.safetensors", "stopped"), "a checkpoint")
    running.signal(signal.SIGINT)
    assert running.finished().code == 130
    (kept,) = bench.stored("runs/*/resources.json", "stopped")
    before = kept.read_bytes()
    done = bench.run("run", job)
    assert ", as chosen for this run on " in done.err and kept.read_bytes() == before
    (record,) = bench.records("stopped").values()
    assert record.run.resumed_after and record.run.threads == int(json.loads(before)["cpus"])
