"""The settings of MKD: every key with the published value as its default, and what the program asks of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from pydantic import field_validator

from fod_bench.features.offered import backbone_strides
from fod_bench.methods.mkd.shapes import (
    architecture,
    cloner_parameters,
    cloner_products,
    cloner_values,
    cloner_widths,
    source_channels,
    source_costs,
    timm_levels,
)
from fod_bench.methods.settings import BackboneSettings, Levels, Needs, NetworkNeed, Work
from fod_bench.records.record import Counts
from fod_bench.records.scores import kept_bytes
from fod_bench.schema.fields import NonNegativeNumber, PositiveNumber, PositiveWholeNumber, Switch
from fod_bench.schema.problems import Problem

SCORED = 3
"""Of the trained levels so many, the coarsest, make the published score."""

_NO_COST = ("learning_rate", "epochs", "evaluate_every", "mse_weight")
"""What makes no difference to what a training step or an image costs."""

_EVALUATED = 8
"""Images that are scored at once, for the estimate of memory."""


class MkdSettings(BackboneSettings):
    """Multiresolution knowledge distillation (CVPR 2021)."""

    implementation: ClassVar[str] = "fod_bench.methods.mkd.method:MkdMethod"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = (
        "a small network imitates the feature maps of a frozen one; maps are gradients of the difference by the image"
    )
    works_on: ClassVar[str] = "images, a frozen backbone that it runs itself"
    source: ClassVar[str] = "Salehi et al., Multiresolution Knowledge Distillation for Anomaly Detection, CVPR 2021"
    licence: ClassVar[str] = (
        "authors' code: none stated; written here from the published description and measured against it"
    )
    costed: ClassVar[bool] = True

    method: str = "mkd"
    """Method that is trained; `fod-bench methods` lists those there are."""
    levels: Levels = (4, 8, 16, 32)
    """Strides (pixels per feature) at which the cloner is trained to give the frozen network's maps: powers of two."""
    score_levels: Literal["auto", "all"] | tuple[int, ...] = "auto"  # type: ignore[assignment]
    """Levels whose differences make the score and the map: `auto` is the coarsest three of `levels`, as published (stride 4 is
    trained but not scored); `all`, or a list of some of `levels`. A map is a gradient through these levels, so rows that differ in
    them are trainings of their own."""
    cloner: Literal["small", "equal"] = "small"
    """The trained network: `small` has 16 channels wherever it is not compared, `equal` is as wide as the source everywhere;
    `equal` needs `backbone: vgg16`."""
    mse_weight: NonNegativeNumber = 0.5
    """Weight of the mean squared error in loss and score, beside 1 − cosine; 0 compares directions only. The size of the error
    depends on the backbone, so the published value for VGG-16 may not be the best for another."""
    learning_rate: PositiveNumber = 1e-3
    """Learning rate of Adam."""
    batch_size: PositiveWholeNumber = 64
    """Images per training step."""
    epochs: PositiveWholeNumber = 600
    """Passes over the training images."""
    evaluate_every: PositiveWholeNumber = 10
    """Epochs between two evaluations on the test split; the last epoch is always evaluated."""
    input_normalisation: Literal["imagenet", "none"] = "imagenet"
    """What both networks do to an image in [0, 1] first: `imagenet` subtracts the mean and divides by the standard deviation of
    ImageNet, `none` nothing, as published for VGG-16."""
    localisation: Literal["gradients", "smooth_grad", "gbp"] = "gradients"
    """How a map is made: `gradients` of the score by the image; `smooth_grad`, the mean over noisy copies of the image; `gbp`,
    guided backpropagation through the cloner's ReLUs."""
    smooth_grad_samples: PositiveWholeNumber = 50
    """Noisy copies per image, for `localisation: smooth_grad`."""
    smooth_grad_noise: PositiveNumber = 0.05
    """Noise of those copies: its standard deviation is the square of (this / (maximum − minimum of the image)), as the published
    code has it."""
    map_normalisation: Literal["image", "none"] = "image"
    """`image` scales every map by itself, from its minimum to its 99th percentile, as published: each then has a maximum of 1,
    that of a normal image too. `none` leaves maps as they are, so that images can be compared."""
    map_sigma: PositiveNumber | None = None
    """Standard deviation of the Gaussian that smooths a map, in pixels; 4 per 128 pixels of `image_size` when left out."""
    opening: Switch = True
    """Whether a map is opened at last: small bright spots are removed by a cross of 3×3 pixels."""

    @field_validator("score_levels", mode="plain")
    @classmethod
    def _all_or_levels(cls, value: Any) -> Any:
        return value if value == "auto" else super()._all_or_levels(value)

    @property
    def scored_levels(self) -> tuple[int, ...]:
        """Levels that make score and map, finest first."""
        if self.score_levels == "auto":
            return self.levels[-SCORED:]
        return self.levels if self.score_levels == "all" else tuple(sorted(self.score_levels))

    @property
    def widths(self) -> tuple[tuple[int, ...], ...]:
        """Channels of the cloner's convolutions, block by block."""
        return cloner_widths(self.backbone, self.levels, self.cloner == "equal")

    def network(self) -> NetworkNeed:
        """The frozen network, by the strides of timm's maps: for VGG those before the compared max-pools."""
        return NetworkNeed(self.backbone, self.weights, self.weights_seed, timm_levels(self.backbone, self.levels))

    def contradictions(self) -> Iterator[Problem]:
        for problem in super().contradictions():
            # a measurement of cost goes with the coarsest levels, which are the default here
            if not (self.measures_cost and problem.path == ("score_levels",) and self.score_levels == "auto"):
                yield problem
        odd = [level for level in self.levels if level < 2 or level & (level - 1)]
        if odd:
            there = [stride for stride in backbone_strides(self.backbone) if stride > 1 and not stride & (stride - 1)]
            text = f"the cloner halves the image again and again, so it has no level of stride {odd[0]}; "
            use = f"use some of {', '.join(map(str, there))}" if there else "take a backbone with strides 2, 4, 8, ..."
            yield Problem(("levels",), text + use)
        if self.backbone_precision != "float32":
            text = "the backbone is run by the method itself, with gradients, in float32; leave it out"
            yield Problem(("backbone_precision",), text)
        if self.cloner == "equal" and architecture(self.backbone) != "vgg16":
            text = f"a cloner as large as the source is known for vgg16 only, not {self.backbone}; set `cloner: small`"
            yield Problem(("cloner",), text)

    def training(self) -> dict[str, Any]:
        """See `MethodSettings`. How maps are made is in it, and so are `score_levels` and `evaluate_every`, because they decide
        what the record holds. Where costs are measured, `measure` and what they depend on are all that is in it."""
        setting: dict[str, Any] = {
            "method": self.method,
            "backbone": self.backbone,
            "image_size": self.image_size,
            "levels": list(self.levels),
            "score_levels": list(self.scored_levels),
            "cloner": self.cloner,
            "mse_weight": self.mse_weight,
            "learning_rate": self.learning_rate,
            "batch_size": self.batch_size,
            "epochs": self.epochs,
            "evaluate_every": min(self.evaluate_every, self.epochs),
            "input_normalisation": self.input_normalisation,
            "localisation": self.localisation,
            "map_normalisation": self.map_normalisation,
            "map_sigma": 4 * self.image_size / 128 if self.map_sigma is None else self.map_sigma,
            "opening": self.opening,
        }
        if self.localisation == "smooth_grad":
            setting["smooth_grad_samples"] = self.smooth_grad_samples
            setting["smooth_grad_noise"] = self.smooth_grad_noise
        if self.measures_cost:
            return {key: value for key, value in setting.items() if key not in _NO_COST} | {"measure": "cost"}
        return setting

    def needs(self) -> Needs:
        return Needs(images=True, network=self.network())

    def steps(self, counts: Counts) -> int:
        """Optimiser steps of the training; 0 for a measurement, which takes only some."""
        return 0 if self.measures_cost else -(-counts.train // self.batch_size) * self.epochs

    def work(self, counts: Counts) -> Work:
        """See `MethodSettings`. The source's operations are known of common backbones and roughly right for others."""
        if self.measures_cost:
            return Work(0.0, 0.0)
        side, widths = self.image_size, self.widths
        products, kept = source_costs(self.backbone, side)
        source, cloner = 2 * products, 2 * cloner_products(widths, side)
        maps = self.smooth_grad_samples + 1 if self.localisation == "smooth_grad" else 1
        evaluations = -(-self.epochs // self.evaluate_every)
        tested = evaluations * (counts.test_good + counts.test_defect)
        # forward and twice that backward; the source's maps of training images are made once
        operations = counts.train * (source + self.epochs * 3 * cloner) + tested * maps * 3 * (source + cloner)
        features = sum(source_channels(self.backbone, level) * (side // level) ** 2 for level in self.levels)
        batch = min(self.batch_size, counts.train)
        memory = 4.0 * counts.train * features + 16.0 * cloner_parameters(widths) + 3.0 * side**2 * counts.train
        # beside the layers' outputs, those of ReLUs and the gradients of the largest: measured, 2.3 and 1.5 times as much
        training = 4.0 * batch * (2.3 * cloner_values(widths, side) + features)
        scoring = 4.0 * _EVALUATED * 1.5 * (1.25 * cloner_values(widths, side) + kept)
        images = counts.test_good + counts.test_defect
        weights, scores = 4.0 * cloner_parameters(widths), images * kept_bytes(side**2)
        return Work(operations, memory + max(training, scoring), weights, scores)
