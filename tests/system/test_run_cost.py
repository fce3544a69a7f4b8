"""Table 5's job, reduced, through a real Ray: measured, shown, and not measured again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.commands import TINY, Bench
from tests.helpers.dataset_builders import folder_category, image

JOB = str(Path(__file__).parents[2] / "jobs" / "table05_cost.yaml")


def test_the_job_of_table_5_shows_what_fod_costs(bench: Bench) -> None:
    for category in ("bottle", "tile"):
        folder_category(bench.folder / "mvtec", category)
    image(bench.folder / "mvtec/tile/train/good/000.png", value=200)  # equal images would be measured once
    reduced = {"datasets.mvtec.categories": "[bottle, tile]"} | {
        key: str(value) for key, value in TINY.items() if key != "d_model"
    }
    options = [part for key, value in reduced.items() for part in ("--set", f"{key}={value}")]
    done = bench.run("run", JOB, *options, FOD_DATA=str(bench.folder))
    assert done.err.endswith("2 measurements: 2 done\n")
    assert "table05_cost: cost on mvtec, mean over categories" in done.out and "batches of 4" in done.out
    first, second = bench.records().values()
    assert {first.category, second.category} == {"bottle", "tile"}
    assert first.costs["gflops"] == second.costs["gflops"] and first.costs["learnable_params_m"] > 0
    mean = (first.costs["train_s_per_epoch"] + second.costs["train_s_per_epoch"]) / 2
    table = bench.run("report", JOB, *options, "--format", "csv", FOD_DATA=str(bench.folder)).out
    (line,) = (line.split(",") for line in table.splitlines() if ",train_s_per_epoch," in line and "table05" in line)
    assert float(line[6]) == pytest.approx(mean, abs=1e-5)
    assert not bench.stored("trials/*/*/*"), "a measurement keeps no weights and no checkpoint"
    assert "no fault found" in bench.run("store", "verify").err

    again = bench.run("run", JOB, *options, FOD_DATA=str(bench.folder))
    assert again.err == "2 measurements: 0 done, 2 reused\n" and again.out == done.out
