"""What is left of a plan and what it will cost, counted against a store."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import asdict, dataclass
from typing import Any

from fod_bench.features.request import FeatureRequest, ImageRequest
from fod_bench.machine.system import cores
from fod_bench.plan.plan import PartPlan, Plan
from fod_bench.plan.timing import Estimate, estimates
from fod_bench.plan.training import TrialJob
from fod_bench.records.index.trials import Trials
from fod_bench.records.names import (
    FEATURES,
    IMAGES,
    REFERENCES,
    manifest_name,
    record_name,
    reference_name,
)
from fod_bench.records.record import COST_SCORE, Counts
from fod_bench.records.scores import EPOCHS
from fod_bench.store import Store


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
    """Optimiser steps of the trainings that have no record, as far as their images are counted."""
    trainings_uncounted: int
    """Trainings whose images cannot be counted, left out of the estimate."""
    petaflop_left: float
    """Of training and evaluation; the backbone's pass comes on top."""
    bytes_left: float
    """What the trainings that are left will keep in the store: weights, and scores of the test images."""
    time_left: list[Estimate]
    """On this machine's cores, then on the GPUs that recorded trainings ran on; empty when nothing is left."""
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
    of_trials = Trials(store)
    there = {info.name for prefix in (FEATURES, IMAGES, REFERENCES) for info in store.list(prefix)}
    there |= of_trials.names({trial.key for trial in trials})
    recorded = {trial.key for trial in trials if trial.wanted is not None and record_name(trial.key) in there}
    trainings = [trial for trial in trials if not trial.measures_cost]
    left = [trial for trial in trials if trial.key not in recorded]
    sets = {identity(source): (source, trial) for trial in trials for source in sources_of(trial)}
    named = [(key, root) for keys, root in ((plan.run.features, FEATURES), (plan.run.images, IMAGES)) for key in keys]
    stored = {key for key, root in named if manifest_name(key, root) in there}
    needed = {identity(source) for trial in left for source in sources_of(trial)}
    passes = {pass_of(sets[one][0]): sets[one][1] for one in sets if one in needed and one not in stored}
    to_extract = [trial for one, trial in passes.items() if one is not None]
    references = {
        (identity(sources_of(trial)[0]), reference)
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
        seeds=len({seed for part in plan.job.parts() for seed in part.seeds}),
        cells=len(plan.run.cells),
        trainings_apart=sum(part.trainings_apart for part in plan.parts),
        trainings=len(trainings),
        trainings_recorded=sum(trial.key in recorded for trial in trainings),
        trainings_blocked=sum(trial.wanted is None for trial in trainings),
        measurements=sum(part.measurements for part in plan.parts),
        measurements_recorded=sum(cell.score == COST_SCORE and cell.key in recorded for cell in plan.run.cells),
        feature_sets=len(sets),
        feature_sets_stored=len(stored),
        pictures_to_extract=sum(map(images_of, to_extract)),
        references=len(references),
        references_stored=sum(reference_name(key) in there for key in plan.run.references),
        tables=plan.run.tables,
        steps_left=sum(trial.steps() or 0 for trial, _ in counted),
        trainings_uncounted=len(left) - len(counted),
        petaflop_left=flops / 1e15,
        bytes_left=sum(_kept(plan, trial, counts) for trial, counts in counted if not trial.measures_cost),
        time_left=estimates(
            left,
            sum(images_of(trial) * (trial.settings.image_size / 256) ** 2 for trial in to_extract),
            cores() if plan.job.resources.cpus == "auto" else max(1, round(float(plan.job.resources.cpus))),
            of_trials,
        ),
        parts=plan.parts,
        problems=plan.faults(),
        data=plan.data_lines(),
    )


def sources_of(trial: TrialJob) -> list[Hashable]:
    """The sets that the training works on, or what stands for them while data or weights are missing."""
    if trial.wanted is not None:
        return list(trial.wanted.sets)
    needs, place = trial.settings.needs(), (trial.dataset, trial.category, trial.settings.resize_of(trial.layout))
    return [(*place, need) for need in (*needs.features, *(["images"] if needs.images else []))]


def identity(source: Hashable) -> Hashable:
    """Equal for equal sets: their key where it is known."""
    return source.key if isinstance(source, FeatureRequest | ImageRequest) else source


def pass_of(source: Hashable) -> Hashable | None:
    """What is made in one pass of a backbone; None for images, which need none."""
    if isinstance(source, FeatureRequest):
        return source.made_with
    return None if isinstance(source, ImageRequest) or "images" in source else source  # type: ignore[operator]


def _kept(plan: Plan, trial: TrialJob, counts: Counts) -> float:
    """Bytes that a training keeps: of its last epoch, and of those that are best on the test data, at most so much."""
    work, epochs = trial.settings.work(counts), len(EPOCHS)
    scored = {"selected": epochs, "last": 1, "none": 0}[plan.job.keep_scores]
    return epochs * work.weights + scored * work.scores


def images_of(trial: TrialJob) -> int:
    """Images of its category, of both splits; 0 while they are not counted."""
    counts = trial.counts
    return 0 if counts is None else counts.train + counts.test_good + counts.test_defect
