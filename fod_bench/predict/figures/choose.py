"""What a figure of a job shows: rows, trials, test images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fod_bench.datasets import Category, Sample, preprocess_mask, resize_that_made
from fod_bench.errors import FodBenchError, UsageError
from fod_bench.predict.find import FoundTrial, found_trial
from fod_bench.predict.load import predictor_of
from fod_bench.predict.samples import opened_category
from fod_bench.records.normal import NormalScores
from fod_bench.records.run import Cell
from fod_bench.records.scores import LAST, load_scores
from fod_bench.report.results import Results
from fod_bench.report.words import nearest
from fod_bench.store import Store
from fod_bench.trials.scores import as_tensors, scorings


@dataclass(frozen=True)
class TestImage:
    """A test image of a category."""

    __test__ = False  # for pytest it is no test

    dataset: str
    category: Category
    number: int
    """Among the category's test images."""

    @property
    def sample(self) -> Sample:
        return self.category.test[self.number]

    @property
    def place(self) -> tuple[str, str]:
        """Data set and category."""
        return self.dataset, self.category.name


class TrialMaps:
    """Maps of a trial's test images, of the last epoch: from the scores that were kept, or by its weights."""

    def __init__(self, found: FoundTrial) -> None:
        self.found = found
        size = found.record.features["image_size"]
        self.resize = resize_that_made(str(found.record.features.get("preprocessing")), size)

    @cached_property
    def category(self) -> Category:
        """Raises `DatasetError` where its images are not here, or are others."""
        return opened_category(self.found)

    @cached_property
    def _all(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Maps (m, s, s) and scores (m,) of all test images."""
        record, score = self.found.record, self.found.cell.score
        kept = load_scores(self.found.store, record, LAST)
        if kept is not None:
            found = next(scorings(record, as_tensors(kept), score))
            return found.pixels.float().numpy(), found.images.float().numpy()
        predictor = predictor_of(self.found, torch.device("cpu"))
        images = (self.category.read_image(sample) for sample in self.category.test)
        predicted = list(predictor.predict(images, decide=False))
        return np.stack([one.map for one in predicted]), np.array([one.score for one in predicted], np.float32)

    def map(self, number: int) -> NDArray[np.float32]:
        """(s, s) of a test image."""
        return self._all[0][number]

    def score(self, number: int) -> float:
        """Of a test image."""
        return float(self._all[1][number])

    @cached_property
    def scale(self) -> tuple[float, float]:
        """Of drawings, from the good test images: see `scale_of`."""
        return self.scale_of(*self._all, [n for n, sample in enumerate(self.category.test) if not sample.label])

    def scale_of(self, maps: NDArray[np.float32], scores: NDArray[np.floating], good: list[int]) -> tuple[float, float]:
        """Of maps (m, s, s), from the good test images among them, or all where there are none: see `NormalScores.scale`."""
        chosen = maps[good or slice(None)].reshape(-1, maps[0].size)
        return NormalScores(
            key=self.found.record.key,
            scores=scores[good or slice(None)].tolist(),
            medians=np.median(chosen, 1).tolist(),
            maxima=chosen.max(1).tolist(),
        ).scale()

    def square(self, number: int) -> Image.Image:
        """A test image as the detector sees it."""
        return self.resize.image(self.category.read_image(self.category.test[number]))

    def truth(self, number: int) -> NDArray[np.uint8] | None:
        """(s, s) of 0 and 1; None for an image without a mask."""
        sample = self.category.test[number]
        drawn = self.category.read_mask(sample) if sample.masked else None
        if drawn is None:
            return None if sample.label else np.zeros((self.resize.size, self.resize.size), np.uint8)
        return preprocess_mask(drawn, self.resize)


def chosen_rows(results: Results, asked: Sequence[str], usual: Iterable[Sequence[str]], most: int) -> list[str]:
    """Rows of the job: those asked for, else those of the usual names, else its first.

    Raises `UsageError` for a row that it does not have.
    """
    there = list(dict.fromkeys(cell.row for plan in results.plans for cell in plan.cells))
    folded = {row.casefold(): row for row in there}
    for row in asked:
        if row.casefold() not in folded:
            raise UsageError(f"--row: the job has no row {row!r}: {nearest(row, there)}")
    if asked:
        return [folded[row.casefold()] for row in asked]
    found = [next((row for row in names if row in there), None) for names in usual]
    return [row for row in found if row is not None] if all(found) else there[:most]


def trials_of(store: Store, results: Results, row: str, dataset: str | None) -> dict[tuple[str, str], FoundTrial]:
    """By data set and category, the trials of a row that have a record; of several seeds the first."""
    found: dict[tuple[str, str], FoundTrial] = {}
    for plan in results.plans:
        for cell in plan.cells:
            if cell.row == row and cell.key in results.outcomes and dataset in (None, cell.dataset):
                place = (cell.dataset, cell.category)
                if place not in found and not results.outcomes[cell.key].costs:
                    found[place] = found_trial(store, plan, cell, results.job_of(plan.run_id))
    return found


def usual_dataset(cells: Iterable[Cell], layout: str) -> str | None:
    """Name of the first data set of a layout; None where there is none."""
    return next((cell.dataset for cell in cells if cell.layout == layout), None)


def chosen_images(trials: Sequence[TrialMaps], names: Sequence[str], count: int) -> list[TestImage]:
    """Test images: those named, else so many defective ones, by turns of each category and each of its kinds of defect; of a kind
    first the one whose score is in the middle, then those next to it.

    `names`: ends of `category/path`, such as `bottle/test/crack/003.png` or `crack/003.png`. Raises `UsageError` for one that is of
    no image, or of several.
    """
    every = [
        TestImage(one.found.cell.dataset, one.category, number)
        for one in trials
        for number in range(len(one.category.test))
    ]
    if names:
        return [_named(name, every) for name in names]
    turns: list[tuple[tuple[int, int, int], TestImage]] = []
    for place, one in enumerate(trials):
        kinds: dict[str, list[int]] = {}
        for number, sample in enumerate(one.category.test):
            if sample.label:
                kinds.setdefault(sample.defect, []).append(number)
        for kind, (_, numbers) in enumerate(sorted(kinds.items())):
            for turn, number in enumerate(_from_the_middle(sorted(numbers, key=one.score))):
                turns.append(((turn, kind, place), TestImage(one.found.cell.dataset, one.category, number)))
    if not turns:
        raise FodBenchError("there is no defective test image to show; name images by --image")
    chosen = [image for _, image in sorted(turns, key=lambda turn: turn[0])[:count]]
    return sorted(chosen, key=lambda image: (image.place, image.number))


def _from_the_middle(ranked: Sequence[int]) -> list[int]:
    """The one in the middle first, then those next to it."""
    return [ranked[place] for place in sorted(range(len(ranked)), key=lambda place: abs(place - len(ranked) // 2))]


def _named(name: str, every: Sequence[TestImage]) -> TestImage:
    paths = [f"{image.category.name}/{image.sample.name}" for image in every]
    found = [image for image, path in zip(every, paths, strict=True) if f"/{path}".endswith(f"/{name.strip('/')}")]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(f"{image.category.name}/{image.sample.name}" for image in found[:3])
        raise UsageError(f"--image: {name!r} is of several test images, such as {several}; write more of the path")
    raise UsageError(f"--image: no test image {name!r}: {nearest(name, paths)}")
