"""The settings of a trial: every key with its default, the paper's, and the contradictions that are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationInfo, field_validator, model_validator

from fod_bench.errors import JobError
from fod_bench.features.offered import backbone_strides
from fod_bench.methods.fod.references.specs import MeanReference, ReferenceSpec, reference_spec
from fod_bench.schema.fields import (
    Frozen,
    NonNegativeNumber,
    PositiveNumber,
    PositiveWholeNumber,
    Switch,
    WholeNumber,
    home_expanded,
    without_repeats,
)
from fod_bench.schema.problems import Problem, describe, refusal, suggest, unknown

METHODS = ("fod",)
"""Names of the methods that can be run."""

DEFAULT_D_MODEL = {4: 128, 8: 256, 16: 512}
"""Width of the network per stride: the paper's for 8 and 16; it does not state one for 4."""


Levels = Annotated[
    tuple[PositiveWholeNumber, ...],
    Field(min_length=1),
    AfterValidator(without_repeats),
    AfterValidator(sorted),
    AfterValidator(tuple),
]

Precision = Literal["float32", "tf32", "bfloat16"]

_LEVELS: TypeAdapter[tuple[int, ...]] = TypeAdapter(Levels)


class SettingFields(Frozen):
    """The keys under `settings`, each checked by itself; the same keys make a variant's overrides."""

    method: str = "fod"
    """Method that is trained: `fod`."""
    backbone: str = "tf_efficientnet_b6.aa_in1k"
    """Frozen timm backbone that gives the features, with or without its weights' tag."""
    weights: str = "pretrained"
    """Weights of the backbone: `pretrained` (timm's published ones), `random`, or the path of a local file."""
    weights_seed: Annotated[WholeNumber, Field(ge=0)] = 0
    """Seed of `weights: random`; without effect otherwise."""
    backbone_precision: Precision = "float32"
    """Precision of the backbone's products; features are kept in float32. `tf32` needs a GPU. `bfloat16` is twice as fast on
    CPUs that have it; features differ from those in float32 by one to three percent."""
    image_size: Annotated[WholeNumber, Field(ge=32)] = 256
    """Side of the square that a picture is resized to, in pixels; at least 32, a multiple of every level."""
    levels: Levels = (8, 16)
    """Feature levels, by stride (pixels per feature); each has a network of its own."""
    d_model: dict[WholeNumber, PositiveWholeNumber] = DEFAULT_D_MODEL
    """Width of the network per level, a multiple of 4 and of `heads`. Entries given are laid over the defaults."""
    heads: PositiveWholeNumber = 8
    """Attention heads of a layer."""
    layers: PositiveWholeNumber = 3
    """Layers of the network."""
    views: Literal["patch", "intra", "inter", "full"] = "full"
    """Which correlations the network sees: `patch` (none: plain self-attention), `intra` (within the picture),
    `inter` (to the normal reference), `full` (both)."""
    entropy: Switch = True
    """Whether the entropy of the correlations is part of the loss; `false` is the same as `lambda2: 0`."""
    reference: ReferenceSpec = MeanReference()
    """Normal reference features, for the views that use some: a kind's name, or a mapping with `kind` and the keys of that
    kind. References are shared by all rows and seeds that name the same."""
    measure: Literal["auroc", "cost"] = "auroc"
    """What a row shows: `auroc`, or `cost`, the numbers of Table 5: operations, parameters, time of an epoch and of a picture on
    the machine at hand. `cost` trains for some steps only; what does not change the cost (`epochs`, `lambda1`, ...) is ignored."""
    scoring: Literal["auto", "rec", "div", "rec_div"] = "auto"
    """Scoring rule: reconstruction error, correlation divergence, or both. `auto` is `rec` for `views: patch` (it has
    no other) and `rec_div`, the paper's, for the rest. Trainings are shared by rows that differ in it only."""
    score_levels: Literal["all"] | tuple[int, ...] = "all"
    """Levels whose maps make the score: `all`, or a list of some of `levels`. Trainings are shared as above."""
    optimization: Literal["two_phase", "direct"] = "two_phase"
    """`two_phase` as the paper trains, or `direct` (the same terms in one loss, without stopped gradients)."""
    lambda1: NonNegativeNumber = 0.5
    """Weight of the divergence in the loss."""
    lambda2: NonNegativeNumber = 0.5
    """Weight of the entropy in the loss."""
    learning_rate: PositiveNumber = 1e-4
    """Learning rate of Adam."""
    batch_size: PositiveWholeNumber = 1
    """Pictures per training step."""
    epochs: PositiveWholeNumber = 100
    """Passes over the training pictures."""
    evaluate_every: PositiveWholeNumber = 1
    """Epochs between two evaluations on the test split; the last epoch is always evaluated."""
    precision: Precision = "float32"
    """Precision of the factors of matrix products; sums and all else are float32. `tf32` and `bfloat16` need a GPU;
    `bfloat16` is the correlation operator's alone, the other products are then in TF32."""
    zero_gradient_step: Switch = False
    """Repeat an effect of the authors' loop: every level also moves by momentum on the other levels' steps."""

    @field_validator("method")
    @classmethod
    def _method_exists(cls, method: str) -> str:
        if method not in METHODS:
            raise ValueError(unknown("method", method, METHODS))
        return method

    @field_validator("reference", mode="before")
    @classmethod
    def _reference_by_name_or_mapping(cls, reference: Any) -> ReferenceSpec:
        return reference_spec(reference)

    @field_validator("backbone")
    @classmethod
    def _backbone_exists(cls, backbone: str) -> str:
        try:
            backbone_strides(backbone)
        except JobError as error:
            raise ValueError(str(error)) from None
        return backbone

    @field_validator("weights")
    @classmethod
    def _weights_are_known_or_a_path(cls, weights: str) -> str:
        if weights in ("pretrained", "random"):
            return weights
        if not weights or (weights == Path(weights).name and not Path(weights).suffix):
            hint = suggest(weights, ("pretrained", "random"))
            raise ValueError(f"{weights!r} is no word for weights and no path of a file; {hint}")
        return home_expanded(weights)

    @field_validator("score_levels", mode="plain")
    @classmethod
    def _all_or_levels(cls, value: Any) -> Any:
        if value == "all":
            return value
        if not isinstance(value, list | tuple):
            raise ValueError(f"should be `all` or a list of levels, not {describe(value)}")
        return _LEVELS.validate_python(value)

    def given(self) -> dict[str, Any]:
        """The keys that were given, with their values: for a variant, its overrides."""
        return {key: getattr(self, key) for key in type(self).model_fields if key in self.model_fields_set}


