"""Trainings that share their steps, on a real Ray: the same records but for rounding, through a kill as well."""

from __future__ import annotations

import os
import signal

import pytest

from fod_bench.records.record import Record
from tests.helpers.commands import LONG, Bench

PACKED = {"seeds": [1, 2], "variants": {"FOD": {}, "heavy": {"lambda1": 3.0}}, "resources": {"cpus": 2}}


def _same(packed: dict[str, Record], alone: dict[str, Record]) -> None:
    """Of 3 good and 5 defective images two may change places by rounding, one pair in 15; of pixels some in thousands."""
    assert packed.keys() == alone.keys()
    for key, record in packed.items():
        for score, metrics in alone[key].selected.items():
            for metric, expected in metrics.items():
                within = 0.07 if metric.startswith("image") else 0.002
                assert record.selected[score][metric] == pytest.approx(expected, abs=within), (key, score, metric)


def test_a_pack_leaves_the_records_of_trainings_alone(bench: Bench) -> None:
    alone = bench.job("alone", store="alone", **PACKED)
    bench.run("run", alone, "--quiet")
    job = bench.job("packed", store="packed", pack=4, **PACKED)
    done = bench.run("run", job)
    assert done.err.endswith("4 trainings: 4 done\n")
    records = bench.records("packed")
    assert [record.run.packed for record in records.values()] == [4] * 4
    _same(records, bench.records("alone"))
    assert not bench.stored("claims/*", "packed") and not bench.stored("trials/*/checkpoints/*", "packed")
    assert bench.run("run", job).err == "4 trainings: 0 done, 4 reused\n"


def test_a_pack_that_loses_its_worker_goes_on_one_by_one(bench: Bench) -> None:
    asked = {"seeds": [1, 2], "resources": {"cpus": 2}, "settings": LONG, "checkpoint_seconds": 0.2}
    job = bench.job("killed", store="killed", pack=2, **asked)
    running = bench.start("run", job)

    def all_begun() -> bool:
        return len({path.parent for path in bench.stored("trials/*/checkpoints/*.safetensors", "killed")}) == 2

    running.reaches(all_begun, "checkpoints of both")
    (worker,) = [one for one, command in running.processes().items() if command.startswith("ray::RemoteWorker")]
    os.kill(worker, signal.SIGKILL)
    done = running.finished()
    assert done.code == 0, done.err
    assert done.err.count("its worker was lost") == 2 and done.err.endswith("2 trainings: 2 done\n")
    records = bench.records("killed")
    assert all(record.run.resumed_after and record.run.packed == 2 for record in records.values())
    assert not bench.stored("trials/*/checkpoints/*", "killed")
