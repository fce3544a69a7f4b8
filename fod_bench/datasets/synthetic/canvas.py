"""Drawing for the synthetic images: shapes as signed distances over the unit square, so that any size shows the same.

Coordinates run from 0 to 1, x to the right and y down. A shape's coverage follows from its distance at the pixel's
centre, which gives smooth edges without drawing large first, and masks that are exactly the shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Field = NDArray[np.float32]
Colour = tuple[float, float, float]
Distance = Callable[[Field, Field], Field]


@dataclass(frozen=True)
class Shape:
    """A region: `distance(x, y)` is negative inside; `box` = (x0, y0, x1, y1) holds all of it."""

    box: tuple[float, float, float, float]
    distance: Distance

    def grown(self, by: float) -> Shape:
        """This shape with its edge moved outwards by `by`."""
        x0, y0, x1, y1 = self.box
        return Shape((x0 - by, y0 - by, x1 + by, y1 + by), lambda x, y: self.distance(x, y) - np.float32(by))

    def within(self, other: Shape) -> Shape:
        """The part of this shape that lies in `other`."""
        return Shape(self.box, lambda x, y: np.maximum(self.distance(x, y), other.distance(x, y)))

    def moved(self, dx: float, dy: float) -> Shape:
        x0, y0, x1, y1 = self.box
        return Shape((x0 + dx, y0 + dy, x1 + dx, y1 + dy), lambda x, y: self.distance(x - dx, y - dy))


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A uniform draw as a plain number: numpy's own float64 would turn float32 fields into float64."""
    return float(rng.uniform(low, high))


def point_between(rng: np.random.Generator, low: float, high: float) -> tuple[float, float]:
    """A uniform draw of x and y."""
    return between(rng, low, high), between(rng, low, high)


def disc(x: float, y: float, radius: float) -> Shape:
    return Shape(
        (x - radius, y - radius, x + radius, y + radius),
        lambda px, py: np.hypot(px - x, py - y) - np.float32(radius),
    )


def box(x: float, y: float, width: float, height: float, angle: float = 0.0, rounding: float = 0.0) -> Shape:
    """A rectangle around (x, y), turned by `angle` radians, its corners rounded with radius `rounding`."""
    cos, sin = math.cos(angle), math.sin(angle)
    reach_x = (abs(width * cos) + abs(height * sin)) / 2
    reach_y = (abs(width * sin) + abs(height * cos)) / 2

    def distance(px: Field, py: Field) -> Field:
        along = np.abs((px - x) * cos + (py - y) * sin) - (width / 2 - rounding)
        across = np.abs((py - y) * cos - (px - x) * sin) - (height / 2 - rounding)
        outside = np.hypot(np.maximum(along, 0), np.maximum(across, 0))
        return outside + np.minimum(np.maximum(along, across), 0) - np.float32(rounding)

    return Shape((x - reach_x, y - reach_y, x + reach_x, y + reach_y), distance)


def stroke(points: Sequence[tuple[float, float]], radius: float) -> Shape:
    """A line through `points` with round ends, `radius` to either side."""
    xs, ys = [x for x, _ in points], [y for _, y in points]

    def distance(px: Field, py: Field) -> Field:
        nearest = np.full(np.broadcast_shapes(px.shape, py.shape), np.inf, dtype=np.float32)
        for (x0, y0), (x1, y1) in pairwise(points):
            dx, dy = x1 - x0, y1 - y0
            part = np.clip(((px - x0) * dx + (py - y0) * dy) / max(dx * dx + dy * dy, 1e-12), 0, 1)
            nearest = np.minimum(nearest, np.hypot(px - x0 - part * dx, py - y0 - part * dy))
        return nearest - np.float32(radius)

    return Shape((min(xs) - radius, min(ys) - radius, max(xs) + radius, max(ys) + radius), distance)


def arc(x: float, y: float, radius: float, thickness: float, middle: float, width: float) -> Shape:
    """A piece of a ring: `middle` is its direction, `width` its opening, both in radians."""
    reach = radius + thickness / 2

    def distance(px: Field, py: Field) -> Field:
        turned = np.arctan2(py - y, px - x) - np.float32(middle)
        aside = np.abs((turned + math.pi) % (2 * math.pi) - math.pi) - width / 2
        across = np.abs(np.hypot(px - x, py - y) - radius) - thickness / 2
        return np.maximum(across, aside * radius).astype(np.float32)

    return Shape((x - reach, y - reach, x + reach, y + reach), distance)


