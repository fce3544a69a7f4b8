"""Synthetic textures: a weave, a tiling and a wood, with local defects and with regions of changed structure."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fod_bench.datasets.base import GOOD
from fod_bench.datasets.synthetic.canvas import (
    Canvas,
    Field,
    Shape,
    between,
    blob,
    grid,
    point_between,
    smooth_noise,
    stroke,
)

TEXTURE_DEFECTS = ("global_direction", "global_scale", "local_hole", "local_scratch", "local_stain")

Surface = Callable[[Field, Field], Field]
"""Colour at the texture's own coordinates: (x, y) -> (h, w, 3)."""
SurfaceMaker = Callable[[np.random.Generator, int], Surface]


def draw_texture(
    maker: SurfaceMaker, rng: np.random.Generator, defect: str, size: int
) -> tuple[Field, NDArray[np.bool_]]:
    """One image of a texture, (size, size, 3), and the mask of its defect, (size, size)."""
    surface = maker(rng, size)
    x, y = grid(size)
    canvas = Canvas(size, surface(x, y))
    if defect == GOOD:
        return canvas.rgb, canvas.mask([])
    if defect.startswith("global_"):
        return canvas.rgb, canvas.mask([_changed_region(canvas, surface, rng, defect)])
    return canvas.rgb, canvas.mask([_LOCAL[defect](canvas, rng)])


def weave(rng: np.random.Generator, size: int) -> Surface:
    """Cloth in plain weave, held in register as on a loom: threads of slightly different tone, almost in place."""
    threads = 16
    shift_x, shift_y = point_between(rng, -0.05, 0.05)
    tones = 1 + 0.025 * rng.standard_normal((2, 64)).astype(np.float32)
    warp, weft = np.array([178, 158, 122], np.float32), np.array([106, 112, 128], np.float32)

    def surface(x: Field, y: Field) -> Field:
        u, v = x * threads + shift_x + 16, y * threads + shift_y + 16
        column, row = np.floor(u).astype(np.int32), np.floor(v).astype(np.int32)
        across_warp, across_weft = np.sin(math.pi * (u - column)), np.sin(math.pi * (v - row))
        warp_on_top = (column + row) % 2 == 0
        # A thread is round across its width and bulges where it passes over the other one.
        over = np.where(
            warp_on_top, across_warp * (0.75 + 0.25 * across_weft), across_weft * (0.75 + 0.25 * across_warp)
        )
        tone = np.where(warp_on_top, tones[0][column % 64], tones[1][row % 64])
        colour = np.where(warp_on_top[..., None], warp, weft)
        return (colour * (tone * (0.45 + 0.6 * over))[..., None]).astype(np.float32)

    return surface


def tiling(rng: np.random.Generator, size: int) -> Surface:
    """A wall of small glazed tiles with light grout; tiles differ slightly in tone."""
    tiles = 9
    shift_x, shift_y = point_between(rng, 0, 1)
    tones = 1 + 0.03 * rng.standard_normal((32, 32)).astype(np.float32)
    glaze, grout = np.array([70, 122, 138], np.float32), np.array([206, 202, 190], np.float32)

    def surface(x: Field, y: Field) -> Field:
        u, v = x * tiles + shift_x + 8, y * tiles + shift_y + 8
        column, row = np.floor(u).astype(np.int32), np.floor(v).astype(np.int32)
        left, top = u - column - 0.5, v - row - 0.5
        rounding, half = 0.12, 0.43
        outside = np.hypot(np.maximum(np.abs(left) - half + rounding, 0), np.maximum(np.abs(top) - half + rounding, 0))
        inner = np.minimum(np.maximum(np.abs(left), np.abs(top)) - half + rounding, 0)
        distance = outside + inner - rounding  # to the tile's edge, in tiles
        cover = np.clip(0.5 - distance * size / tiles, 0, 1)
        rim = np.clip(1 + distance / 0.12, 0, 1) * (left + top)
        tone = tones[row % 32, column % 32] * (1 - 0.35 * rim)
        return (grout + cover[..., None] * (glaze * tone[..., None] - grout)).astype(np.float32)

    return surface


