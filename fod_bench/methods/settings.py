"""The settings of a trial: the keys that all methods share, and what every method's settings answer.

A method's settings derive from `MethodSettings`, or from `BackboneSettings` when it works on the features of a frozen backbone. The
rest of the program asks them, and knows no key of a method. Imports neither torch nor the methods' code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Protocol

from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, field_validator
from typing_extensions import Self

from fod_bench.datasets import SMALLEST_SIDE, Resize, resize_of
from fod_bench.errors import JobError
from fod_bench.features.offered import backbone_strides, levels_problem, neighbouring_sizes
from fod_bench.records.record import COST_SCORE, Counts, score_name
from fod_bench.schema.fields import Frozen, PositiveWholeNumber, WholeNumber, home_expanded, without_repeats
from fod_bench.schema.problems import Problem, describe, refusal, suggest, unknown
from fod_bench.store import Store

Levels = Annotated[
    tuple[PositiveWholeNumber, ...],
    Field(min_length=1),
    AfterValidator(without_repeats),
    AfterValidator(sorted),
    AfterValidator(tuple),
]
_LEVELS: TypeAdapter[tuple[int, ...]] = TypeAdapter(Levels)

Precision = Literal["float32", "tf32", "bfloat16"]


class FeatureNeed(NamedTuple):
    """Features of a frozen backbone."""

    backbone: str
    weights: str
    weights_seed: int
    precision: str
    levels: tuple[int, ...]
    pooled: bool = True
    """Whether they are smoothed by a 3×3 mean, as FOD's authors do, or as the backbone gives them."""


class NetworkNeed(NamedTuple):
    """A frozen backbone that the method runs itself."""

    backbone: str
    weights: str
    weights_seed: int
    levels: tuple[int, ...]


class Needs(NamedTuple):
    """What a method works on. Each set is made once, kept in the store and shared by all trials that need it."""

    features: tuple[FeatureNeed, ...] = ()
    """Of one backbone, pooled or not, or both."""
    images: bool = False
    """The images themselves, decoded and resized."""
    reference: Reference | None = None
    """Reference features, made of the first feature set."""
    network: NetworkNeed | None = None
    """A network that the method runs itself, on images."""

    @property
    def weights(self) -> tuple[tuple[str, str], ...]:
        """`(backbone, weights)` of all of these, as the settings have them."""
        networks: list[FeatureNeed | NetworkNeed] = [*self.features]
        if self.network is not None:
            networks.append(self.network)
        return tuple(dict.fromkeys((need.backbone, need.weights) for need in networks))


class Reference(Protocol):
    """Settings of reference features, which are made of a feature set and shared by the trials that name the same."""

    @property
    def kind(self) -> str: ...

    @property
    def maker(self) -> str:
        """Module of the method that makes them, keeps them and reads them: see `ReferenceMaker`."""
        ...

    def key(self, feature_key: str) -> str:
        """Their key, for a feature set."""
        ...

    def model_dump(self) -> dict[str, Any]:
        """All that they depend on beside the features, as plain data."""
        ...


class ReferenceMaker(Protocol):
    """A method's module that knows its reference features; imported where they are made or used."""

    def make(self, spec: Any, features: Any, device: Any) -> Any:
        """The references of a `FeatureSet`. Raises `TrialError` when they cannot be made."""
        ...

    def save(self, store: Store, key: str, made: Any, about: dict[str, str]) -> None:
        """Write them under their key, unless they are there already. Raises `StoreError`."""
        ...

    def load(self, store: Store, key: str) -> Any:
        """The stored references. Raises `ObjectMissingError`, `DamagedObjectError`."""
        ...

    def rows(self, made: Any) -> tuple[dict[int, Any], dict[int, Any]]:
        """Of references that depend on the image, what was found for the training and for the test images, `{stride: (n, H, W)}`;
        nothing of others."""
        ...

    def complete(self, made: Any, train: Any) -> Any:
        """The references with all that is needed for new images; `train` gives the training features `{stride: (n, H, W, C)}`, if
        they are needed."""
        ...


class Work(NamedTuple):
    """What a trial will take, from counts alone."""

    operations: float
    """Floating-point operations of fitting and of all evaluations; a multiply-add counts as two."""
    memory: float
    """Bytes at the peak, beyond the libraries' own."""
    weights: float = 0.0
    """Bytes of the weights of one epoch that is kept."""
    scores: float = 0.0
    """Bytes of the scores of the test images at one epoch that is kept."""


class FirstRow(NamedTuple):
    """The row of a method in somebody's first job file."""

    name: str
    remark: str
    """What a reader should know of it, in a line."""
    keys: Mapping[str, Any]
    """What the row sets, as a job has it."""


