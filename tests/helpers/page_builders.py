"""A store with trainings whose scores were kept, made up and not trained, on images that are drawn: for the tests of the page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from fod_bench.datasets import SyntheticSettings, write_synthetic
from fod_bench.evaluation.evaluate import evaluate
from fod_bench.features.truth import TruthSet, make_truth, save_truth
from fod_bench.job import Job, dump_job, load_job
from fod_bench.plan import make_plan
from fod_bench.records.curves import Curves, EpochResult
from fod_bench.records.names import curves_name, job_name, plan_name, record_name
from fod_bench.records.record import Counts, Record, RunInfo, Trial
from fod_bench.records.scores import save_scores
from fod_bench.report import Results, job_results
from fod_bench.store import Store, open_store
from fod_bench.trials.scores import scorings

HOSTILE = """<b onmouseover="alert(1)">&' width=16"""
"""A row's name that is markup wherever it is not escaped."""
CLAIM = "1-0a0b0c0d"
JOB = f"""
name: page
description: Rows of one method, <i>made up</i>
store: STORE
datasets:
  drawn:
    layout: folder
    root: ROOT
    categories: [weave, board]
settings: {{method: draem, image_size: 64, epochs: 3, width: 8}}
seeds: [1, 2]
variants:
  good: {{}}
  poor: {{width: 12}}
  {json.dumps(HOSTILE)}: {{width: 16}}
"""
NOISE = {"good": 0.3, "poor": 1.5, HOSTILE: 0.8}


def page_job(folder: Path) -> Job:
    """The job in a folder, with its images drawn there."""
    root = folder / "drawn"
    if not root.exists():
        settings = SyntheticSettings(train=4, test_good=5, test_defect_per_type=2, size=64)
        write_synthetic(root, settings, ["weave", "board"])
    path = folder / "page.yaml"
    path.write_text(JOB.replace("STORE", str(folder / "store")).replace("ROOT", str(root)))
    return load_job(path)


def page_store(job: Job, *, keep: bool = True, failing: str = "", noise: Mapping[str, float] = NOISE) -> Store:
    """The store of the job, every training recorded but those of row `failing`; `keep`: with its scores. `noise`: by row."""
    store = open_store(job.store)
    plan = make_plan(job, download=False)
    for number, asked in enumerate(plan.trials.values()):
        if failing in asked.rows:
            continue
        assert asked.wanted is not None
        truth = make_truth(asked.wanted.truth)
        save_truth(store, truth)
        _train(store, asked.trial(10.0), truth, noise[asked.rows[0]], number, keep)
    store.put(job_name(plan.run.run_id), dump_job(job).encode())
    store.put(plan_name(plan.run.run_id), plan.run.model_dump_json().encode())
    return store


def page_results(job: Job, store: Store) -> Results:
    """What a report of the job reads."""
    return job_results(store, job, "fod-bench run page.yaml")


def _train(store: Store, trial: Trial, truth: TruthSet, noise: float, seed: int, keep: bool) -> None:
    """The record that a training might have left, better from epoch to epoch."""
    maps = {epoch: _maps(truth, noise * (1.5 - 0.4 * epoch), seed) for epoch in (1, 2, 3)}
    results = []
    for epoch, found in maps.items():
        metrics, _ = evaluate(scorings(trial, {"map": torch.from_numpy(found)}), truth.truth)
        results.append(EpochResult(epoch=epoch, losses={"total": 1.0 / epoch}, metrics=metrics))
    curves = Curves.of(trial.key, results)
    (score,) = curves.metrics
    selected = curves.selected()[score]
    defective = int(truth.truth.labels.sum())
    record = Record(
        **trial.training(),
        counts=Counts(train=4, test_good=len(truth.truth.labels) - defective, test_defect=defective),
        primary_score=score,
        epochs=3,
        selected=curves.selected(),
        curves=curves.digest(),
        run=RunInfo(
            started="2026-01-01T10:00:00+00:00",
            finished="2026-01-01T10:05:00+00:00",
            train_seconds=10.0 * (1 + noise),
            evaluate_seconds=2.0,
            seconds_per_step=0.5,
            device="cpu (x86_64)",
            threads=1,
            host="box",
            claim=CLAIM,
            versions={"torch": "2.9.0", "fod-bench": "0.1.0"},
        ),
    )
    if keep:
        epochs = {"best_image": selected["image_auroc"][1], "best_pixel": selected["pixel_auroc"][1], "last": 3}
        for name, epoch in epochs.items():
            assert epoch is not None
            save_scores(store, trial.key, CLAIM, name, {"map": maps[epoch]})
    store.put(curves_name(trial.key, CLAIM), curves.model_dump_json().encode())
    store.put(record_name(trial.key), record.model_dump_json().encode())


def _maps(truth: TruthSet, noise: float, seed: int) -> NDArray[np.float32]:
    """Maps (m, s, s) that are brighter on defects, of images without a mask anywhere."""
    rng = np.random.default_rng(seed)
    drawn = np.stack([gaussian_filter(mask.astype(float), 2) for mask in truth.truth.masks])
    spread = np.stack([gaussian_filter(rng.normal(size=mask.shape), 4) * 4 for mask in truth.truth.masks])
    return (drawn + noise * spread).astype(np.float32)
