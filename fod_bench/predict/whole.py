"""A trial from pixels to map and score as one module that torch can trace: resizing, backbone, and the method's own graph."""

from __future__ import annotations

import math
from collections.abc import Collection
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from fod_bench.datasets import Resize
from fod_bench.datasets.preprocess import IMAGENET_MEAN, IMAGENET_STD
from fod_bench.features.backbone import Backbone
from fod_bench.methods.base import Batch

_LOBES = 3.0
"""Of the Lanczos kernel, to either side."""
_UNITS = float(1 << 22)
"""Of 1, that Pillow's weights are rounded to."""


class WholeDetector(nn.Module):
    """Images (n, h, w, 3) of uint8, RGB, to scores (n,) and maps (n, s, s)."""

    def __init__(
        self, resize: Resize, backbone: Backbone | None, forms: Collection[str], graph: nn.Module, any_size: bool
    ) -> None:
        """
        Args:
            forms: fields of `Batch` that the graph works on.
            any_size: whether images of any size are made squares, or are (n, s, s, 3) as given.
        """
        super().__init__()
        self._forms, self._axes = forms, "" if backbone is None else backbone.maps.axes
        self.square = ToSquare(resize) if any_size else None
        self.network = None if backbone is None else backbone.network
        self._levels = [] if backbone is None else backbone.levels
        self.scorer = graph  # `graph` is a name of torch's own
        self.register_buffer("mean", torch.from_numpy(IMAGENET_MEAN.copy()))
        self.register_buffer("deviation", torch.from_numpy(IMAGENET_STD.copy()))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        pixels = images.float() if self.square is None else self.square(images.float())  # (n, s, s, 3), 0 to 255
        pooled: dict[int, Tensor] = {}
        unpooled: dict[int, Tensor] = {}
        if self.network is not None:
            inputs = ((pixels / 255 - self.get_buffer("mean")) / self.get_buffer("deviation")).permute(0, 3, 1, 2)
            for level, values in zip(self._levels, self.network(inputs), strict=True):
                found = values.permute(0, 3, 1, 2) if self._axes == "NHWC" else values
                if "pooled" in self._forms:
                    pooled[level] = functional.avg_pool2d(found, 3, 1, 1).permute(0, 2, 3, 1)
                if "unpooled" in self._forms:
                    unpooled[level] = found.permute(0, 2, 3, 1)
        maps, scores = self.scorer(Batch(pooled, unpooled, pixels if "images" in self._forms else None))
        return scores, maps


class ToSquare(nn.Module):
    """Images (n, h, w, 3) of any size, 0 to 255, as the squares (n, s, s, 3) that `Resize` makes, to the bit: Pillow's Lanczos by a
    product along each axis, of weights that are whole multiples of 2⁻²² as Pillow's are, rounded after each as Pillow rounds."""

    def __init__(self, resize: Resize) -> None:
        super().__init__()
        self._size, self._shorter = resize.size, resize.shorter_side
        # as a tensor: the exporter writes a number among operations of float64 as float32
        self.register_buffer("pi", torch.tensor(math.pi, dtype=torch.float64), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[1], images.shape[2]
        sides = torch.arange(height), torch.arange(width)
        lengths = [torch.full((), length, dtype=torch.float64) for length in (height, width)]
        down, across = (
            self._weights(places.double(), length, *self._placed(length, lengths))
            for places, length in zip(sides, lengths, strict=True)
        )
        planes = images.double().permute(0, 3, 1, 2)  # (n, 3, h, w)
        across_first = _rounded(down @ _rounded(planes @ across.T))
        down_first = _rounded(_rounded(down @ planes) @ across.T)
        return torch.where(self._down_first(lengths), down_first, across_first).float().permute(0, 2, 3, 1)

    def _down_first(self, lengths: list[Tensor]) -> Tensor:
        """Which axis Pillow takes first. It matters where the kernel's overshoot is cut off at 0 or 255 in between."""
        if not pillow_may_begin_with_columns():
            return torch.zeros((), dtype=torch.bool)
        shrunk = [length - self._placed(length, lengths)[0] for length in lengths]
        return (shrunk[0] > 0) & (2 * shrunk[1] < shrunk[0])

    def _placed(self, length: Tensor, lengths: list[Tensor]) -> tuple[Tensor, Tensor]:
        """What an axis is resized to, and where the square begins on it: see `Resize`."""
        if self._shorter is None:
            return torch.full((), self._size, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        shortest = torch.minimum(*lengths)
        resized = torch.floor(self._shorter * length / shortest)
        return resized, torch.round((resized - self._size) / 2)

    def _weights(self, places: Tensor, length: Tensor, resized: Tensor, start: Tensor) -> Tensor:
        """What every pixel along an axis (length,) has in each of the square's, (s, length), in units of 2⁻²²."""
        scale = length / resized
        spread = scale.clamp(min=1.0)
        centres = (torch.arange(self._size) + start + 0.5) * scale  # (s,)
        offsets = (places[None] + 0.5 - centres[:, None]) / spread  # (s, length)
        weights = self._sinc(offsets) * self._sinc(offsets / _LOBES) * (offsets.abs() < _LOBES)
        shares = weights / weights.sum(1, keepdim=True) * _UNITS
        return torch.sign(shares) * torch.floor(shares.abs() + 0.5)

    def _sinc(self, values: Tensor) -> Tensor:
        """sin(πx) / (πx), 1 at 0."""
        angles = values * self.get_buffer("pi")
        apart = angles.abs() > 1e-6
        return torch.where(apart, torch.sin(angles) / torch.where(apart, angles, 1.0), 1.0)


@lru_cache(maxsize=1)
def pillow_may_begin_with_columns() -> bool:
    """Whether the installed Pillow resizes columns first where height shrinks by more than twice as many pixels as width; older
    ones always begin with rows."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 18), np.uint8)
    image, kernel = Image.fromarray(pixels), Image.Resampling.LANCZOS
    columns_first = image.resize((18, 16), kernel).resize((16, 16), kernel)
    return np.array_equal(np.asarray(image.resize((16, 16), kernel)), np.asarray(columns_first))


def _rounded(values: Tensor) -> Tensor:
    """From units of 2⁻²² to whole numbers from 0 to 255, halves up."""
    return torch.floor((values + _UNITS / 2) / _UNITS).clamp(0, 255)
