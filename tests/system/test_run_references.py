"""All kinds of reference in one run on a real Ray."""

from __future__ import annotations

from typing import Any

from tests.helpers.commands import Bench

ROWS: dict[str, Any] = {
    "mean": {},
    "nearest": {"reference": "nearest"},
    "coreset": {"reference": {"kind": "coreset", "per_position": 2}},
    "prototype": {"reference": "prototype"},
    "codebook": {"reference": {"kind": "codebook", "codes": 300}},
}


def test_every_kind_from_the_job_to_the_table(bench: Bench) -> None:
    job = bench.job("kinds", variants=ROWS)
    done = bench.run("run", job)
    assert done.err.endswith("5 trainings: 5 done\n") and all(row in done.out for row in ROWS)
    references = {record.reference["kind"]: record.reference for record in bench.records().values() if record.reference}
    assert set(references) == set(ROWS)
    assert len(bench.stored("references/*.safetensors")) == 5
    used = references["codebook"]["facts"]["codes_used"]
    assert references["codebook"]["facts"]["codes"] == {"8": 300, "16": 96} and used["8"] > 0 < used["16"]

    bench.run("store", "verify", "--store", "results/store")
    bench.run("store", "gc", "--store", "results/store", "--delete", "--older-than", "0")
    assert len(bench.stored("references/*.safetensors")) == 5, "records still name them"
    assert bench.run("run", job).err == "5 trainings: 0 done, 5 reused\n"
    shown = bench.run("report", job, "--explain", "codebook/drawn/weave").out
    assert "kind=codebook" in shown and "codes_used: {8: " in " ".join(shown.split())