class Settings(SettingFields):
    """One complete setting, free of contradictions: what a trial is made from."""

    # Lets the validators below see the defaults too.
    model_config = ConfigDict(validate_default=True)

    @field_validator("d_model")
    @classmethod
    def _laid_over_the_defaults(cls, d_model: dict[int, int]) -> dict[int, int]:
        return DEFAULT_D_MODEL | d_model

    @field_validator("scoring")
    @classmethod
    def _rule(cls, scoring: str, info: ValidationInfo) -> str:
        if scoring != "auto" or info.data.get("measure") == "cost":
            return scoring
        return "rec" if info.data.get("views") == "patch" else "rec_div"

    @model_validator(mode="after")
    def _free_of_contradictions(self) -> Settings:
        problems = list(self._contradictions())
        if problems:
            raise refusal("Settings", problems)
        return self

    @property
    def scored_levels(self) -> tuple[int, ...]:
        """The levels whose maps make the score."""
        return self.levels if self.score_levels == "all" else self.score_levels

    @property
    def uses_reference(self) -> bool:
        """Whether the views look at reference features."""
        return self.views in ("inter", "full")

    def _contradictions(self) -> Iterator[Problem]:
        strides = backbone_strides(self.backbone)
        for level in self.levels:
            if level not in strides:
                offered = ", ".join(str(stride) for stride in strides)
                yield Problem(("levels",), f"backbone {self.backbone} has no level of stride {level}; it has {offered}")
                continue
            if self.image_size % level:
                yield Problem(("image_size",), f"{self.image_size} pixels are not a multiple of level {level}")
            width = self.d_model.get(level)
            if width is None:
                yield Problem(("d_model",), f"has no width for level {level}; add e.g. `{level}: 256`")
            elif width % 4:
                yield Problem(
                    ("d_model", level), f"{width} is not a multiple of 4, which the 2-D sine/cosine position code needs"
                )
            elif width % self.heads:
                yield Problem(("heads",), f"{self.heads} heads do not divide d_model {width} of level {level}")
        if self.measure == "cost":
            if self.scoring != "auto":
                yield Problem(("scoring",), "`measure: cost` shows costs, which have no scoring rule; leave it out")
            if self.score_levels != "all":
                yield Problem(("score_levels",), "`measure: cost` is of all trained levels together; leave it out")
            if self.uses_reference and self.reference.kind in ("nearest", "codebook"):
                text = "depends on the picture, and finding it is not timed; `measure: cost` takes mean, coreset or prototype"
                yield Problem(("reference",), f"a reference of kind `{self.reference.kind}` {text}")
        elif self.views == "patch" and self.scoring != "rec":
            yield Problem(
                ("scoring",), f"views `patch` have no correlations, so no `{self.scoring}`; set `rec` or leave it out"
            )
        for level in self.scored_levels:
            if level not in self.levels:
                trained = ", ".join(str(trained) for trained in self.levels)
                yield Problem(("score_levels",), f"level {level} is not among the trained levels {trained}")
