"""Scores that are kept: large maps take half the bytes and keep the order of their pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fod_bench.records.names import scores_name
from fod_bench.records.record import Counts, Record
from fod_bench.records.scores import load_scores, save_scores
from fod_bench.store import Store, open_store
from fod_bench.store.tensors import save_tensors
from tests.helpers.trial_builders import run, trial, trial_data

CLAIM = "00000001-0a0b0c0d"
SHAPE = (4, 96, 96)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def record(store: Store) -> Record:
    made = run(store, trial(key="a" * 32), trial_data(seed=1))
    counts = Counts(train=1, test_good=2, test_defect=2)
    return made.model_copy(update={"counts": counts, "run": made.run.model_copy(update={"claim": CLAIM})})


def kept(store: Store, record: Record, maps: np.ndarray) -> np.ndarray:
    save_scores(store, record.key, CLAIM, "last", {"map": maps})
    found = load_scores(store, record, "last")
    assert found is not None
    return found["map"]


@pytest.mark.parametrize("offset", [0.0, 0.4768, -12.0])
def test_values_that_lie_close_together_keep_their_order(store: Store, record: Record, offset: float) -> None:
    rng = np.random.default_rng(3407)
    defective = np.zeros(SHAPE, dtype=bool)
    defective[2:, 20:40, 20:40] = True
    maps = offset + rng.normal(size=SHAPE) * 1e-5 + 1e-5 * defective
    maps[0, 0, 0], maps[1, 0, 0] = offset + 3e-4, offset - 2e-4
    maps = maps.astype(np.float32)
    found = kept(store, record, maps)
    expected = roc_auc_score(defective.ravel(), maps.ravel())
    assert expected > 0.7
    assert roc_auc_score(defective.ravel(), found.ravel()) == pytest.approx(expected, abs=1e-4)
    np.testing.assert_allclose(found, maps, rtol=0, atol=3e-4 / 2048 + 3e-8 * abs(offset) + 1e-12)


def test_a_wide_range_keeps_its_digits(store: Store, record: Record) -> None:
    maps = np.exp(np.random.default_rng(1).uniform(-9, 9, SHAPE)).astype(np.float32)
    np.testing.assert_allclose(kept(store, record, maps), maps, rtol=2e-3, atol=1e-3)


def test_scores_of_an_older_version_are_read(store: Store, record: Record) -> None:
    halves = np.full(SHAPE, 2.0, dtype=np.float16)
    about = {"key": record.key, "scales": json.dumps({"map": 0.25})}
    save_tensors(store, scores_name(record.key, CLAIM, "last"), {"map": halves}, about)
    found = load_scores(store, record, "last")
    assert found is not None and np.array_equal(found["map"], np.full(SHAPE, 0.5, dtype=np.float32))
