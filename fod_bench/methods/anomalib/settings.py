"""What the settings of all anomalib models have in common, and what the program asks of them. Does not import anomalib."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from typing import Any, ClassVar, TypeVar

from pydantic import create_model
from pydantic.fields import FieldInfo

from fod_bench.features.offered import backbone_strides
from fod_bench.methods.anomalib.package import installed, missing, version
from fod_bench.methods.settings import BackboneSettings, MethodSettings, Needs, Work
from fod_bench.records.record import Counts
from fod_bench.schema.fields import PositiveWholeNumber
from fod_bench.schema.problems import Problem

_Kind = TypeVar("_Kind", bound="type[AnomalibSettings]")
_SHARED = BackboneSettings.model_fields.keys()
_OPERATIONS_PER_PIXEL = 2e5
"""Of a network and what stands on it, forward, roughly: a ResNet-18 has 6e4, a WideResNet-50-2 3.5e5."""
_BYTES_PER_PIXEL = 1500.0
"""That a network keeps of an image for its gradients, roughly."""


def defaults(**values: Any) -> Callable[[_Kind], _Kind]:
    """Give keys that a class of settings inherits other defaults; their texts stay."""

    def applied(kind: _Kind) -> _Kind:
        fields: dict[str, Any] = {}
        inherited: dict[str, FieldInfo] = kind.__pydantic_fields__
        for key, value in values.items():
            info = copy(inherited[key])
            info.default = value
            fields[key] = (info.annotation, info)
        about: dict[str, Any] = {"__base__": kind, "__module__": kind.__module__, "__doc__": kind.__doc__}
        return create_model(kind.__name__, **about, **fields)

    return applied


def too_few(method: str, least: int, there: int) -> str:
    """Text for a category with too few training images."""
    return f"{method} needs {least} training images at least, and there are {there}"


class AnomalibSettings(MethodSettings):
    """Settings of a model of anomalib."""

    implementation: ClassVar[str] = "fod_bench.methods.anomalib.method:AnomalibMethod"
    version: ClassVar[int] = 1
    works_on: ClassVar[str] = "images"
    licence: ClassVar[str] = "anomalib: Apache-2.0; installed as a package, none of its code is here"
    model: ClassVar[str]
    """Name of the class in `anomalib.models`."""
    passes: ClassVar[int] = 1
    """Passes over the training images of a model that has no gradient steps."""
    scores_maps: ClassVar[bool] = True
    """Whether it gives a map; without one every pixel has the image's score."""
    scores_together: ClassVar[bool] = False
    """Whether its map of an image depends on the images that are scored with it."""
    losses: ClassVar[tuple[str, ...]] = ()
    """Names of what a training step returns."""

    batch_size: PositiveWholeNumber = 32
    """Images per step; the last step of an epoch takes what is left, as anomalib's own data modules do."""

    @property
    def scored_levels(self) -> tuple[int, ...]:
        """None: a model gives one score."""
        return ()

    @property
    def all_epochs(self) -> int:
        """Passes over the training images."""
        return self.passes

    @classmethod
    def own_keys(cls) -> list[str]:
        """The keys that are arguments of the model, by anomalib's names."""
        loop = {*_SHARED, *Trained.model_fields}
        return [key for key in cls.model_fields if key not in loop]

    @classmethod
    def arguments(cls, setting: dict[str, Any]) -> dict[str, Any]:
        """Arguments of the model beside backbone and levels, from what `training` gave."""
        return {key: setting[key] for key in cls.own_keys()}

    @classmethod
    def least(cls, setting: dict[str, Any]) -> int:
        """Training images that the model needs, from what `training` gave."""
        return 1

    def contradictions(self) -> Iterator[Problem]:
        yield from super().contradictions()
        if installed() is None:
            yield Problem(("method",), f"`{self.method}` {missing()}")

    def training(self) -> dict[str, Any]:
        """See `MethodSettings`. anomalib's version is in it. Raises `JobError` where anomalib is not installed."""
        setting = {
            "method": self.method,
            "anomalib": version(),
            "image_size": self.image_size,
            "batch_size": self.batch_size,
        }
        return setting | {key: getattr(self, key) for key in self.own_keys()}

    def needs(self) -> Needs:
        return Needs(images=True)

    def too_small(self, counts: Counts) -> str | None:
        least = self.least(self.model_dump())
        return None if counts.train >= least else too_few(self.method, least, counts.train)

    def steps(self, counts: Counts) -> int:
        return -(-counts.train // self.batch_size) * self.all_epochs

    def work(self, counts: Counts) -> Work:
        """Roughly: anomalib's models say nothing of their cost."""
        pixels, tested = self.image_size**2, counts.test_good + counts.test_defect
        images = counts.train * self.all_epochs * (3 if isinstance(self, Trained) else 1) + tested
        batch = min(self.batch_size, counts.train)
        held = 3.0 * (counts.train + tested) + 4.0 * tested
        return Work(_OPERATIONS_PER_PIXEL * pixels * images, pixels * (held + _BYTES_PER_PIXEL * batch))


class Trained(AnomalibSettings):
    """Settings of a model that is trained by gradient steps."""

    losses: ClassVar[tuple[str, ...]] = ("loss",)

    epochs: PositiveWholeNumber = 100
    """Passes over the training images. There is no early stopping."""
    evaluate_every: PositiveWholeNumber = 10
    """Epochs between two evaluations on the test split; the last epoch is always evaluated."""

    @property
    def all_epochs(self) -> int:
        return self.epochs

    def training(self) -> dict[str, Any]:
        return super().training() | {
            "epochs": self.epochs,
            "evaluate_every": min(self.evaluate_every, self.epochs),
        }


class OnBackbone(AnomalibSettings, BackboneSettings):
    """Settings of a model on a frozen backbone, which it runs itself."""

    works_on: ClassVar[str] = "images, a frozen backbone that it runs itself"
    backbones: ClassVar[tuple[str, ...]] = ()
    """Those that anomalib's code knows, where it does not take any."""
    fixed_levels: ClassVar[tuple[int, ...]] = ()
    """The levels that anomalib's code takes, where they cannot be chosen."""
    levels_argument: ClassVar[str] = "layers"
    """Argument of the model that says which of the network's maps it takes; `layer` for one alone, empty for none."""

    def contradictions(self) -> Iterator[Problem]:
        yield from super().contradictions()
        name = self.backbone.partition(".")[0]
        if self.backbones and name not in self.backbones:
            text = f"{self.method} is written for {', '.join(self.backbones)} alone, not {self.backbone}"
            yield Problem(("backbone",), text)
        elif "vit" in name:
            yield Problem(("backbone",), "anomalib's models take convolutional networks here; take one of those")
        if self.fixed_levels and self.levels != self.fixed_levels:
            levels = ", ".join(str(level) for level in self.fixed_levels)
            yield Problem(("levels",), f"{self.method} takes the levels {levels} and no others; leave it out")
        if self.levels_argument == "layer" and len(self.levels) != 1:
            yield Problem(("levels",), f"{self.method} takes one level, not {len(self.levels)}")
        if self.score_levels != "all":
            yield Problem(("score_levels",), "the model gives one score, of all levels together; leave it out")
        if self.backbone_precision != "float32":
            text = "the backbone is run by the model itself, in float32; leave it out"
            yield Problem(("backbone_precision",), text)

    def training(self) -> dict[str, Any]:
        return super().training() | {"backbone": self.backbone, "levels": list(self.levels)}

    def needs(self) -> Needs:
        return Needs(images=True, network=self.network())

    @property
    def channels(self) -> int:
        """Of all levels together."""
        strides = backbone_strides(self.backbone)
        return sum(strides.get(level, 0) for level in self.levels)