def blob(rng: np.random.Generator, x: float, y: float, radius: float, roughness: float = 0.25) -> Shape:
    """An irregular round region of mean `radius`; `roughness` is how far its edge strays, as a part of the radius."""
    waves = np.arange(2, 7)
    heights = rng.uniform(-1, 1, waves.size) * roughness / np.sqrt(waves)
    phases = rng.uniform(0, 2 * math.pi, waves.size)
    reach = radius * (1 + float(np.abs(heights).sum()))

    def distance(px: Field, py: Field) -> Field:
        direction = np.arctan2(py - y, px - x)
        edge = np.ones_like(direction)
        for wave, height, phase in zip(waves, heights, phases, strict=True):
            edge += np.float32(height) * np.cos(np.float32(wave) * direction + np.float32(phase))
        return np.hypot(px - x, py - y) - np.float32(radius) * edge

    return Shape((x - reach, y - reach, x + reach, y + reach), distance)


class Canvas:
    """An image in the making: `rgb` (size, size, 3), float32, 0 to 255."""

    def __init__(self, size: int, background: Colour | Field) -> None:
        self.size = size
        self.rgb = np.empty((size, size, 3), dtype=np.float32)
        self.rgb[:] = np.asarray(background, dtype=np.float32)

    def paint(self, shape: Shape, colour: Colour, *, alpha: float = 1.0, soft: float = 0.0, bevel: float = 0.0) -> None:
        """Lay `colour` over `shape`. `soft` blurs the edge over that width, `bevel` lights a rim of that width."""
        rows, columns, x, y = self._window(shape, soft)
        if x.size == 0 or y.size == 0:
            return
        distance = shape.distance(x, y)  # (h, w)
        cover = np.clip(0.5 - distance / max(soft, 1 / self.size), 0, 1) * np.float32(alpha)
        paint: Field = np.asarray(colour, dtype=np.float32)
        if bevel and min(distance.shape) > 1:
            down, right = np.gradient(distance * self.size)
            rim = np.clip(1 + distance / bevel, 0, 1)
            paint = paint * (1 - np.float32(0.3) * rim * (down + right))[..., None]  # light from the upper left
        view = self.rgb[rows, columns]
        view += cover[..., None] * (paint - view)

    def mask(self, shapes: Sequence[Shape]) -> NDArray[np.bool_]:
        """Pixels whose centre lies in any of `shapes`, (size, size)."""
        marked = np.zeros((self.size, self.size), dtype=bool)
        for shape in shapes:
            rows, columns, x, y = self._window(shape, 0.0)
            if x.size and y.size:
                marked[rows, columns] |= shape.distance(x, y) <= 0
        return marked

    def _window(self, shape: Shape, margin: float) -> tuple[slice, slice, Field, Field]:
        """Rows and columns that `shape` can touch, and their coordinates: x (1, w), y (h, 1)."""
        x0, y0, x1, y1 = shape.box
        columns, rows = (
            slice(
                max(0, math.floor((low - margin) * self.size) - 1),
                max(0, min(self.size, math.ceil((high + margin) * self.size) + 1)),
            )
            for low, high in ((x0, x1), (y0, y1))
        )
        x, y = grid(self.size)
        return rows, columns, x[:, columns], y[rows]


@lru_cache(maxsize=4)
def grid(size: int) -> tuple[Field, Field]:
    """Coordinates of the pixels' centres: x (1, size), y (size, 1)."""
    centres = ((np.arange(size) + 0.5) / size).astype(np.float32)
    centres.setflags(write=False)
    return centres[None, :], centres[:, None]


def smooth_noise(rng: np.random.Generator, rows: int, columns: int, size: int) -> Field:
    """Noise of about unit spread that varies over a `rows` × `columns` grid, smoothly in between; (size, size)."""
    coarse = Image.fromarray(rng.standard_normal((rows, columns)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))


def photograph(rng: np.random.Generator, rgb: Field, noise: float = 1.5) -> NDArray[np.uint8]:
    """What a camera makes of the scene `rgb` (size, size, 3): a slight slope of light, a slight grain; uint8."""
    size = rgb.shape[0]
    x, y = grid(size)
    direction, slope, exposure = between(rng, 0, 2 * math.pi), between(rng, 0, 0.03), between(rng, 0.99, 1.01)
    light = exposure + slope * ((x - 0.5) * math.cos(direction) + (y - 0.5) * math.sin(direction))
    grain = noise * smooth_noise(rng, 256, 256, size)
    return np.clip(np.round(rgb * light[..., None] + grain[..., None]), 0, 255).astype(np.uint8)
