"""The settings of FOD: every key with the paper's value as its default, and what the program asks of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, field_validator

from fod_bench.features.offered import backbone_strides
from fod_bench.methods.fod.cost import forward_flops, parameter_count, step_flops
from fod_bench.methods.fod.on_cpu import lacking_on_cpu
from fod_bench.methods.fod.references.specs import MAKER, REFERENCES, MeanReference, ReferenceSpec, reference_spec
from fod_bench.methods.fod.rules import View, rules, uses_reference
from fod_bench.methods.settings import BackboneSettings, FirstRow, Levels, Needs, Precision, Work
from fod_bench.records.record import Counts
from fod_bench.records.scores import kept_bytes
from fod_bench.schema.fields import NonNegativeNumber, PositiveNumber, PositiveWholeNumber, Switch, WholeNumber
from fod_bench.schema.problems import MappingKey, Problem

DEFAULT_D_MODEL = {4: 128, 8: 256, 16: 512}
"""Width of the network per stride: the paper's for 8 and 16; it does not state one for 4."""

_NO_COST = ("learning_rate", "epochs", "evaluate_every", "lambda1", "lambda2")
"""What makes no difference to what a training step or an image costs."""

_PACKED = ("lambda1", "lambda2")
"""In what trainings may differ that share their steps."""


