"""The images of a trial's own category: shown where they are those that it was tested on, and no others."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from fod_bench.errors import DatasetError
from fod_bench.notebook.trial import TestMaps
from fod_bench.predict.figures.choose import TrialMaps
from fod_bench.predict.find import FoundTrial, find_trial
from fod_bench.predict.samples import opened_category
from fod_bench.store import open_store
from tests.helpers.finished import Finished


def in_folder(found: FoundTrial, root: str) -> FoundTrial:
    """The trial by a job that has its data set elsewhere."""
    assert found.job is not None
    moved = found.job.datasets["drawn"].model_copy(update={"root": root})
    return replace(found, job=found.job.model_copy(update={"datasets": {"drawn": moved}}))


def test_other_images_of_equal_count_are_not_taken_for_its_own(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_trial(open_store(str(finished.store)), "FOD/drawn/weave")
    shutil.copytree(finished.images.parent, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    same = in_folder(found, "data")
    assert len(opened_category(same).test) == len(TrialMaps(same).category.test) == 8
    assert TestMaps(same, "last")[0].image is not None
    changed = next((tmp_path / "data" / "weave" / "test" / "good").iterdir())
    with Image.open(changed) as image:
        upside_down = image.rotate(180)
    upside_down.save(changed)
    other = in_folder(found, "data")
    for attempt in (lambda: opened_category(other), lambda: TrialMaps(other).category):
        with pytest.raises(DatasetError, match=r"FOD/drawn/weave: .* their content differs") as refused:
            attempt()
        assert str(tmp_path / "data") in str(refused.value)
    assert TestMaps(other, "last")[0].image is None
