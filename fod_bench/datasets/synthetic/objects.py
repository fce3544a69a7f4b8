"""Synthetic objects: a circuit board, a tray of pills and a gauge, with local and with logical defects.

An object is a list of parts. A logical defect edits the list (a part missing, two exchanged, one out of place, one too
many), and its mask is the footprint of the parts concerned, before and after.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fod_bench.datasets.base import GOOD
from fod_bench.datasets.synthetic.canvas import Canvas, Colour, Field, Shape, between, blob, point_between
from fod_bench.datasets.synthetic.parts import Part, draw_part, footprint
from fod_bench.datasets.synthetic.textures import scratch

OBJECT_DEFECTS = (
    "local_chip",
    "local_scratch",
    "logical_extra",
    "logical_misplaced",
    "logical_missing",
    "logical_swapped",
)


@dataclass(frozen=True)
class Blueprint:
    """An object as it should be: what it stands on, its parts, and where a part too many would fit."""

    background: Colour
    fixed: tuple[Part, ...]
    """Drawn first and never touched by a logical defect."""
    parts: tuple[Part, ...]
    free: tuple[tuple[float, float], ...]
    spare: tuple[str, ...]
    """Kinds of which there may be one too many."""
    chip_colour: Colour
    chips: tuple[tuple[float, float], ...]
    """Places on the rim of the first fixed part where material may break off."""
    stray: float
    """How far each part may sit from its place in a normal image."""


def draw_object(
    blueprint: Blueprint, rng: np.random.Generator, defect: str, size: int
) -> tuple[Field, NDArray[np.bool_]]:
    """One image of an object, (size, size, 3), and the mask of its defect, (size, size)."""
    pose = _pose(rng)
    strays = [point_between(rng, -blueprint.stray, blueprint.stray) for _ in blueprint.parts]
    parts = [
        replace(part, x=part.x + dx, y=part.y + dy) for part, (dx, dy) in zip(blueprint.parts, strays, strict=True)
    ]
    concerned: list[Part] = []
    if defect.startswith("logical_"):
        parts, concerned = _LOGICAL[defect](blueprint, parts, rng)
    canvas = Canvas(size, blueprint.background)
    for part in (*blueprint.fixed, *parts):
        draw_part(canvas, pose(part))
    shapes = [footprint(pose(part)) for part in concerned]
    if defect == "local_scratch":
        shapes.append(scratch(canvas, rng))
    elif defect == "local_chip":
        shapes.append(_chip(blueprint, canvas, rng, pose))
    elif defect != GOOD and not shapes:
        raise ValueError(f"unknown defect {defect!r}")
    return canvas.rgb, canvas.mask(shapes)


def _pose(rng: np.random.Generator) -> Callable[[Part], Part]:
    """How the whole object lies in this image: a little shifted and turned about the middle."""
    dx, dy = point_between(rng, -0.003, 0.003)
    angle = math.radians(between(rng, -0.4, 0.4))
    cos, sin = math.cos(angle), math.sin(angle)

    def pose(part: Part) -> Part:
        x, y = part.x - 0.5, part.y - 0.5
        return replace(part, x=0.5 + dx + x * cos - y * sin, y=0.5 + dy + y * cos + x * sin, angle=part.angle + angle)

    return pose


def _chip(blueprint: Blueprint, canvas: Canvas, rng: np.random.Generator, pose: Callable[[Part], Part]) -> Shape:
    x, y = blueprint.chips[rng.integers(len(blueprint.chips))]
    place = pose(Part("chip", x, y))
    bite = blob(rng, place.x, place.y, between(rng, 0.08, 0.11), roughness=0.35)
    body = footprint(pose(blueprint.fixed[0]))
    canvas.paint(bite.within(body), blueprint.chip_colour)
    canvas.paint(bite.grown(-0.016).within(body), blueprint.background)
    return bite.within(body)


_Edit = tuple[list[Part], list[Part]]  # parts afterwards, parts concerned


def _missing(blueprint: Blueprint, parts: list[Part], rng: np.random.Generator) -> _Edit:
    lost = parts[rng.integers(len(parts))]
    return [part for part in parts if part is not lost], [lost]


def _swapped(blueprint: Blueprint, parts: list[Part], rng: np.random.Generator) -> _Edit:
    pairs = [(a, b) for a in range(len(parts)) for b in range(a) if parts[a].looks_unlike(parts[b])]
    a, b = pairs[rng.integers(len(pairs))]
    first, second = parts[a], parts[b]
    after = list(parts)
    after[a] = replace(second, x=first.x, y=first.y, angle=first.angle)
    after[b] = replace(first, x=second.x, y=second.y, angle=second.angle)
    return after, [first, second, after[a], after[b]]


def _misplaced(blueprint: Blueprint, parts: list[Part], rng: np.random.Generator) -> _Edit:
    index = rng.integers(len(parts))
    direction, distance = between(rng, 0, 2 * math.pi), between(rng, 0.055, 0.075)
    turn = math.radians(between(rng, 25, 50)) * (-1, 1)[rng.integers(2)]
    before = parts[index]
    after = replace(
        before,
        x=before.x + distance * math.cos(direction),
        y=before.y + distance * math.sin(direction),
        angle=before.angle + turn,
    )
    return [after if part is before else part for part in parts], [before, after]


def _extra(blueprint: Blueprint, parts: list[Part], rng: np.random.Generator) -> _Edit:
    x, y = blueprint.free[rng.integers(len(blueprint.free))]
    spares = [part for part in parts if part.kind in blueprint.spare]
    more = replace(spares[rng.integers(len(spares))], x=x, y=y)
    return [*parts, more], [more]


_LOGICAL: dict[str, Callable[[Blueprint, list[Part], np.random.Generator], _Edit]] = {
    "logical_extra": _extra,
    "logical_misplaced": _misplaced,
    "logical_missing": _missing,
    "logical_swapped": _swapped,
}

_COPPER, _SILVER = (196, 160, 82), (186, 190, 196)

BOARD = Blueprint(
    background=(176, 166, 150),
    fixed=(
        Part("plate", 0.5, 0.5, width=0.9, height=0.9, colour=(28, 104, 62)),
        *(Part("trace", x, 0.5, width=0.012, height=0.78, colour=(52, 134, 84)) for x in (0.2, 0.44, 0.48, 0.62, 0.8)),
        *(Part("trace", 0.5, y, width=0.78, height=0.012, colour=(52, 134, 84)) for y in (0.18, 0.46, 0.5, 0.66, 0.84)),
        *(Part("pad", 0.11 + 0.78 * i, 0.11 + 0.78 * j, width=0.055, colour=_COPPER) for i in (0, 1) for j in (0, 1)),
    ),
    parts=(
        Part("integrated", 0.33, 0.34, width=0.26, height=0.2, colour=(44, 44, 48)),
        Part("capacitor", 0.7, 0.26, width=0.15, colour=(58, 76, 148)),
        Part("capacitor", 0.72, 0.5, width=0.15, colour=(176, 58, 44)),
        Part("resistor", 0.24, 0.6, width=0.17, height=0.06, colour=(206, 178, 130), accent=(150, 40, 40)),
        Part("resistor", 0.24, 0.75, width=0.17, height=0.06, colour=(116, 164, 198), accent=(34, 40, 90)),
        Part("socket", 0.6, 0.77, width=0.3, height=0.11, colour=(232, 228, 214), accent=_COPPER),
    ),
    free=((0.47, 0.58), (0.52, 0.2), (0.46, 0.65)),
    spare=("capacitor", "resistor"),
    chip_colour=(90, 74, 44),
    chips=((0.06, 0.3), (0.06, 0.66), (0.94, 0.4), (0.94, 0.72), (0.36, 0.06), (0.7, 0.94)),
    stray=0.003,
)

TRAY = Blueprint(
    background=(70, 78, 92),
    fixed=(
        Part("plate", 0.5, 0.5, width=0.92, height=0.8, colour=(168, 174, 182)),
        *(Part("pocket", 0.2 + 0.2 * i, 0.26 + 0.24 * j, width=0.168, colour=(134, 140, 150))
          for j in range(3) for i in range(4)),
    ),
    parts=tuple(
        Part("pill", 0.2 + 0.2 * i, 0.26 + 0.24 * j, width=0.125,
             colour=((226, 88, 60), (236, 232, 220), (84, 148, 92))[j], accent=(90, 60, 50))
        for j in range(3) for i in range(4)
    ),
    free=((0.3, 0.38), (0.5, 0.38), (0.7, 0.38), (0.3, 0.62), (0.5, 0.62), (0.7, 0.62)),
    spare=("pill",),
    chip_colour=(222, 224, 226),
    chips=((0.04, 0.3), (0.96, 0.4), (0.3, 0.1), (0.7, 0.1), (0.4, 0.9), (0.8, 0.9)),
    stray=0.005,
)  # fmt: skip


def _gauge_parts() -> tuple[Part, ...]:
    colours = ((70, 150, 84), (70, 150, 84), (224, 186, 60), (224, 186, 60), (198, 58, 48))
    sectors = tuple(
        Part("sector", 0.5, 0.5, angle=math.radians(162 + 54 * i), width=0.27, height=0.06, colour=colour)
        for i, colour in enumerate(colours)
    )
    labels = (
        Part("socket", 0.5, 0.72, width=0.22, height=0.075, colour=(52, 58, 74), accent=(236, 236, 228)),
        Part("needle", 0.5, 0.5, angle=math.radians(-60), width=0.21, colour=(160, 34, 30)),
    )
    screws = tuple(
        Part("screw", 0.14 + 0.72 * i, 0.14 + 0.72 * j, angle=0.6, width=0.085, colour=_SILVER)
        for j in (0, 1) for i in (0, 1)
    )  # fmt: skip
    return (*sectors, *labels, *screws)


GAUGE = Blueprint(
    background=(96, 88, 80),
    fixed=(
        Part("plate", 0.5, 0.5, width=0.9, height=0.9, colour=(78, 88, 106)),
        *(Part("hole", x, y, width=0.05, colour=(26, 28, 32)) for x in (0.14, 0.86) for y in (0.14, 0.86)),
        Part("face", 0.5, 0.5, width=0.76, colour=(232, 230, 220)),
        *(Part("tick", 0.5 + 0.335 * math.cos(a), 0.5 + 0.335 * math.sin(a), angle=a, width=0.045, height=0.012,
               colour=(40, 40, 44)) for a in (math.radians(135 + 27 * i) for i in range(11))),
    ),
    parts=_gauge_parts(),
    free=((0.14, 0.5), (0.86, 0.5), (0.5, 0.11), (0.5, 0.89)),
    spare=("screw",),
    chip_colour=(168, 172, 178),
    chips=((0.06, 0.34), (0.94, 0.3), (0.06, 0.68), (0.94, 0.7), (0.34, 0.06), (0.66, 0.94)),
    stray=0.002,
)  # fmt: skip
