"""Jobs that are run to their end in this process, without Ray: what a run would leave in a store."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from fod_bench.datasets import SyntheticSettings, write_synthetic
from fod_bench.job import Job, dump_job, load_job
from fod_bench.plan import TrialJob, make_plan
from fod_bench.records.claims import Claim, take
from fod_bench.records.names import checkpoints_prefix, job_name, plan_name
from fod_bench.records.record import KeepScores
from fod_bench.store import Store, open_store
from fod_bench.trials.prepare import Made, Order, Preparation
from fod_bench.trials.trial import Assignment, run_trials
from tests.helpers.commands import TINY


class _Undisturbed:
    """Control of a trial that nobody watches."""

    def report(self, epoch: int, epochs: int, step: int, steps: int, loss: float | None) -> None:
        pass

    def should_stop(self) -> bool:
        return False


class Finished(NamedTuple):
    """What a finished job left. Read only: tests that change a store copy it."""

    job: Path
    store: Path
    images: Path
    """The category's folder."""


def finished_job(folder: Path) -> Finished:
    """A job with rows FOD, Patch-only and PatchCore on one drawn category that lies on disk, run to its end."""
    drawn = SyntheticSettings(train=6, test_good=3, test_defect_per_type=1, size=64)
    write_synthetic(folder / "drawn", drawn, ["weave"])
    patchcore = {
        "method": "patchcore",
        "backbone": "resnet18",
        "weights": "random",
        "image_size": 64,
        "coreset_ratio": 0.1,
    }
    variants = {"FOD": TINY, "Patch-only": TINY | {"views": "patch"}, "PatchCore": patchcore}
    job = small_job(folder, variants, {"drawn": {"layout": "folder", "root": str(folder / "drawn")}})
    finish(job)
    return Finished(job, folder / "store", folder / "drawn" / "weave")


def finish(job: Job | Path, store: Store | None = None, keep_scores: KeepScores = "selected") -> Store:
    """Train and test all that a job asks for, one after the other; the store is the job's own unless one is given."""
    loaded = load_job(job) if isinstance(job, Path) else job
    store = store or open_store(loaded.store)
    plan = make_plan(loaded, download=False)
    assert not plan.faults(), plan.faults()
    for trial in plan.trials.values():
        _train(trial, store, keep_scores)
    store.put(job_name(plan.run.run_id), dump_job(plan.job).encode())
    store.put(plan_name(plan.run.run_id), plan.run.model_dump_json(indent=1).encode())
    return store


def small_job(folder: Path, variants: dict[str, dict[str, Any]], datasets: dict[str, Any], **more: Any) -> Path:
    """A job file whose store is beside it."""
    path = folder / "job.yaml"
    content = {"name": "small", "datasets": datasets, "variants": variants, "store": str(folder / "store")} | more
    path.write_text(yaml.safe_dump(content))
    return path


def _train(trial: TrialJob, store: Store, keep_scores: KeepScores) -> None:
    assert trial.wanted is not None
    device = torch.device("cpu")
    preparation, reference = Preparation(store, device), trial.settings.needs().reference
    for number, request in enumerate(trial.wanted.sets):
        wanted = [reference] if reference is not None and number == 0 else []
        if preparation.stored(request, wanted) is None:
            (made,) = preparation.make([Order(request, wanted, _claim(store, request.key))])
            assert isinstance(made, Made) and not made.unmade, made
    asked = trial.trial(1e9, keep_scores)
    data = preparation.data(asked, list(trial.wanted.keys().values()))
    outcomes: Iterable[Any] = run_trials([Assignment(asked, data, _claim(store, asked.key), _Undisturbed())], device)
    for _, outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome


def _claim(store: Store, key: str) -> Claim:
    claimed = take(store, key, attempt="test", previous="test", states=checkpoints_prefix(key))
    assert isinstance(claimed, Claim)
    return claimed
