"""A finished job on images that lie on disk, for all tests of what is done with its trials."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from fod_bench.datasets import SyntheticSettings, write_synthetic
from tests.helpers.commands import TINY
from tests.helpers.finished import finish, small_job

DRAWN = SyntheticSettings(train=6, test_good=3, test_defect_per_type=1, size=64)
FAST = {"method": "patchcore", "backbone": "resnet18", "weights": "random", "image_size": 64, "coreset_ratio": 0.1}


class Finished(NamedTuple):
    """What it left. Read only: tests that change a store copy it."""

    job: Path
    store: Path
    images: Path
    """The category's folder."""


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Rows FOD, Patch-only and PatchCore on one drawn category."""
    folder = tmp_path_factory.mktemp("finished")
    write_synthetic(folder / "drawn", DRAWN, ["weave"])
    variants = {"FOD": TINY, "Patch-only": TINY | {"views": "patch"}, "PatchCore": FAST}
    job = small_job(folder, variants, {"drawn": {"layout": "folder", "root": str(folder / "drawn")}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        finish(job)
    return Finished(job, folder / "store", folder / "drawn" / "weave")