def wood(rng: np.random.Generator, size: int) -> Surface:
    """Planed wood: bands along the grain, slightly wavy, with fine pores."""
    phase = between(rng, 0, 2 * math.pi)
    bend, pores = rng.standard_normal(5).tolist(), smooth_noise(rng, 160, 7, 256)
    light, dark = np.array([196, 152, 102], np.float32), np.array([140, 96, 58], np.float32)

    def surface(x: Field, y: Field) -> Field:
        waves = 0.012 * (bend[0] * np.sin(3 * x + bend[1]) + 0.5 * bend[2] * np.sin(7 * x + 2 * y + bend[3]))
        across = y + waves.astype(np.float32)
        rings = 0.5 + 0.5 * np.sin(2 * math.pi * 11 * across + phase + 0.9 * np.sin(2 * math.pi * 3 * across + bend[4]))
        rows = (across * 256).astype(np.int32) % 256
        columns = np.broadcast_to((x * 256).astype(np.int32) % 256, rows.shape)
        tone = 1 + 0.05 * pores[rows, columns]
        return ((dark + rings[..., None] ** 1.5 * (light - dark)) * tone[..., None]).astype(np.float32)

    return surface


def _changed_region(canvas: Canvas, surface: Surface, rng: np.random.Generator, defect: str) -> Shape:
    """Replace a region by the same texture, turned or enlarged."""
    x, y = grid(canvas.size)
    centre_x, centre_y = point_between(rng, 0.3, 0.7)
    region = blob(rng, centre_x, centre_y, between(rng, 0.17, 0.24))
    angle, factor = 0.0, 1.0
    if defect == "global_direction":
        angle = math.radians(between(rng, 30, 60)) * (-1, 1)[rng.integers(2)]
    else:
        factor = between(rng, 0.42, 0.52) if rng.integers(2) else between(rng, 1.9, 2.3)
    dx, dy = x - centre_x, y - centre_y
    turned_x = centre_x + factor * (dx * math.cos(angle) + dy * math.sin(angle))
    turned_y = centre_y + factor * (dy * math.cos(angle) - dx * math.sin(angle))
    cover = np.clip(0.5 - region.distance(x, y) * canvas.size, 0, 1)[..., None]
    canvas.rgb += cover * (surface(turned_x.astype(np.float32), turned_y.astype(np.float32)) - canvas.rgb)
    return region


def scratch(canvas: Canvas, rng: np.random.Generator) -> Shape:
    """A thin bright cut with a dark side, slightly bent."""
    x, y = point_between(rng, 0.25, 0.75)
    direction, length, bend = between(rng, 0, 2 * math.pi), between(rng, 0.35, 0.55), between(rng, -0.5, 0.5)
    steps = np.linspace(-0.5, 0.5, 6).tolist()
    points = [
        (
            x + length * step * math.cos(direction + bend * step),
            y + length * step * math.sin(direction + bend * step),
        )
        for step in steps
    ]
    cut = stroke(points, between(rng, 0.012, 0.015))
    canvas.paint(cut, (38, 34, 32))
    canvas.paint(stroke(points, 0.008).moved(-0.002, -0.002), (238, 234, 228))
    return cut


def _hole(canvas: Canvas, rng: np.random.Generator) -> Shape:
    hole = blob(rng, *point_between(rng, 0.2, 0.8), between(rng, 0.055, 0.085))
    canvas.paint(hole, (24, 22, 22))
    canvas.paint(hole.grown(-0.02).moved(0.006, 0.006), (46, 42, 40), soft=0.02)
    return hole


def _stain(canvas: Canvas, rng: np.random.Generator) -> Shape:
    stain = blob(rng, *point_between(rng, 0.2, 0.8), between(rng, 0.09, 0.13), roughness=0.4)
    colour = ((150, 34, 28), (26, 34, 116), (40, 102, 30))[rng.integers(3)]
    canvas.paint(stain, colour, alpha=0.75)
    canvas.paint(stain.grown(-0.012), colour, alpha=0.2, soft=0.02)
    return stain


_LOCAL: dict[str, Callable[[Canvas, np.random.Generator], Shape]] = {
    "local_hole": _hole,
    "local_scratch": scratch,
    "local_stain": _stain,
}