class MethodSettings(Frozen):
    """Settings of a method: keys, each documented and checked by itself, and the answers that the program needs of them."""

    implementation: ClassVar[str]
    """`package.module:Class` of the method, imported where it runs."""
    version: ClassVar[int] = 1
    """Raised when a change of the code changes a method's results, so that old records are not taken for new ones."""
    summary: ClassVar[str]
    """The method in one line."""
    works_on: ClassVar[str]
    """What it needs, in words."""
    source: ClassVar[str] = ""
    """Where it is published."""
    licence: ClassVar[str] = ""
    """Licence of the authors' code."""
    reference_maker: ClassVar[str] = ""
    """Module of its reference features, see `ReferenceMaker`; empty where it has none."""
    costed: ClassVar[bool] = False
    """Whether `measure: cost` is to be had."""
    wants_gpu: ClassVar[bool] = True
    """Whether a GPU is worth having for it; without one a method runs on CPUs beside those that want one, where a cluster has
    both and the job leaves it open."""
    mappings: ClassVar[Mapping[str, type[BaseModel]]] = {}
    """Titles and models of the forms that keys of its own can take as mappings, for the reference page."""

    method: str = "fod"
    """Method that is trained; `fod-bench methods` lists those there are."""
    image_size: Annotated[WholeNumber, Field(ge=SMALLEST_SIDE)] = 256
    """Side of the square that an image becomes, in pixels; at least 32, a multiple of every level."""
    resize: Literal["auto", "stretch", "crop"] = "auto"
    """How an image becomes that square: `stretch` resizes both sides to `image_size`; `crop` resizes the shorter side, keeps the
    aspect and crops the centre. `auto` is what the authors' code does: `crop` for layouts `btad` and `mvtec3d`, else `stretch`."""
    resize_size: Annotated[WholeNumber, Field(ge=SMALLEST_SIDE)] | None = None
    """What `resize: crop` resizes the shorter side to, in pixels, at least `image_size`; `image_size` when left out."""
    measure: Literal["auroc", "cost"] = "auroc"
    """What a row shows: `auroc`, or `cost`, the numbers of Table 5: operations, parameters, time of an epoch and of an image on
    the machine at hand. `cost` trains for some steps only; what does not change the cost is ignored."""
    scoring: str = "auto"
    """How scores are made of what was trained; `auto` is the method's own. Trainings are shared by rows that differ in it only."""

    @classmethod
    def complete(cls, values: dict[str, Any]) -> Self:
        """Settings free of contradictions from some keys. Raises `pydantic.ValidationError` that names every fault."""
        settings = cls.model_validate(values)
        problems = list(settings.contradictions())
        if problems:
            raise refusal("Settings", problems)
        return settings

    @property
    def measures_cost(self) -> bool:
        """Whether nothing is trained to its end: it is measured what the training costs."""
        return self.measure == "cost"

    def resize_of(self, layout: str) -> Resize:
        """How images of a data set of `layout` become squares."""
        return resize_of(layout, self.image_size, self.resize, self.resize_size)

    @property
    def rule(self) -> str:
        """The scoring rule, `auto` resolved."""
        return self.rules()[-1] if self.scoring == "auto" else self.scoring

    @property
    def score(self) -> str:
        """Score name of what the row shows, e.g. `rec@8`; `cost` for a measurement."""
        return COST_SCORE if self.measures_cost else score_name(self.rule, self.scored_levels)

    @property
    def scored_levels(self) -> tuple[int, ...]:
        """Feature levels whose maps make the score; none where the method has no levels."""
        return ()

    # What a method answers, beside the class variables above.

    def contradictions(self) -> Iterator[Problem]:
        """Keys that do not go together."""
        if self.resize_size is not None and self.resize != "crop":
            yield Problem(("resize_size",), f"is for `resize: crop`, not `{self.resize}`; set that, or leave it out")
        elif self.resize_size is not None and self.resize_size < self.image_size:
            text = f"{self.resize_size} pixels are less than image_size {self.image_size}, which is cropped from them"
            yield Problem(("resize_size",), text)
        if self.measures_cost and not self.costed:
            yield Problem(("measure",), f"the cost of `{self.method}` cannot be measured; leave it out")
        if self.measures_cost and self.scoring != "auto":
            yield Problem(("scoring",), "`measure: cost` shows costs, which have no scoring rule; leave it out")
        if not self.measures_cost and self.scoring not in ("auto", *self.rules()):
            yield Problem(("scoring",), self.no_rule(self.scoring))

    @classmethod
    def first_row(cls, full: bool, epochs: int | None) -> FirstRow:
        """What it proposes for a first job: its published settings where `full`, else sizes for a first look on a processor.

        `epochs` is what somebody asked for, without effect on a method that has none.
        """
        return FirstRow(str(cls.model_fields["method"].default), cls.summary, {})

    def rules(self) -> tuple[str, ...]:
        """The scoring rules that one training is evaluated under; the last is the method's own."""
        return ("score",)

    def no_rule(self, scoring: str) -> str:
        """Text for a scoring that is none of the rules."""
        return unknown("value", scoring, ("auto", *self.rules()))

    def training(self) -> dict[str, Any]:
        """All that changes the training, in one form for equal trainings, and nothing else: hashed into the training key, and what
        the method is made from. The content of its needs (images, weights, size, levels of features) is hashed with them, and data
        and seed are added to both. Where the method runs a backbone itself, its name and levels have to be in here."""
        raise NotImplementedError

    def needs(self) -> Needs:
        """What the method works on."""
        raise NotImplementedError

    def pack_key(self) -> dict[str, Any] | None:
        """What trials have in common that can share their steps; None where the method has none that can."""
        return None

    def too_small(self, counts: Counts) -> str | None:
        """Why a category with so few images does not do, and what would; None where it does."""
        return None

    def lacking(self, gpu: bool) -> str | None:
        """What this machine, with or without a GPU, lacks for the training, and what would do; None where it lacks nothing."""
        return None

    def steps(self, counts: Counts) -> int:
        """Steps of the fitting."""
        return 1

    def work(self, counts: Counts) -> Work:
        """What a trial will take, evaluations included."""
        return Work(0.0, 0.0)


