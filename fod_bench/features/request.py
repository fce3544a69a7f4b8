"""Sets that are wanted of a category: features, images, and what is true of the test images. Each knows what it is made of, and so
its key. Imports no torch."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

from fod_bench.datasets import Category, Resize
from fod_bench.features.weights import Weights
from fod_bench.records.names import canonical_digest

POOLING = "mean3x3"
"""Every level is smoothed by a 3×3 average pool, stride 1, zero padding 1, counted in the mean, as FOD's authors do."""


@dataclass(frozen=True)
class _OfCategory:
    """What sets of a category have in common."""

    category: Category
    fingerprint: str
    """The category's; taken once, when the request is made."""

    @property
    def resize(self) -> Resize:
        """How images become squares."""
        raise NotImplementedError

    @cached_property
    def key(self) -> str:
        """Hash of all that the set is made of."""
        return canonical_digest({**self._content(), "fingerprint": self.fingerprint})[:32]

    @property
    def truth(self) -> TruthRequest:
        """What is true of the test images at this size."""
        return TruthRequest(self.category, self.fingerprint, self.resize.size, self.resize.shorter_side)

    def describe(self) -> dict[str, Any]:
        """What a manifest or record says of the set."""
        return {"key": self.key, **self._content()}

    def _content(self) -> dict[str, Any]:
        raise NotImplementedError


@dataclass(frozen=True)
class FeatureRequest(_OfCategory):
    """Features of one category from one backbone."""

    weights: Weights
    image_size: int
    levels: tuple[int, ...]
    precision: str = "float32"
    """Of the backbone's products."""
    shorter_side: int | None = None
    """See `Resize.shorter_side`."""
    maps: str = ""
    """How the levels are read from the network where that is not the plain way; see `LevelMaps.distinction`."""
    pooled: bool = True
    """Whether they are smoothed, see `POOLING`, or as the backbone gives them."""

    @property
    def resize(self) -> Resize:
        return Resize(self.image_size, self.shorter_side)

    @property
    def form(self) -> str:
        """Name of the field of `fod_bench.methods.base.Split` that holds the set."""
        return "pooled" if self.pooled else "unpooled"

    @property
    def name(self) -> str:
        """For people."""
        return f"features of {self.category.name}" if self.pooled else f"unpooled features of {self.category.name}"

    @property
    def made_with(self) -> Hashable:
        """Equal for sets that are made in one pass over the images."""
        return (
            *(self.fingerprint, self.weights.backbone, self.weights.digest),
            *(self.image_size, self.levels, self.precision, self.shorter_side, self.maps),
        )

    def _content(self) -> dict[str, Any]:
        content: dict[str, Any] = {
            "backbone": self.weights.backbone,
            "weights": self.weights.digest,
            "image_size": self.image_size,
            "levels": list(self.levels),
            "preprocessing": self.resize.preprocessing,
            "pooling": POOLING if self.pooled else "none",
        }
        if self.precision != "float32":
            content["precision"] = self.precision
        if self.maps:
            content["maps"] = self.maps
        return content


@dataclass(frozen=True)
class ImageRequest(_OfCategory):
    """The images of one category, decoded and resized."""

    image_size: int
    shorter_side: int | None = None
    form: ClassVar[str] = "images"
    """Name of the field of `fod_bench.methods.base.Split` that holds the set."""

    @property
    def resize(self) -> Resize:
        return Resize(self.image_size, self.shorter_side)

    @property
    def name(self) -> str:
        """For people."""
        return f"images of {self.category.name}"

    @property
    def made_with(self) -> Hashable:
        """Equal for sets that are made in one pass over the images."""
        return self.key

    def _content(self) -> dict[str, Any]:
        return {"images": "uint8 RGB", "image_size": self.image_size, "preprocessing": self.resize.preprocessing}


@dataclass(frozen=True)
class TruthRequest(_OfCategory):
    """Labels and masks of one category's test images."""

    image_size: int
    shorter_side: int | None = None

    @property
    def resize(self) -> Resize:
        return Resize(self.image_size, self.shorter_side)

    def _content(self) -> dict[str, Any]:
        return {"truth": "labels, masks", "image_size": self.image_size, "preprocessing": self.resize.preprocessing}


SetRequest: TypeAlias = FeatureRequest | ImageRequest
"""A set that methods work on. Whoever makes one sees that the store has its `truth`, too."""


@dataclass(frozen=True)
class Wanted:
    """All that a training works on."""

    sets: tuple[SetRequest, ...]
    """At least one; references are made of the first."""
    network: Weights | None = None
    """Of a backbone that the method runs itself."""
    levels: tuple[int, ...] = field(default=())
    """The levels at which it does."""

    @cached_property
    def key(self) -> str:
        """What stands for them in a training's key."""
        return "+".join([*(one.key for one in self.sets), *([self.network.digest] if self.network else [])])

    @property
    def truth(self) -> TruthRequest:
        """What is true of the test images."""
        return self.sets[0].truth

    def describe(self) -> dict[str, Any]:
        """What a record says of them."""
        if len(self.sets) == 1 and self.network is None:
            return self.sets[0].describe()
        described: dict[str, Any] = {}
        for one in self.sets:
            described |= one.describe()
        if self.network is not None:
            described |= {  # `network`: the method runs it itself
                "network": self.network.backbone,
                "backbone": self.network.backbone,
                "weights": self.network.digest,
                "levels": list(self.levels),
            }
        return {**described, "key": self.key}

    def keys(self) -> dict[str, str]:
        """Keys of the sets by form, and of the truth."""
        return {**{one.form: one.key for one in self.sets}, "truth": self.truth.key}
