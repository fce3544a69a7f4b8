"""The settings of PatchSVDD: every key with the published default, and what the program asks of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from fod_bench.methods.patchsvdd.cost import (
    PATCHES,
    RULES,
    bank_bytes,
    encoder_parameters,
    grid_side,
    image_flops,
    sample_bytes,
    sample_flops,
    search_flops,
)
from fod_bench.methods.settings import MethodSettings, Needs, Work
from fod_bench.records.record import Counts
from fod_bench.records.scores import kept_bytes
from fod_bench.schema.fields import NonNegativeNumber, PositiveNumber, PositiveWholeNumber
from fod_bench.schema.problems import Problem

_NO_COST = ("svdd_weight", "learning_rate", "epochs", "evaluate_every")
"""What makes no difference to what a training step or an image costs."""


class PatchSvddSettings(MethodSettings):
    """PatchSVDD (ACCV 2020)."""

    implementation: ClassVar[str] = "fod_bench.methods.patchsvdd.method:PatchSvddMethod"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = (
        "patch embeddings trained from scratch by self-supervision; distance to the nearest training patch at two sizes"
    )
    works_on: ClassVar[str] = "images; no backbone"
    source: ClassVar[str] = "Yi and Yoon, Patch SVDD, ACCV 2020"
    licence: ClassVar[str] = (
        "authors' code: none stated; written here from a description and measured against its numbers"
    )
    costed: ClassVar[bool] = True

    method: str = "patchsvdd"
    """Method that is trained; `fod-bench methods` lists those there are."""
    embedding: PositiveWholeNumber = 64
    """Dimensions of a patch's embedding."""
    svdd_weight: NonNegativeNumber = 1e-3
    """λ, the weight of the SVDD loss. The authors' code has 1 as its argument's default and 1e-3 in its example; with large values
    all embeddings can collapse to one point, where distances say nothing: the log warns of it."""
    learning_rate: PositiveNumber = 1e-4
    """Learning rate of Adam. Embeddings can collapse under a larger one too."""
    batch_size: PositiveWholeNumber = 64
    """Samples of a step. A sample is one image and has four pairs of patches: for each of the two losses one of 64 and one of 32
    pixels."""
    repeats: PositiveWholeNumber = 100
    """Samples of each training image in an epoch."""
    epochs: PositiveWholeNumber = 299
    """Passes over the samples, as in the authors' code; at 256 pixels one takes 0.34 TFLOP per training image."""
    evaluate_every: PositiveWholeNumber = 10
    """Epochs between two evaluations on the test split; the last epoch is always evaluated. The authors' code evaluates each. An
    evaluation embeds all images and compares every test patch with every training patch: at 256 pixels 1.4 GFLOP for each pair
    of a test and a training image. Weights that are kept hold the embeddings of the training images, at 256 pixels 0.88 MB each."""
    scoring: Literal["auto", "patch32", "patch64", "sum", "mult"] = "auto"
    """How the map is made: from patches of one size, or as the sum or the product of both. `auto` is `mult`, the authors' own.
    Trainings are shared by rows that differ in it only."""

    def rules(self) -> tuple[str, ...]:
        return RULES

    def contradictions(self) -> Iterator[Problem]:
        largest = max(PATCHES)
        if self.image_size < largest:
            text = f"{self.image_size} pixels do not hold the larger patches, which are {largest} pixels wide; at least {largest}"
            yield Problem(("image_size",), text)
        yield from super().contradictions()

    def training(self) -> dict[str, Any]:
        """See `MethodSettings`. `evaluate_every` is in it, because it decides what the record holds."""
        setting: dict[str, Any] = {
            "method": self.method,
            "image_size": self.image_size,
            "embedding": self.embedding,
            "svdd_weight": self.svdd_weight,
            "learning_rate": self.learning_rate,
            "batch_size": self.batch_size,
            "repeats": self.repeats,
            "epochs": self.epochs,
            "evaluate_every": min(self.evaluate_every, self.epochs),
        }
        if self.measures_cost:
            return {key: value for key, value in setting.items() if key not in _NO_COST} | {"measure": "cost"}
        return setting

    def needs(self) -> Needs:
        return Needs(images=True)

    def too_small(self, counts: Counts) -> str | None:
        if counts.train >= 2:
            return None
        return (
            f"patchsvdd takes the mean of the training images from each, which leaves nothing of {counts.train}; "
            "at least 2 training images"
        )

    def steps(self, counts: Counts) -> int:
        """Optimiser steps of the training; 0 for a measurement, which takes only some."""
        return 0 if self.measures_cost else -(-counts.train * self.repeats // self.batch_size) * self.epochs

    def work(self, counts: Counts) -> Work:
        if self.measures_cost:
            return Work(0.0, 0.0)
        size, dimensions = self.image_size, self.embedding
        tested = counts.test_good + counts.test_defect
        training = self.epochs * counts.train * self.repeats * sample_flops(dimensions)
        embedding = (counts.train + tested) * image_flops(size, dimensions)
        evaluation = embedding + tested * search_flops(size, counts.train, dimensions)
        evaluations = -(-self.epochs // self.evaluate_every)
        # images of both splits; the embeddings, twice while they are put together; what a step keeps for its gradients
        images = 3.0 * (counts.train + tested) * size**2
        samples = min(self.batch_size, counts.train * self.repeats)
        memory = images + 2 * bank_bytes(size, counts.train, dimensions) + samples * sample_bytes(dimensions)
        weights = bank_bytes(size, counts.train, dimensions) + 4.0 * encoder_parameters(dimensions)
        scores = tested * sum(kept_bytes(patches) for patches in (grid_side(size, patch) ** 2 for patch in PATCHES))
        return Work(training + evaluations * evaluation, memory, weights, scores)
