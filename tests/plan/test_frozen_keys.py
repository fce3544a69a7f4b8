"""No key of the jobs in `jobs/` changes by accident: what stores hold under it would be lost. See `frozen_keys.py`.

Versions 2 and 3 of FOD moved the keys of its trainings, and no others.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fod_bench.methods.fod.settings import FodSettings
from tests.helpers.frozen_keys import FROZEN, JOBS, STRETCHED, Keys, planned_keys, single_jobs

NAMES = [path.stem for path in single_jobs()]
FROZEN_KEYS = json.loads(FROZEN.read_text())
STRETCHED_KEYS = json.loads(STRETCHED.read_text())
YOUNGER = ("DRAEM", "PatchSVDD", "MKD", "PatchCore", "CFLOW", "PaDiM")
"""Rows of methods that came when images could be cropped already."""


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FOD_DATA", raising=False)
    monkeypatch.delenv("FOD_PICTURES", raising=False)
    monkeypatch.chdir(tmp_path)


def moved(keys: Keys, before: Keys) -> list[str]:
    """Rows whose keys are not those of before."""
    return [row for row in before | keys if before.get(row) != keys.get(row)]


def test_every_job_is_frozen() -> None:
    assert list(FROZEN_KEYS) == NAMES and len(NAMES) >= 13


@pytest.mark.parametrize("name", NAMES)
def test_keys_are_those_of_before(name: str) -> None:
    keys = planned_keys(JOBS / f"{name}.yaml")
    assert moved(keys[name], FROZEN_KEYS[name]) == [], f"job {name}: rows with other keys than in {FROZEN.name}"
    assert list(keys) == [name]


@pytest.mark.parametrize("name", sorted({path.stem for path in JOBS.glob("*.yaml")} - set(NAMES)))
def test_a_job_that_includes_others_has_their_keys(name: str) -> None:
    parts = planned_keys(JOBS / f"{name}.yaml")
    assert len(parts) > 1 and {part: rows for part in parts if (rows := moved(parts[part], FROZEN_KEYS[part]))} == {}


@pytest.mark.parametrize("name", NAMES)
def test_stretched_images_have_the_keys_of_before_they_could_be_cropped(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Of BTAD and MVTec 3D-AD, which are cropped by default, `resize: stretch` brings back those of FOD's first version; all others
    do not depend on it."""
    before = STRETCHED_KEYS.get(name, {})
    stretched = planned_keys(JOBS / f"{name}.yaml", ["resize=stretch"])[name]
    frozen = {row: keys for row, keys in FROZEN_KEYS[name].items() if row.rpartition(" · ")[0] not in YOUNGER}
    others = frozen.keys() - before.keys()
    assert moved({row: stretched[row] for row in others}, {row: frozen[row] for row in others}) == []
    monkeypatch.setattr(FodSettings, "version", 1)
    stretched = planned_keys(JOBS / f"{name}.yaml", ["resize=stretch"])[name]
    assert moved({row: stretched[row] for row in before}, before) == []
    cropped = [row for row in frozen if row.rpartition(" · ")[2] in ("btad", "mvtec3d")]
    assert list(before) == cropped
    for row in cropped:
        assert all(before[row][kind] != FROZEN_KEYS[name][row][kind] for kind in ("trainings", "features"))
