"""What is left of a plan and what it will cost: counted against a store, timed by what earlier trials took."""

from __future__ import annotations

import statistics
from collections.abc import Hashable
from dataclasses import asdict, dataclass
from typing import Any

from fod_bench.errors import DamagedObjectError
from fod_bench.plan.plan import PartPlan, Plan
from fod_bench.plan.training import TrialJob
from fod_bench.records.names import FEATURES, IMAGES, REFERENCES, TRIALS, manifest_name, record_name, reference_name
from fod_bench.records.record import COST_SCORE, Record
from fod_bench.store import ObjectMissingError, Store

ASSUMED_FLOPS_PER_CORE = 60e9
"""Operations per second of one CPU core, where no record tells better. With AVX-512 some 100e9 were measured."""
CPU_CORE = "CPU core"
_SAMPLED_RECORDS = 20


@dataclass(frozen=True)
class Estimate:
    """How long the trainings that are left take on a kind of device."""

    device: str
    """`CPU_CORE`, or a GPU's name."""
    hours: float
    """Of one core; on a GPU of one worker, with as large a share of it as the recorded trainings had."""
    basis: str
    """What the hours are reckoned from."""


@dataclass(frozen=True)
class Summary:
    """A plan in numbers."""

    job: str
    run_id: str
    store: str
    rows: int
    categories: int
    seeds: int
    cells: int
    trainings_apart: int
    """One for every row of every part, category and seed."""
    trainings: int
    """Left after merging equal ones."""
    trainings_recorded: int
    trainings_blocked: int
    """Those whose data or weights are missing."""
    measurements: int
    """Cells whose cost is measured; they are counted apart from trainings."""
    measurements_recorded: int
    feature_sets: int
    feature_sets_stored: int
    pictures_to_extract: int
    references: int
    references_stored: int
    tables: list[int]
    steps_left: int
    """Optimiser steps of the trainings that have no record, as far as their pictures are counted."""
    trainings_uncounted: int
    """Trainings whose pictures cannot be counted, left out of the estimate."""
    petaflop_left: float
    """Of training and evaluation; the backbone's pass comes on top."""
    time_left: list[Estimate]
    """On a CPU core, then on the GPUs that recorded trainings name, of which a few are looked at."""
    parts: list[PartPlan]
    """The same counts for every job that is part of this one, in order."""
    problems: list[str]
    data: list[str]
    """What was found on disk of data sets of layout folder, and what is odd about any, a line each."""

    def as_json(self) -> dict[str, Any]:
        """Plain data, one key per number."""
        return asdict(self)


def summarize(plan: Plan, store: Store) -> Summary:
    """Count `plan` against what `store` has. Raises `StoreError`."""
    trials = list(plan.trials.values())
    there = {info.name for prefix in (FEATURES, IMAGES, REFERENCES, TRIALS) for info in store.list(prefix)}
    recorded = {trial.key for trial in trials if trial.wanted is not None and record_name(trial.key) in there}
    trainings = [trial for trial in trials if not trial.measures_cost]
    left = [trial for trial in trials if trial.key not in recorded]
    features = {source: trial.counts for trial in trials for source in _sources(trial)}
    named = [(key, root) for keys, root in ((plan.run.features, FEATURES), (plan.run.images, IMAGES)) for key in keys]
    stored = {key for key, root in named if manifest_name(key, root) in there}
    to_extract = [counts for source, counts in features.items() if source not in stored and counts is not None]
    references = {
        (_sources(trial)[0], reference)
        for trial in trials
        if (reference := trial.settings.needs().reference) is not None
    }
    counted = [(trial, trial.counts) for trial in left if trial.counts is not None]
    flops = sum(trial.settings.work(counts).operations for trial, counts in counted)
    return Summary(
        job=plan.job.name,
        run_id=plan.run.run_id,
        store=store.uri,
        rows=sum(part.rows for part in plan.parts),
        categories=len({(cell.dataset, cell.category) for cell in plan.run.cells}),
        seeds=len({cell.seed for cell in plan.run.cells}),
        cells=len(plan.run.cells),
        trainings_apart=sum(part.trainings_apart for part in plan.parts),
        trainings=len(trainings),
        trainings_recorded=sum(trial.key in recorded for trial in trainings),
        trainings_blocked=sum(trial.wanted is None for trial in trainings),
        measurements=sum(part.measurements for part in plan.parts),
        measurements_recorded=sum(cell.score == COST_SCORE and cell.key in recorded for cell in plan.run.cells),
        feature_sets=len(features),
        feature_sets_stored=len(stored),
        pictures_to_extract=sum(counts.train + counts.test_good + counts.test_defect for counts in to_extract),
        references=len(references),
        references_stored=sum(reference_name(key) in there for key in plan.run.references),
        tables=plan.run.tables,
        steps_left=sum(trial.steps() or 0 for trial, _ in counted),
        trainings_uncounted=len(left) - len(counted),
        petaflop_left=flops / 1e15,
        time_left=_estimates(flops, _rates(plan, store, recorded)),
        parts=plan.parts,
        problems=plan.faults(),
        data=plan.data_lines(),
    )


def _sources(trial: TrialJob) -> list[Hashable]:
    """The sets that the training works on: their keys, or what stands for them while data or weights are missing."""
    if trial.wanted is not None:
        return [one.key for one in trial.wanted.sets]
    needs, place = trial.settings.needs(), (trial.dataset, trial.category, trial.settings.resize_of(trial.layout))
    return [(*place, need) for need in (*needs.features, *(["images"] if needs.images else []))]


def _rates(plan: Plan, store: Store, recorded: set[str]) -> dict[str, list[float]]:
    """Operations per second of some recorded trainings, evaluation included, by device; of a CPU those of one core."""
    rates: dict[str, list[float]] = {}
    trainings = [key for key in sorted(recorded) if not plan.trials[key].measures_cost]
    for key in trainings[:_SAMPLED_RECORDS]:
        try:
            record = Record.model_validate_json(store.get(record_name(key)))
        except (ObjectMissingError, DamagedObjectError, ValueError):
            continue
        run = record.run
        seconds = run.train_seconds + run.evaluate_seconds
        on_cpu = run.device.startswith("cpu")
        if seconds > 0:
            rate = plan.trials[key].settings.work(record.counts).operations / seconds
            rates.setdefault(CPU_CORE if on_cpu else run.device, []).append(rate / run.threads if on_cpu else rate)
    return rates


def _estimates(flops: float, rates: dict[str, list[float]]) -> list[Estimate]:
    found = {
        device: Estimate(device, flops / statistics.median(each) / 3600, f"measured by {len(each)} recorded trainings")
        for device, each in rates.items()
    }
    basis = f"assumed {ASSUMED_FLOPS_PER_CORE / 1e9:.0f} GFLOP/s; no record tells yet"
    core = found.pop(CPU_CORE, None) or Estimate(CPU_CORE, flops / ASSUMED_FLOPS_PER_CORE / 3600, basis)
    return [core, *(found[device] for device in sorted(found))]
