"""Procedural textures: patterns at any scale and angle, in two random colours."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fod_bench.datasets.synthetic.canvas import Field, between, grid, smooth_noise
from fod_bench.datasets.synthetic.textures import SurfaceMaker, tiling, weave, wood

Pattern = Callable[[np.random.Generator, int], NDArray[np.floating]]
"""A pattern of a size: (size, size), values of any range."""

_GRAIN = 0.04
"""Spread of the grain that every pattern is given, as a part of its range."""


def pattern_texture(rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """A pattern at random, between two random colours, (size, size, 3)."""
    values = PATTERNS[rng.integers(len(PATTERNS))](rng, size)
    low, high = values.min(), values.max()
    values = (values - low) / max(high - low, 1e-6) + _GRAIN * rng.standard_normal((size, size))
    first, second = rng.uniform(0, 255, (2, 3))
    return np.clip(np.rint(first + values[..., None] * (second - first)), 0, 255).astype(np.uint8)


def _turned(rng: np.random.Generator, size: int) -> tuple[Field, Field]:
    """Coordinates of the pixels, (size, size) each, turned by any angle and scaled by 1/3 to 2."""
    x, y = grid(size)
    angle, scale = between(rng, 0, 2 * math.pi), math.exp(between(rng, -math.log(3), math.log(2)))
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    return cos * x + sin * y, cos * y - sin * x


def _stripes(rng: np.random.Generator, size: int) -> Field:
    x, y = _turned(rng, size)
    bend = between(rng, 0, 0.05) * np.sin(2 * math.pi * (y * between(rng, 1, 4)))
    return _wave(rng, x + bend.astype(np.float32), between(rng, 4, 16))


def _checks(rng: np.random.Generator, size: int) -> Field:
    x, y = _turned(rng, size)
    return _wave(rng, x, between(rng, 3, 12)) * _wave(rng, y, between(rng, 3, 12))


def _wave(rng: np.random.Generator, along: Field, periods: float) -> Field:
    """From -1 to 1, between a sine and a square wave."""
    wave = np.sin(2 * math.pi * (periods * along + between(rng, 0, 1)))
    return np.clip(between(rng, 1, 6) * wave, -1, 1).astype(np.float32)


def _blotches(rng: np.random.Generator, size: int) -> Field:
    """Smooth noise of 3 to 12 cells, with soft or hard edges."""
    cells = rng.integers(3, 13, 2)
    steepness = between(rng, 0.5, 6)
    return np.tanh(steepness * smooth_noise(rng, int(cells[0]), int(cells[1]), size))


def _grain(rng: np.random.Generator, size: int) -> Field:
    """Fine noise, as coarse along one axis as along the other or not."""
    rows, columns = (max(2, size // int(fine)) for fine in rng.integers(1, 7, 2))
    return smooth_noise(rng, rows, columns, size)


def _of_surface(maker: SurfaceMaker) -> Pattern:
    """The brightness of one of the surfaces of the synthetic data set."""

    def pattern(rng: np.random.Generator, size: int) -> NDArray[np.floating]:
        x, y = _turned(rng, size)
        return maker(rng, size)(x, y).mean(-1)

    return pattern


PATTERNS: tuple[Pattern, ...] = (
    _stripes,
    _checks,
    _blotches,
    _grain,
    _of_surface(weave),
    _of_surface(tiling),
    _of_surface(wood),
)
