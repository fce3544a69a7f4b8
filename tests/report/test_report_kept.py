"""A metric that a record lacks: computed from the scores kept beside it, or shown as not available with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fod_bench.features.truth import TruthSet, save_truth
from fod_bench.records.curves import read_curves
from fod_bench.records.names import curves_name, plan_name, record_name, scores_name
from fod_bench.records.record import Record
from fod_bench.records.run import Cell, RunPlan
from fod_bench.report.reading import read_results
from fod_bench.report.render import render_report
from fod_bench.store import Store, open_store
from tests.helpers.trial_builders import run, trial, trial_data

NEW = ("image_ap", "pixel_ap")
"""Metrics that the records here are made to lack."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def trained(store: Store, key: str, seed: int, **changes: Any) -> Record:
    """The record of a trial whose truth is in the store."""
    data = trial_data(seed=seed)
    about = {"key": "t1", "category": "nut", "notes": [], "images": [f"{n}.png" for n in range(len(data.truth.labels))]}
    save_truth(store, TruthSet("t1", data.truth, about))
    asked = trial(key=key, **changes).model_copy(update={"sets": {"pooled": "b2", "truth": "t1"}})
    return run(store, asked, data)


def as_before(store: Store, record: Record) -> None:
    """Store the record and its curves as a version left them that did not have the new metrics."""
    curves = read_curves(store, record)
    assert curves is not None
    metrics = {
        score: {metric: values for metric, values in found.items() if metric not in NEW}
        for score, found in curves.metrics.items()
    }
    older = curves.model_copy(update={"metrics": metrics})
    store.put(curves_name(record.key, record.run.claim), older.model_dump_json().encode())
    before = record.model_copy(update={"selected": older.selected(), "curves": older.digest()})
    store.put(record_name(record.key), before.model_dump_json().encode())


def planned(store: Store, *records: Record) -> None:
    cells = [
        Cell(
            **{"row": record.key, "method": "fod", "dataset": "mine", "layout": "folder", "category": "nut"},
            **{"seed": record.seed, "score": record.primary_score, "key": record.key},
        )
        for record in records
    ]
    plan = RunPlan(run_id="job-1", job="job", created="2026-11-25", tables=[], cells=cells)
    store.put(plan_name("job-1"), plan.model_dump_json().encode())


def test_it_is_computed_at_the_epochs_whose_scores_were_kept(store: Store) -> None:
    record = trained(store, "a1", 2)
    curves = read_curves(store, record)
    assert curves is not None
    as_before(store, record)
    planned(store, record)
    outcome = read_results(store).outcomes["a1"]
    assert outcome.computed == set(NEW)
    for metric, selecting in (("image_ap", "image_auroc"), ("pixel_ap", "pixel_auroc")):
        every = curves.metrics[record.primary_score][metric]
        _, at = record.best(record.primary_score, selecting)
        assert at is not None
        assert outcome.value(record.primary_score, metric, "last") == (pytest.approx(every[-1]), record.epochs)
        assert outcome.value(record.primary_score, metric, "best") == (pytest.approx(every[at - 1]), at)


def test_an_old_record_and_a_new_one_stand_in_one_table(store: Store, tmp_path: Path) -> None:
    old, new = trained(store, "a1", 2), trained(store, "b2", 2, learning_rate=1e-3)
    as_before(store, old)
    for epoch in ("best_image", "best_pixel", "last"):
        store.delete(scores_name("a1", old.run.claim, epoch))
    planned(store, old, new)
    results = read_results(store)
    seen = {(one.row, one.metric): one for one in results.observations if one.selection == "last"}
    assert seen["b2", "image_ap"].value == new.last(new.primary_score, "image_ap")[0]
    assert seen["a1", "image_auroc"].value == old.last(old.primary_score, "image_auroc")[0]
    missing = seen["a1", "pixel_ap"]
    assert missing.value is None and missing.undefined is not None
    assert missing.undefined.startswith("it was not measured when the record was made, and no scores were kept")
    (text,) = (path.read_text() for path in render_report(results, None, "tidy", tmp_path / "out"))
    shown = [line for line in text.splitlines() if "image_ap" in line and "last" in line]
    assert len(shown) == 2 and sum("no scores were kept" in line for line in shown) == 1


def test_kept_scores_that_are_damaged_are_as_none(store: Store) -> None:
    record = trained(store, "a1", 2)
    as_before(store, record)
    planned(store, record)
    for epoch in ("best_image", "best_pixel", "last"):
        store.put(scores_name("a1", record.run.claim, epoch), b"no tensors")
    assert read_results(store).outcomes["a1"].computed == frozenset()


def test_what_a_record_has_is_not_computed_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    record = trained(store, "a1", 2)
    planned(store, record)
    monkeypatch.setattr("fod_bench.report.kept.load_scores", lambda *_: pytest.fail("no scores are needed"))
    assert read_results(store).outcomes["a1"].computed == frozenset()
