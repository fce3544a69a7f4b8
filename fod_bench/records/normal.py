"""How a trial's detector scores normal images: what a threshold is taken from, and the scale that maps are drawn on.

    trials/<train key>/<claim>/normal-<epoch kept>-<score name>.json

Of the training images it is made when a threshold is first asked for, and kept beside the weights: whoever asks next needs
neither the training images nor their features.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator
from typing_extensions import Self

from fod_bench.errors import StoreError
from fod_bench.records.names import normal_name
from fod_bench.records.record import Record
from fod_bench.store import ObjectMissingError, Store
from fod_bench.store.reading import reading

QUANTILE = 0.995
"""Share of the normal images below the threshold, unless another is asked for."""


class NormalScores(BaseModel):
    """Of normal images, each with a number in every list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    """Train key of the trial."""
    scores: list[FiniteFloat] = Field(min_length=1)
    """Image scores."""
    medians: list[FiniteFloat]
    """Medians of the maps,"""
    maxima: list[FiniteFloat]
    """and their largest values."""

    @model_validator(mode="after")
    def _of_the_same_images(self) -> Self:
        if not len(self.scores) == len(self.medians) == len(self.maxima):
            raise ValueError("its lists are of different numbers of images")
        return self

    def threshold(self, quantile: float = QUANTILE) -> float:
        """The score that this share of the images does not exceed, between two of them by linear interpolation."""
        return float(np.quantile(self.scores, quantile))

    def scale(self, quantile: float = QUANTILE) -> tuple[float, float]:
        """Where a map's scale begins and ends: at what is usual of normal pixels, and as far beyond the largest values of normal
        maps, taken at this quantile, which so lie in its middle."""
        low, middle = float(np.median(self.medians)), float(np.quantile(self.maxima, quantile))
        return low, low + 2 * max(middle - low, float(np.finfo(np.float32).tiny))


def load_normal(store: Store, record: Record, epoch: str, score: str) -> NormalScores | None:
    """What was kept of the training images; None where nothing was. Raises `DamagedObjectError`."""
    name = normal_name(record.key, record.run.claim, epoch, score)
    try:
        content = store.get(name)
    except ObjectMissingError:
        return None
    with reading(name, "scores of the training images", store.location(name)):
        found = NormalScores.model_validate_json(content)
        if found.key != record.key:
            raise ValueError(f"they are of another trial, {found.key}")
    return found


def keep_normal(store: Store, record: Record, epoch: str, score: str, found: NormalScores) -> None:
    """Keep them for whoever asks next, where the store can be written; it need not be."""
    with suppress(StoreError):
        store.put(normal_name(record.key, record.run.claim, epoch, score), found.model_dump_json().encode())