PAPER_BACKBONE, SMALL_BACKBONE = "tf_efficientnet_b6.aa_in1k", "mobilenetv2_100"
"""What the paper takes, and what gives features of an image within a second on a processor."""


class BackboneSettings(MethodSettings):
    """Settings of a method that works on the features of a frozen backbone."""

    backbone: str = PAPER_BACKBONE
    """Frozen timm backbone that gives the features, with or without its weights' tag."""
    weights: str = "pretrained"
    """Weights of the backbone: `pretrained` (timm's published ones), `random`, or the path of a local file."""
    weights_seed: Annotated[WholeNumber, Field(ge=0)] = 0
    """Seed of `weights: random`; without effect otherwise."""
    backbone_precision: Precision = "float32"
    """Precision of the backbone's products; features are kept in float32. `tf32` needs a GPU. `bfloat16` is twice as fast on
    CPUs that have it; features differ from those in float32 by one to three percent."""
    levels: Levels = (8, 16)
    """Feature levels, by stride (pixels per feature)."""
    score_levels: Literal["all"] | tuple[int, ...] = "all"
    """Levels whose maps make the score: `all`, or a list of some of `levels`. Rows that differ in it only share a training."""

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

    def features(self, pooled: bool) -> FeatureNeed:
        """The features that these settings name."""
        wanted = (self.backbone, self.weights, self.weights_seed, self.backbone_precision)
        return FeatureNeed(*wanted, self.levels, pooled)

    def network(self) -> NetworkNeed:
        """The backbone itself, for a method that runs it."""
        return NetworkNeed(self.backbone, self.weights, self.weights_seed, self.levels)

    @property
    def scored_levels(self) -> tuple[int, ...]:
        return self.levels if self.score_levels == "all" else self.score_levels

    def contradictions(self) -> Iterator[Problem]:
        strides = backbone_strides(self.backbone)
        there = tuple(level for level in self.levels if level in strides)
        for level in self.levels:
            if level not in strides:
                offered = ", ".join(str(stride) for stride in strides)
                yield Problem(("levels",), f"backbone {self.backbone} has no level of stride {level}; it has {offered}")
            elif self.image_size % level:
                right = neighbouring_sizes(self.image_size, there)
                yield Problem(("image_size",), f"{self.image_size} pixels are not a multiple of level {level}; {right}")
        if there == self.levels and not any(self.image_size % level for level in self.levels):
            problem = levels_problem(self.backbone, self.image_size, self.levels)
            if problem is not None:
                yield Problem((problem[0],), problem[1])
        yield from super().contradictions()
        if self.measures_cost and self.score_levels != "all":
            yield Problem(("score_levels",), "`measure: cost` is of all trained levels together; leave it out")
        for level in self.scored_levels:
            if level not in self.levels:
                trained = ", ".join(str(trained) for trained in self.levels)
                yield Problem(("score_levels",), f"level {level} is not among the trained levels {trained}")
