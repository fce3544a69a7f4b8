"""A method from an installed package, from job file to table on a real Ray: it needs images and unpooled features."""

from __future__ import annotations

import signal
from pathlib import Path

import yaml

from fod_bench.records.record import Record
from fod_bench.records.scores import load_scores
from fod_bench.store import open_store
from tests.helpers.commands import DRAWN, Bench, one_core, wait_for

PLUGIN = Path(__file__).parents[1] / "helpers" / "plugin"
BACKBONE = {"backbone": "resnet18", "weights": "random", "image_size": 64}


def job(bench: Bench, name: str, method: str) -> str:
    content = {
        **{"name": name, "store": name, "checkpoint_seconds": 0, "settings": BACKBONE | {"method": method}},
        "datasets": {"drawn": DRAWN},
        "variants": {"nearest": {}, "colours": {"colour": 3.0}},
    }
    (bench.folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return f"{name}.yaml"


def records(bench: Bench, name: str) -> dict[float, Record]:
    """By the weight of colour."""
    store = open_store(str(bench.folder / name))
    names = [info.name for info in store.list("trials/") if info.name.endswith("/record.json")]
    found = [Record.model_validate_json(store.get(record)) for record in names]
    return {record.setting["colour"]: record for record in found}


def test_a_method_from_outside_runs_from_job_file_to_table(bench: Bench) -> None:
    environment = {"PYTHONPATH": f"{PLUGIN}:{bench.environment.get('PYTHONPATH', '')}"}
    plan = bench.run("plan", job(bench, "outside", "nearest_patch"), "--json", **environment)
    assert '"feature_sets": 2' in plan.out, "unpooled features, and images"
    done = bench.run("run", "outside.yaml", **environment)
    assert "features  weave: unpooled, extracted" in done.err and "images    weave: read" in done.err
    assert "nearest" in done.out and "colours" in done.out and "n/a" not in done.out
    store = open_store(str(bench.folder / "outside"))
    kinds = {info.name.split("/")[0] for info in store.list()}
    assert {"features", "images", "truth", "trials", "runs"} <= kinds and "claims" not in kinds
    for record in records(bench, "outside").values():
        assert record.primary_score == "score" and set(record.sets) == {"unpooled", "images", "truth"}
        scores = load_scores(store, record, "last")
        assert scores is not None and scores["distance"].shape == (
            record.counts.test_good + record.counts.test_defect,
            4,
            4,
        )
    again = bench.run("run", "outside.yaml", **environment)
    assert again.out == done.out and "0 done, 2 reused" in again.err
    bench.run("store", "verify", "--store", "outside")


def test_killed_in_the_middle_it_goes_on_to_the_same_result(bench: Bench) -> None:
    hold = bench.folder / "hold"
    environment = {"PYTHONPATH": f"{PLUGIN}:{bench.environment.get('PYTHONPATH', '')}", "HELD_PATCH": str(hold)}
    bench.run("run", job(bench, "quiet", "held_patch"), **environment)
    hold.touch()
    with one_core():
        running = bench.start("run", job(bench, "killed", "held_patch"), **environment)
    store = open_store(str(bench.folder / "killed"))
    running.reaches(
        lambda: any("/checkpoints/" in info.name and info.name.endswith("3.safetensors") for info in store.list()),
        "its third checkpoint",
    )
    workers = [one for one in running.processes().values() if one.startswith("ray::RemoteWorker")]
    assert len(workers) == 1, "of two trainings on one core"
    running.signal(signal.SIGKILL)
    running.finished()
    wait_for(lambda: not running.processes(), "its workers to be ended")
    hold.unlink()
    bench.run("run", "killed.yaml", **environment)
    expected, found = records(bench, "quiet"), records(bench, "killed")
    assert {key: record.result_digest() for key, record in found.items()} == {
        key: record.result_digest() for key, record in expected.items()
    }
    assert any(record.run.resumed_after for record in found.values()), "it went on from a checkpoint"
