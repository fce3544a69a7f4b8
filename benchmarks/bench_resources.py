"""`resources: auto` on this machine: how long a small job takes as was chosen, against the best of all there was to choose from.

The job is one of eight trainings that share their steps. A run's time is from the first training handed out to the last record, on
a Ray that is there already: the start of the workers and the features are left out, and what measuring takes is told apart.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from benchmarks import Result
from benchmarks.steps import write
from fod_bench.cluster.session import ray_session
from fod_bench.job import load_job
from fod_bench.machine.system import cores
from fod_bench.plan import make_plan
from fod_bench.records.chosen import ChosenResources, chosen_resources
from fod_bench.runs.bounds import bounds_of
from fod_bench.runs.run import RunOptions, run_plan
from fod_bench.store import open_store

ROUNDS = 2
TRAININGS = 8
JOB: dict[str, Any] = {
    "name": "resources",
    "datasets": {
        "drawn": {
            "layout": "synthetic",
            "categories": ["weave"],
            "synthetic": {"train": 20, "test_good": 4, "test_defect_per_type": 2, "size": 128},
        }
    },
    "settings": {
        **{"backbone": "resnet18", "weights": "random", "image_size": 128, "d_model": {8: 32, 16: 32}},
        **{"heads": 4, "layers": 2, "epochs": 8, "evaluate_every": 2},
    },
    "seeds": list(range(TRAININGS)),
}


def run() -> list[Result]:
    """The ratio, and what the choice took."""
    with tempfile.TemporaryDirectory() as folder, ray_session(None) as watch:
        runs = partial(_seconds, Path(folder), watch, count())
        _, chosen = runs({"resources": "auto"})
        assert chosen is not None
        taken = (chosen.cpus, chosen.pack)
        grid = dict.fromkeys([*_grid(Path(folder)), taken], float("inf"))
        for _ in range(ROUNDS):
            for cpus, pack in grid:
                seconds, _ = runs({"resources": {"cpus": cpus}, "pack": pack})
                grid[cpus, pack] = min(grid[cpus, pack], seconds)
    best = min(grid, key=grid.__getitem__)
    write(
        "resources",
        [
            {"cpus": f"{cpus:g}", "pack": pack, "seconds": round(seconds, 2), "chosen": (cpus, pack) == taken}
            for (cpus, pack), seconds in sorted(grid.items())
        ],
    )
    return [
        Result(
            "resources: auto, a small job: as chosen / the best of the grid", grid[taken] / grid[best], 1.15, "×", False
        ),
        Result("the same: what the choice took, the start of its workers included", chosen.seconds, 60.0, "s", False),
    ]


def _grid(folder: Path) -> list[tuple[float, int]]:
    """CPUs and packs: all cores that a trial may have, and packs of powers of two up to the largest that leaves no core idle."""
    plan = make_plan(load_job(_job(folder, {"resources": "auto"})), download=False)
    bounds = bounds_of(plan, open_store(str(folder / "none")))
    assert bounds is not None
    largest = {cpus: -(-TRAININGS // max(1, int(cores() / cpus))) for cpus in bounds.cpus}
    return [(cpus, pack) for cpus in bounds.cpus for pack in (1, 2, 4, 8, 16) if pack <= largest[cpus]]


def _job(folder: Path, changes: dict[str, Any]) -> Path:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(JOB | changes))
    return path


def _seconds(
    folder: Path, watch: Any, numbers: Iterator[int], changes: dict[str, Any]
) -> tuple[float, ChosenResources | None]:
    """Of a run in a store of its own, and what it chose."""
    from fod_bench.cluster.ray_pool import RayPool

    plan = make_plan(load_job(_job(folder, changes)), download=False)
    store = open_store(str(folder / f"store{next(numbers)}"))
    begun: list[float] = []

    class TimedPool(RayPool):
        def train(self, *given: Any) -> None:
            begun.append(time.perf_counter())
            super().train(*given)

    @contextmanager
    def opened(store_uri: str, expected_object: str, note: Callable[[str], None]) -> Iterator[RayPool]:
        yield TimedPool(store_uri, expected_object, watch)

    counts, _ = run_plan(plan, store, RunOptions(quiet=True), opened)
    seconds = time.perf_counter() - begun[0]
    assert counts.done == TRAININGS
    return seconds, chosen_resources(store, plan.run.run_id)
