"""A report names a record whose values cannot be or that does not fit its plan, its key or its curves, as `store verify` does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fod_bench.cli.app import app
from fod_bench.records.curves import Curves
from fod_bench.records.names import curves_name, plan_name, record_name
from fod_bench.records.record import train_key
from fod_bench.report import reading
from fod_bench.store import Store, open_store
from tests.helpers import store_builders
from tests.helpers.report_builders import SCORE, record
from tests.helpers.store_builders import CLAIM, save_plan, save_trial

KEY = train_key("f1", 1, record("k", store_builders.cell("k"), [(0.9, 0.8)]).setting, 1)
"""Of what `save_trial` leaves."""
NAME = record_name(KEY)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """One run with one training, done."""
    made = open_store(str(tmp_path / "store"))
    save_plan(made, "tiny-1", [KEY])
    save_trial(made, KEY)
    return made


def report(store: Store, *options: str) -> str:
    done = CliRunner().invoke(app, ["report", "--store", store.uri, *options])
    assert done.exit_code == 0 and "Traceback" not in done.output, done.output
    return done.stdout


def change(store: Store, changes: dict[str, Any]) -> None:
    store.put(NAME, json.dumps(json.loads(store.get(NAME)) | changes).encode())


def test_a_record_that_fits_is_shown(store: Store) -> None:
    assert "0.900" in report(store) and NAME not in report(store)
    assert "0.900000 best" in report(store, "--explain", f"FOD/drawn/{KEY}")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"selected": {SCORE: {"image_auroc": [5.0, 1, 5.0, 1]}}}, "less than or equal to 1"),
        ({"selected": {SCORE: {"image_auroc": [0.5, 1, 0.5, 1]}}}, "its values are not those of its curves"),
        ({"epochs": 3}, "its values are not those of its curves"),
        ({"curves": "0" * 64}, "not the curves that its record names"),
        ({"seed": 7}, "seed 7 is in no plan of this training; there it is 1"),
        ({"method": "other"}, "method other is in no plan of this training; there it is fod"),
        ({"category": "tile"}, f"category tile is in no plan of this training; there it is {KEY}"),
        ({"setting": {"heads": 9}}, "its key is not that of its method, seed, setting and features"),
        ({"features": {"key": "f2"}}, "its key is not that of its method, seed, setting and features"),
        ({"setting": {"heads": float("nan")}}, "no record of a trial"),
        ({"key": "0" * 32}, f"it is the record of another trial, {'0' * 32}"),
        ({"selected": {}}, "it has no evaluated epoch"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_one_that_does_not_is_named_and_its_cell_is_empty(store: Store, changes: dict[str, Any], fault: str) -> None:
    change(store, changes)
    shown = report(store)
    assert "0 of 1 cells have a result; missing: FOD on drawn" in shown and "0.900" not in shown
    (named,) = [line for line in shown.splitlines() if line.startswith("Damaged: ")]
    assert NAME in named and fault in named
    explained = report(store, "--explain", f"FOD/drawn/{KEY}")
    assert "its record is damaged: " in explained and fault in explained and "0.900" not in explained


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"key": "other"}, f"{CLAIM}/curves.json are those of another trial, other"),
        ({"losses": {"total": [1.0, 2.0]}}, "its values are not those of its curves"),
    ],
    ids=["of another trial", "of another length"],
)
def test_curves_of_something_else_are_named(store: Store, changes: dict[str, Any], fault: str) -> None:
    name = curves_name(KEY, CLAIM)
    other = json.loads(store.get(name)) | changes
    store.put(name, json.dumps(other).encode())
    assert "these are not the curves that its record names" in report(store)
    change(store, {"curves": Curves.model_validate(other).digest()})
    assert fault in report(store)


def test_curves_that_are_gone_take_no_number_away(store: Store) -> None:
    store.delete(curves_name(KEY, CLAIM))
    assert "0.900" in report(store)


def test_of_very_many_trainings_curves_are_read_where_one_is_explained(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "COMPARED", 0)
    change(store, {"curves": "0" * 64})
    assert "0.900" in report(store)
    assert "not the curves that its record names" in report(store, "--explain", f"FOD/drawn/{KEY}")


def test_a_training_that_another_run_asked_for_under_another_name_fits(store: Store) -> None:
    """Of equal images there is one training, of whichever category asked first."""
    plan = json.loads(store.get(plan_name("tiny-1")))
    plan["cells"][0]["category"] = "tile"
    store.put(plan_name("other-1"), json.dumps(plan | {"run_id": "other-1", "job": "other"}).encode())
    for run in ("tiny-1", "other-1"):
        shown = report(store, "--run", run)
        assert "0.900" in shown and "Damaged" not in shown
    store.delete(plan_name("tiny-1"))
    assert f"category {KEY} is in no plan of this training; there it is tile" in report(store)
