"""A feature set that is wanted: what it is made of, and so its key. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fod_bench.datasets import Category, Resize
from fod_bench.features.weights import Weights
from fod_bench.records.names import canonical_digest

POOLING = "mean3x3"
"""Every level is smoothed by a 3×3 average pool, stride 1, zero padding 1, counted in the mean, as the authors do."""


@dataclass(frozen=True)
class FeatureRequest:
    """Features of one category from one backbone."""

    category: Category
    fingerprint: str
    """The category's; taken once, when the request is made."""
    weights: Weights
    image_size: int
    levels: tuple[int, ...]
    precision: str = "float32"
    """Of the backbone's products."""
    shorter_side: int | None = None
    """See `Resize.shorter_side`."""
    maps: str = ""
    """How the levels are read from the network where that is not the plain way; see `LevelMaps.distinction`."""

    @cached_property
    def key(self) -> str:
        """Hash of the content the features are made of: pictures, weights, precision, size, levels, preprocessing."""
        return canonical_digest({**self._content(), "fingerprint": self.fingerprint})[:32]

    @property
    def resize(self) -> Resize:
        """How images become squares."""
        return Resize(self.image_size, self.shorter_side)

    @property
    def name(self) -> str:
        """For people."""
        return f"features of {self.category.name}"

    def describe(self) -> dict[str, Any]:
        """What a manifest or record says of the features."""
        return {"key": self.key, **self._content()}

    def _content(self) -> dict[str, Any]:
        content: dict[str, Any] = {
            "backbone": self.weights.backbone,
            "weights": self.weights.digest,
            "image_size": self.image_size,
            "levels": list(self.levels),
            "preprocessing": self.resize.preprocessing,
            "pooling": POOLING,
        }
        if self.precision != "float32":
            content["precision"] = self.precision
        if self.maps:
            content["maps"] = self.maps
        return content
