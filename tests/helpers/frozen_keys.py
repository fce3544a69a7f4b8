"""Every key of every job in `jobs/`, on drawn images where the job draws them and on stand-ins where it needs files.

A key names what a store holds, so one that changes by accident makes a store of yesterday worthless. After a change that is
meant to move keys, write them anew with `python -m tests.helpers.frozen_keys`, and say in the test which ones moved.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from fod_bench.datasets import Category, Sample, open_category
from fod_bench.features.weights import Weights
from fod_bench.job import load_job
from fod_bench.plan import Plan, make_plan, resolve

JOBS = Path(__file__).parents[2] / "jobs"
FROZEN = Path(__file__).parents[1] / "fixtures/frozen_keys.json"
STRETCHED = Path(__file__).parents[1] / "fixtures/frozen_keys_stretched.json"
"""The keys that rows on BTAD and MVTec 3D-AD had while every image was stretched. Nothing writes this file anew."""

Keys = dict[str, dict[str, str]]
"""`{"row · data set": {"trainings": digest, "features": digest, "references": digest}}`, each over the keys of all categories."""

OWN = {"folder": ("datasets.pictures.root=nowhere", "datasets.pictures.categories=[bracket, lid]")}
"""What the jobs on own images need to be told, by the job's name."""


def planned_keys(path: Path, changes: Sequence[str] = ()) -> dict[str, Keys]:
    """The keys of each part of a job file, by the part's name; `changes` as `--set` takes them."""
    job = load_job(path, [*OWN.get(path.stem, ()), *changes])
    with (
        mock.patch("fod_bench.job.datasets.open_category", _open_stand_in),
        mock.patch.object(resolve, "resolve_weights", _stand_in_weights),
    ):
        plan = make_plan(job, download=False)
    assert not plan.unusable
    return {part.name: _keys(plan, part.name) for part in job.parts()}


def single_jobs() -> list[Path]:
    """The job files that include no others."""
    return [path for path in sorted(JOBS.glob("*.yaml")) if "\ninclude:" not in path.read_text()]


def _keys(plan: Plan, part: str) -> Keys:
    found: dict[str, dict[str, list[str]]] = {}
    for cell in plan.run.cells:
        if cell.part == part:
            assert cell.key is not None
            trial = plan.trials[cell.key]
            assert trial.wanted is not None
            lists = found.setdefault(
                f"{cell.row} · {cell.dataset}", {"trainings": [], "features": [], "references": []}
            )
            lists["trainings"].append(cell.key)
            lists["features"].append(trial.wanted.sets[0].key)
            lists["references"].append(trial.reference_key or "none")
    return {row: {kind: _digest(*keys) for kind, keys in lists.items()} for row, lists in found.items()}


class _StandIn(Category):
    """Images that nobody reads, with a fingerprint that follows from the names of layout and category."""

    def __init__(self, layout: str, name: str) -> None:
        self.layout, self.name = layout, name
        self.samples = [
            *(Sample(f"train/good/{number:03d}.png", "train", 0, "good") for number in range(999)),
            Sample("test/good/000.png", "test", 0, "good"),
            Sample("test/hole/000.png", "test", 1, "hole"),
        ]

    def read_image(self, sample: Sample) -> Any:
        raise NotImplementedError

    def read_mask(self, sample: Sample) -> Any:
        raise NotImplementedError

    def fingerprint(self) -> str:
        return hashlib.sha256(f"stand-in for {self.layout}/{self.name}".encode()).hexdigest()


def _open_stand_in(layout: str, root: object, name: str, **how: Any) -> Category:
    if layout == "synthetic":
        return open_category(layout, None, name, **how)
    assert how["limit"] is None
    return _StandIn(layout, name)


def _stand_in_weights(backbone: str, weights: str, seed: int, *, download: bool) -> Weights:
    if weights == "random":
        return Weights(backbone, f"random:{seed}", None, seed)
    return Weights(backbone, f"sha256:{_digest(backbone, weights)}", None, None)


def _digest(*values: str) -> str:
    return hashlib.sha256("\n".join(values).encode()).hexdigest()[:16]


def write() -> None:
    """Freeze the keys as they are now."""
    frozen = {path.stem: planned_keys(path)[path.stem] for path in single_jobs()}
    FROZEN.write_text(json.dumps(frozen, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    write()
