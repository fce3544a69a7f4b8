"""The plan of a run: the cells it asks for."""

from __future__ import annotations

from fnmatch import fnmatchcase

from pydantic import Field

from fod_bench.records.record import _Frozen
from fod_bench.store.reading import Part


class Cell(_Frozen):
    """One number asked for: a row of a table on one category with one seed, and the training and scoring it comes from."""

    row: str
    """Label of the table row: the variant's name, with the grid's values where the job has a grid."""
    method: str
    dataset: str
    layout: str
    category: str
    seed: int
    score: str
    """Score name, e.g. `rec@8+16`, or `cost`."""
    key: Part | None
    """Train key; None while it cannot be known (data or weights missing)."""
    part: str = ""
    """Name of the job whose row it is: the run's own, or one that it includes."""
    tables: list[int] = Field(default_factory=list)
    """Tables of the paper that the row feeds."""

    def matches(self, only: str | None) -> bool:
        """Whether a run with `--only` works on it: the shell pattern matches its `row/dataset/category`. None matches all."""
        return only is None or fnmatchcase(f"{self.row}/{self.dataset}/{self.category}", only)


class RunPlan(_Frozen):
    """What a run set out to do; stored under `records.names.plan_name`."""

    schema_version: int = 1
    run_id: Part
    job: str
    created: str
    """UTC, ISO 8601."""
    tables: list[int]
    """Tables of the paper that the job feeds."""
    cells: list[Cell]
    features: list[Part] = Field(default_factory=list)
    """Keys of the feature sets it needs, as far as they can be known."""
    images: list[Part] = Field(default_factory=list)
    """Keys of the sets of images it needs."""
    truth: list[Part] = Field(default_factory=list)
    """Keys of the labels and masks it needs."""
    references: list[Part] = Field(default_factory=list)
    """Keys of the reference features it needs."""