class FodSettings(BackboneSettings):
    """Focus the Discrepancy (ICCV 2023)."""

    implementation: ClassVar[str] = "fod_bench.methods.fod.method:FodMethod"
    version: ClassVar[int] = 3
    summary: ClassVar[str] = (
        "patches are reconstructed from intra- and inter-image correlations; one transformer per feature level"
    )
    works_on: ClassVar[str] = "features after a 3×3 mean, reference features"
    source: ClassVar[str] = "Yao et al., Focus the Discrepancy, ICCV 2023"
    licence: ClassVar[str] = "authors' code: none stated; written here from the paper and measured against it"
    reference_maker: ClassVar[str] = MAKER
    costed: ClassVar[bool] = True
    mappings: ClassVar[Mapping[str, type[BaseModel]]] = {
        f"`reference`, kind `{kind}`": model for kind, model in REFERENCES.items()
    }

    levels: Levels = (8, 16)
    """Feature levels, by stride (pixels per feature); each has a network of its own."""
    d_model: dict[WholeNumber, PositiveWholeNumber] = DEFAULT_D_MODEL
    """Width of the network per level, a multiple of 4 and of `heads`. Entries given are laid over the defaults."""
    heads: PositiveWholeNumber = 8
    """Attention heads of a layer."""
    layers: PositiveWholeNumber = 3
    """Layers of the network."""
    views: View = "full"
    """Which correlations the network sees: `patch` (none: plain self-attention), `intra` (within the image),
    `inter` (to the normal reference), `full` (both)."""
    entropy: Switch = True
    """Whether the entropy of the correlations is part of the loss; `false` is the same as `lambda2: 0`."""
    reference: ReferenceSpec = MeanReference()
    """Normal reference features, for the views that use some: a kind's name, or a mapping with `kind` and the keys of that
    kind. References are shared by all rows and seeds that name the same."""
    scoring: Literal["auto", "rec", "div", "rec_div", "rec_div_printed"] = "auto"
    """Scoring rule: reconstruction error, correlation divergence, or both. `auto` is `rec` for `views: patch` (it has
    no other) and `rec_div`, the paper's, for the rest. `rec_div_printed` takes the weight of Eq. 12 as the paper prints it, where
    `rec_div` follows the authors' code; it needs `views: inter` or `full`. Trainings are shared by rows that differ in it only."""
    optimization: Literal["two_phase", "direct"] = "two_phase"
    """`two_phase` as the paper trains, or `direct` (the same terms in one loss, without stopped gradients)."""
    lambda1: NonNegativeNumber = 0.5
    """Weight of the divergence in the loss."""
    lambda2: NonNegativeNumber = 0.5
    """Weight of the entropy in the loss."""
    learning_rate: PositiveNumber = 1e-4
    """Learning rate of Adam."""
    batch_size: PositiveWholeNumber = 1
    """Images per training step."""
    epochs: PositiveWholeNumber = 100
    """Passes over the training images."""
    evaluate_every: PositiveWholeNumber = 1
    """Epochs between two evaluations on the test split; the last epoch is always evaluated."""
    precision: Precision = "float32"
    """Precision of the factors of matrix products; sums and all else are float32. `tf32` needs a GPU, `bfloat16` a GPU or a CPU
    with AMX, where it is faster, or with AVX512-BF16, where it was not timed. On a GPU `bfloat16` is the correlation operator's
    alone, the other products are then in TF32."""
    zero_gradient_step: Switch = False
    """Repeat an effect of the authors' loop: every level also moves by momentum on the other levels' steps."""

    @field_validator("reference", mode="before")
    @classmethod
    def _reference_by_name_or_mapping(cls, reference: Any) -> ReferenceSpec:
        return reference_spec(reference)

    @property
    def widths(self) -> dict[int, int]:
        """Width of the network per level."""
        return DEFAULT_D_MODEL | self.d_model

    @property
    def uses_reference(self) -> bool:
        """Whether the views look at reference features."""
        return uses_reference(self.views)

    def rules(self) -> tuple[str, ...]:
        return rules(self.views)

    def no_rule(self, scoring: str) -> str:
        if self.views == "patch":
            return f"views `patch` have no correlations, so no `{scoring}`; set `rec` or leave it out"
        text = "weights by the inter-image divergence, which views `intra` do not have; set `rec_div` or leave it out"
        return f"Eq. 12 as printed, `rec_div_printed`, {text}"

    def contradictions(self) -> Iterator[Problem]:
        yield from super().contradictions()
        for level in self.levels:
            width = self.widths.get(level)
            if width is None:
                yield Problem(("d_model",), f"has no width for level {level}; add e.g. `{level}: 256`")
            elif width % 4:
                yield Problem(
                    ("d_model", MappingKey(level)),
                    f"{width} is not a multiple of 4, which the 2-D sine/cosine position code needs",
                )
            elif width % self.heads:
                yield Problem(("heads",), f"{self.heads} heads do not divide d_model {width} of level {level}")
        if self.measures_cost and self.uses_reference and self.reference.kind in ("nearest", "codebook"):
            text = "depends on the image, and finding it is not timed; `measure: cost` takes mean, coreset or prototype"
            yield Problem(("reference",), f"a reference of kind `{self.reference.kind}` {text}")

    def training(self) -> dict[str, Any]:
        """See `MethodSettings`.

        Scoring is left out, and so is what the views, the number of levels or a weight of zero make ineffective. The backbone's
        weights are not in it, since a path says little, nor is how images become squares: they belong to the features.
        `evaluate_every` is in it, because it decides what the record holds. Where costs are measured, `measure` and what they
        depend on are all that is in it.
        """
        setting: dict[str, Any] = {
            "method": self.method,
            "backbone": self.backbone,
            "image_size": self.image_size,
            "levels": list(self.levels),
            "d_model": {str(level): self.widths[level] for level in self.levels},
            "heads": self.heads,
            "layers": self.layers,
            "views": self.views,
            "learning_rate": self.learning_rate,
            "batch_size": self.batch_size,
            "precision": self.precision,
            "epochs": self.epochs,
            "evaluate_every": min(self.evaluate_every, self.epochs),
        }
        if self.views != "patch":
            setting["optimization"] = self.optimization
            setting["lambda1"] = self.lambda1
            setting["lambda2"] = self.lambda2 if self.entropy else 0.0
        if self.uses_reference:
            setting["reference"] = self.reference.model_dump()
        if len(self.levels) > 1:
            setting["zero_gradient_step"] = self.zero_gradient_step
        if self.backbone_precision != "float32":
            setting["backbone_precision"] = self.backbone_precision
        if self.measures_cost:
            return {key: value for key, value in setting.items() if key not in _NO_COST} | {"measure": "cost"}
        return setting

    @classmethod
    def first_row(cls, full: bool, epochs: int | None) -> FirstRow:
        published = cls()
        epochs = epochs or (published.epochs if full else 5)
        keys = {"epochs": epochs, "evaluate_every": max(1, epochs // 5)}
        if full:
            remark = "The paper's method with its settings; begin with `--set epochs=10` for a first look."
            return FirstRow("FOD", remark, keys)
        widths = " and ".join(str(published.d_model[level]) for level in published.levels)
        remark = (
            f"The paper's method, reduced for a processor. Published: widths {widths}, {published.heads} heads, "
            f"{published.epochs} epochs at {published.learning_rate}."
        )
        return FirstRow("FOD", remark, {"d_model": {8: 64, 16: 128}, "heads": 2, "learning_rate": 5e-4, **keys})

    def needs(self) -> Needs:
        return Needs((self.features(pooled=True),), reference=self.reference if self.uses_reference else None)

    def pack_key(self) -> dict[str, Any] | None:
        if self.measures_cost:
            return None
        return {key: value for key, value in self.training().items() if key not in _PACKED}

    def too_small(self, counts: Counts) -> str | None:
        problem = self.reference.too_few(counts.train) if self.uses_reference else None
        return f"reference: {problem}" if problem else None

    def lacking(self, gpu: bool) -> str | None:
        return None if gpu else lacking_on_cpu(self.precision)

    def steps(self, counts: Counts) -> int:
        """Optimiser steps of the training, all levels counted as one; 0 for a measurement, which takes only some."""
        return 0 if self.measures_cost else -(-counts.train // self.batch_size) * self.epochs

    def work(self, counts: Counts) -> Work:
        if self.measures_cost:
            return Work(0.0, 0.0)
        channels = backbone_strides(self.backbone)
        per_position = self.reference.references_per_position()
        evaluations = -(-self.epochs // self.evaluate_every)
        tested = evaluations * (counts.test_good + counts.test_defect)
        operations = memory = weights = scores = 0.0
        parts = {"patch": 1, "intra": 2, "inter": 2, "full": 3}[self.views]
        for level in self.levels:
            patches, width = (self.image_size // level) ** 2, self.widths[level]
            size = (patches, channels[level], width)
            operations += self.epochs * counts.train * step_flops(*size, self.layers, self.views, 1, per_position)
            operations += tested * forward_flops(*size, self.layers, self.views, references=per_position)
            images = counts.train + counts.test_good + counts.test_defect
            parameters = parameter_count(channels[level], width, self.heads, self.layers, self.views)
            weights += 4.0 * parameters
            scores += (counts.test_good + counts.test_defect) * parts * kept_bytes(patches)
            # features of all images; weights, gradients and Adam's two moments; what a step keeps for its gradients
            memory += 4.0 * (
                images * patches * channels[level]
                + 4 * parameters
                + 30 * self.layers * self.batch_size * patches * width
            )
        return Work(operations, memory, weights, scores)
