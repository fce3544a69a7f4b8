"""Labels and masks of the test images: made, stored and read back, with what a person should know of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from fod_bench.datasets import FolderSettings, open_category
from fod_bench.errors import DamagedObjectError
from fod_bench.evaluation.evaluate import Truth
from fod_bench.features.request import TruthRequest
from fod_bench.features.truth import TruthSet, load_truth, make_truth, save_truth
from fod_bench.methods.base import Context, Split
from fod_bench.records.names import truth_name
from fod_bench.records.record import Counts
from fod_bench.store import ObjectMissingError, Store, open_store
from fod_bench.trials.data import TrialData
from tests.helpers.dataset_builders import folder_category


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def stored(store: Store, made: TruthSet) -> TruthSet:
    save_truth(store, made)
    return load_truth(open_store(store.uri), made.key)


def truth_of(root: Path, own: FolderSettings | None = None) -> TruthSet:
    category = open_category("folder", root, "nut", own=own)
    return make_truth(TruthRequest(category, category.fingerprint(), 64))


def counts(truth: Truth) -> Counts:
    images = Split(images=np.zeros((3, 8, 8, 3), np.uint8))
    return TrialData(images, images, truth, Context(64)).counts()


def test_read_back_as_written(store: Store, tmp_path: Path) -> None:
    folder_category(tmp_path)
    made = truth_of(tmp_path)
    found = stored(store, made)
    assert found.about == made.about and found.about["images"][0] == "test/crack/000.png"
    assert np.array_equal(found.truth.masks, made.truth.masks) and np.array_equal(found.truth.labels, made.truth.labels)
    assert found.truth.masked is None


def test_which_masks_there_are_is_read_back(store: Store, tmp_path: Path) -> None:
    nut = folder_category(tmp_path)
    (nut / "ground_truth/crack/001_mask.png").unlink()
    found = stored(store, truth_of(tmp_path, FolderSettings(masks="optional")))
    truth = found.truth
    assert truth.masked is not None and truth.masked.tolist() == [True, False, True, True, True]
    assert truth.labels.tolist() == [1, 1, 1, 0, 0]
    assert truth.masks.shape == (4, 64, 64) and truth.masks.any((1, 2)).tolist() == [True, True, False, False]
    assert found.about["without_mask"] == ["test/crack/001.png"]
    assert counts(truth) == Counts(train=3, test_good=2, test_defect=3, test_unmasked=1)


def test_without_masks_there_are_none_to_read(store: Store, tmp_path: Path) -> None:
    nut = folder_category(tmp_path)
    shutil.rmtree(nut / "ground_truth")
    shutil.rmtree(nut / "test/good")
    truth = stored(store, truth_of(tmp_path)).truth
    assert truth.masked is not None and not truth.masked.any() and truth.masks.shape == (0, 64, 64)
    found = counts(truth)
    assert (found.test_defect, found.test_unmasked, found.test_vanished) == (3, 3, 0)


def test_what_is_there_is_not_written_again_and_damage_is_named(store: Store, tmp_path: Path) -> None:
    folder_category(tmp_path)
    made = truth_of(tmp_path)
    with pytest.raises(ObjectMissingError):
        load_truth(store, made.key)
    stored(store, made)
    name = truth_name(made.key)
    before = store.get(name)
    save_truth(store, TruthSet(made.key, made.truth, {**made.about, "notes": ["another"]}))
    assert store.get(name) == before
    other = TruthSet("t2", Truth(made.truth.labels[1:], made.truth.masks), {**made.about, "key": "t2"})
    save_truth(store, other)
    with pytest.raises(DamagedObjectError, match="4 labels with 5 masks"):
        load_truth(store, "t2")
