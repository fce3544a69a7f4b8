"""Opening the categories of a job's data sets, and telling whether they are in the state that a trial was made from."""

from __future__ import annotations

from pathlib import Path

import pytest

from fod_bench.datasets import SyntheticSettings
from fod_bench.errors import DatasetError
from fod_bench.job import datasets
from fod_bench.job.datasets import DatasetSpec
from fod_bench.job.images_here import ImagesHere

DRAWN = DatasetSpec(
    layout="synthetic", synthetic=SyntheticSettings(train=2, test_good=1, test_defect_per_type=1, size=64)
)


@pytest.mark.parametrize(
    ("root", "expected"), [("data", "{here}/data"), ("/data", "/data"), ("s3://bucket/data", "s3://bucket/data")]
)
def test_a_folder_is_opened_by_its_whole_path_and_a_bucket_as_it_is(
    root: str, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened: list[object] = []
    monkeypatch.setattr(
        datasets, "open_category", lambda layout, root, name, **more: opened.append((layout, root, name))
    )
    monkeypatch.chdir(tmp_path)
    DatasetSpec(layout="folder", root=root).open_category("nut")
    assert opened == [("folder", expected.format(here=tmp_path), "nut")]


def test_a_category_is_given_for_its_own_fingerprint_alone_and_opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    here, fingerprint = ImagesHere(), DRAWN.open_category("weave").fingerprint()
    first = here.category(DRAWN, "weave", fingerprint)
    assert here.category(DRAWN, "weave", fingerprint) is first
    with pytest.raises(DatasetError, match="their content differs"):
        here.category(DRAWN, "weave", "another")
    nowhere = DatasetSpec(layout="folder", root="nowhere")
    for _ in range(2):
        with pytest.raises(DatasetError, match="nowhere"):
            here.category(nowhere, "nut", fingerprint)
