"""From a job to its cells, and from a setting to what it shares with others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fod_bench.datasets import category_names
from fod_bench.errors import DatasetError, JobError
from fod_bench.job.datasets import DatasetSpec
from fod_bench.job.schema import Job
from fod_bench.job.settings import Settings
from fod_bench.records.record import COST_SCORE, score_name
from fod_bench.schema.problems import unknown

_NO_COST = ("learning_rate", "epochs", "evaluate_every", "lambda1", "lambda2")
"""What makes no difference to what a training step or a picture costs."""


@dataclass(frozen=True)
class CellSpec:
    """One number asked for: a row on one category with one seed."""

    part: Job
    """The job whose row it is: the one that is expanded, or one that it includes."""
    row: str
    dataset: str
    category: str
    seed: int
    settings: Settings


@dataclass(frozen=True)
class Expansion:
    """The cells of a job, as far as they can be counted."""

    cells: tuple[CellSpec, ...]
    """In the order part, data set, category, row, seed."""
    problems: tuple[str, ...]
    """Data sets that are not there, each in words with the remedy. The cells of those whose categories are known
    without their files are counted all the same."""


def expand(job: Job) -> Expansion:
    """Every cell of the job.

    Raises:
        JobError: categories named in the job that a data set on disk lacks.
    """
    cells: list[CellSpec] = []
    problems: list[str] = []
    strange: list[str] = []
    for part in job.parts():
        rows = part.rows()
        for name, spec in part.datasets.items():
            for category in _categories(name, spec, problems, strange):
                cells += [
                    CellSpec(part, row, name, category, seed, settings) for row, settings in rows for seed in part.seeds
                ]
    if strange:
        raise JobError("\n".join(dict.fromkeys(strange)))
    return Expansion(tuple(cells), tuple(dict.fromkeys(problems)))


def _categories(name: str, spec: DatasetSpec, problems: list[str], strange: list[str]) -> tuple[str, ...]:
    """The categories of a data set, none when they cannot be known; adds to `problems` and `strange` what is wrong."""
    named = () if spec.categories == "all" else spec.categories
    there = spec.root is None or Path(spec.root).is_dir()
    if not there:
        uncounted = ", so its categories cannot be counted" if spec.layout == "folder" and not named else ""
        remedy = f"name yours by --set datasets.{name}.root=FOLDER or by the variable in the job file"
        problems.append(f"datasets.{name}: there is no folder {spec.root}{uncounted}; {remedy}")
    if named and (not there or spec.layout != "folder"):
        return named
    try:
        on_disk = category_names(spec.layout, spec.root) if there or spec.layout != "folder" else []
    except DatasetError as error:
        problems.append(f"datasets.{name}: {error}")
        return ()
    strange += [
        f"datasets.{name}.categories: {unknown('category', category, on_disk)}, in {spec.root}"
        for category in named
        if category not in on_disk
    ]
    return named or tuple(on_disk)


def cell_score(settings: Settings) -> str:
    """Score name of the setting's rule and levels, e.g. `rec_div@8`: which score of a training the row shows; or `cost`."""
    return COST_SCORE if settings.measure == "cost" else score_name(settings.scoring, settings.scored_levels)


def training_setting(settings: Settings) -> dict[str, Any]:
    """All of a setting that changes the training, in one form for equal trainings, and nothing else.

    Scoring is left out, and so is what the views, the number of levels or a weight of zero make ineffective. The
    backbone's weights are not in it, since a path says little: they belong to the features, which a key adds together
    with data and seed. `evaluate_every` is in it, because it decides what the record holds. Where costs are measured, `measure`
    and what they depend on are all that is in it.
    """
    setting: dict[str, Any] = {
        "method": settings.method,
        "backbone": settings.backbone,
        "image_size": settings.image_size,
        "levels": list(settings.levels),
        "d_model": {str(level): settings.d_model[level] for level in settings.levels},
        "heads": settings.heads,
        "layers": settings.layers,
        "views": settings.views,
        "learning_rate": settings.learning_rate,
        "batch_size": settings.batch_size,
        "precision": settings.precision,
        "epochs": settings.epochs,
        "evaluate_every": min(settings.evaluate_every, settings.epochs),
    }
    if settings.views != "patch":
        setting["optimization"] = settings.optimization
        setting["lambda1"] = settings.lambda1
        setting["lambda2"] = settings.lambda2 if settings.entropy else 0.0
    if settings.uses_reference:
        setting["reference"] = settings.reference.model_dump()
    if len(settings.levels) > 1:
        setting["zero_gradient_step"] = settings.zero_gradient_step
    if settings.backbone_precision != "float32":
        setting["backbone_precision"] = settings.backbone_precision
    if settings.measure == "cost":
        return {key: value for key, value in setting.items() if key not in _NO_COST} | {"measure": "cost"}
    return setting
