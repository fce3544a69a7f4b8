"""Tables of measurements of cost, and that they stand beside those of trainings without mixing with them."""

from __future__ import annotations

import pytest

from fod_bench.evaluation.metric import COSTS
from fod_bench.records.record import COST_SCORE
from fod_bench.report import build_tables, explain, explanation_text
from fod_bench.report.formats.csv import long_form
from tests.helpers.report_builders import MemoryStore, Run, cell, full_store, plain

VALUES = {"gflops": 10.1, "learnable_params_m": 14.237, "train_s_per_epoch": 12.0, "inference_fps": 30.0}
SETTING = {"measure": "cost", "batch_size": 4}


def measured(run: Run, row: str, category: str, seconds: float) -> str:
    costs = VALUES | {"train_s_per_epoch": seconds}
    return run.add(row, "mvtec", category, [], score=COST_SCORE, costs=costs, setting=SETTING)


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    run = Run(made, "run-1", "costs", [5])
    for row, factor in (("FOD", 1.0), ("Patch", 0.5)):
        measured(run, row, "bottle", 12.0 * factor)
        measured(run, row, "tile", 14.0 * factor)
    run.add("FOD", "mvtec", "wood", score=COST_SCORE)
    run.save()
    return made


def test_a_job_of_measurements_has_a_table_of_costs(store: MemoryStore) -> None:
    (table,) = build_tables(store.read(), ["costs"])
    assert table.name == "costs" and [row.labels for row in table.rows] == [("FOD",), ("Patch",)]
    assert [entry.metric for entry in table.rows[0].cells if entry] == list(COSTS)
    assert cell(table, "FOD", "mean", "train_s_per_epoch").text("ours") == "13.0 (2/3)"
    assert cell(table, "Patch", "mean", "train_s_per_epoch").value == 6.5
    assert cell(table, "FOD", "mean", "gflops").value == pytest.approx(10.1)
    for said in ("cpu, threads: 2", "batches of 4", "256×256", "tf_efficientnet_b6"):
        assert said in table.caption
    assert any("FOD on mvtec: wood" in note for note in table.notes), "what is missing is named"
    assert "costs,FOD,mvtec,mean,train_s_per_epoch,best,13.0" in long_form([table])


def test_numbers_that_are_too_small_for_a_digit_are_ranked_by_the_digits_shown() -> None:
    store = MemoryStore()
    run = Run(store, "run-1", "costs", [5])
    for row, seconds in (("slow", 0.049), ("quick", 0.016), ("middle", 0.032)):
        measured(run, row, "bottle", seconds)
    run.save()
    (table,) = build_tables(store.read(), ["costs"])
    shown = {row: cell(table, row, "mean", "train_s_per_epoch") for row in ("slow", "quick", "middle")}
    assert {row: (one.text("ours"), one.mark) for row, one in shown.items()} == {
        "slow": ("0.049", None),
        "quick": ("0.016", "best"),
        "middle": ("0.032", "second"),
    }


def test_one_row_may_have_results_and_costs() -> None:
    store = full_store()
    run = Run(store, "run-2", "paper", [5], created="2024-05-02")
    key = measured(run, "FOD", "bottle", 12.0)
    run.save()
    results = store.read()
    results_table, costs = build_tables(results, ["paper"])
    assert (results_table.name, costs.name) == ("paper", "paper-cost")
    assert cell(costs, "FOD", "mean", "inference_fps").keys == (key,)
    assert plain(results, "paper") == plain(full_store().read(), "paper")


def test_a_cost_is_explained(store: MemoryStore) -> None:
    found = explain(store.read(), "FOD/mvtec/bottle")
    text = explanation_text(found)
    assert "train_s_per_epoch=12" in text and "gflops=10.1" in text and "cpu, 2 threads" in text


def test_the_frame_holds_costs_once(store: MemoryStore) -> None:
    frame = store.read().frame()
    bottle = frame[(frame.row == "FOD") & (frame.category == "bottle") & (frame.selection == "last")]
    assert dict(zip(bottle.metric, bottle.value, strict=True)) == VALUES
