"""The parts that synthetic objects are made of: how each kind looks and what it covers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from fod_bench.datasets.synthetic.canvas import Canvas, Colour, Shape, arc, box, disc, stroke

_SHADOW: Colour = (18, 20, 24)


@dataclass(frozen=True)
class Part:
    """One part: kind, middle, direction (radians) and measures as parts of the image's side."""

    kind: str
    x: float
    y: float
    angle: float = 0.0
    width: float = 0.1
    """Diameter or radius of a round part, else its length along `angle`."""
    height: float = 0.1
    colour: Colour = (128, 128, 128)
    accent: Colour = (40, 40, 40)

    def looks_unlike(self, other: Part) -> bool:
        """Whether exchanging the two would show, and each is of the same make as the other."""
        return self.kind == other.kind and self.colour != other.colour

    def at(self, along: float, across: float) -> tuple[float, float]:
        """A point of the part, `along` and `across` its direction from the middle."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return self.x + along * cos - across * sin, self.y + along * sin + across * cos


def footprint(part: Part) -> Shape:
    """All that the part covers, its shadow apart."""
    return _FOOTPRINTS[part.kind](part)


def draw_part(canvas: Canvas, part: Part) -> None:
    """Lay the part on the canvas, with its shadow where it stands out."""
    _PAINTERS[part.kind](canvas, part)


def _rectangle(part: Part, rounding: float = 0.012) -> Shape:
    return box(part.x, part.y, part.width, part.height, part.angle, min(rounding, part.height / 2.1))


def _round(part: Part) -> Shape:
    return disc(part.x, part.y, part.width / 2)


def _needle_shape(part: Part) -> Shape:
    return stroke([part.at(-0.05, 0), part.at(part.width, 0)], 0.014)


def _sector_shape(part: Part) -> Shape:
    return arc(part.x, part.y, part.width, part.height, part.angle, math.radians(50))


def _integrated_shape(part: Part) -> Shape:
    return box(part.x, part.y, part.width, part.height + 0.05, part.angle, 0.01)


def _shadow(canvas: Canvas, shape: Shape) -> None:
    canvas.paint(shape.moved(0.007, 0.009), _SHADOW, alpha=0.45, soft=0.02)


def _plate(canvas: Canvas, part: Part) -> None:
    shape = _rectangle(part, rounding=0.05)
    _shadow(canvas, shape)
    canvas.paint(shape, part.colour, bevel=0.02)


def _flat(canvas: Canvas, part: Part) -> None:
    canvas.paint(footprint(part), part.colour)


def _pad(canvas: Canvas, part: Part) -> None:
    canvas.paint(_round(part), part.colour, bevel=0.01)
    canvas.paint(disc(part.x, part.y, part.width * 0.22), _SHADOW)


def _pocket(canvas: Canvas, part: Part) -> None:
    canvas.paint(_round(part), _darker(part.colour, 0.72))
    canvas.paint(disc(part.x + 0.004, part.y + 0.005, part.width * 0.46), part.colour, soft=0.012)


def _pill(canvas: Canvas, part: Part) -> None:
    shape = _round(part)
    _shadow(canvas, shape)
    canvas.paint(shape, part.colour, bevel=part.width * 0.3)
    half = part.width * 0.36
    canvas.paint(stroke([part.at(-half, 0), part.at(half, 0)], 0.005), _darker(part.colour, 0.62))


def _integrated(canvas: Canvas, part: Part) -> None:
    legs = 7
    for index in range(legs):
        along = part.width * ((index + 0.5) / legs - 0.5)
        for side in (-1, 1):
            x, y = part.at(along, side * part.height / 2)
            canvas.paint(box(x, y, part.width / legs * 0.5, 0.05, part.angle), (198, 200, 204))
    body = _rectangle(part)
    _shadow(canvas, body)
    canvas.paint(body, part.colour, bevel=0.014)
    x, y = part.at(-part.width * 0.4, part.height * 0.32)
    canvas.paint(disc(x, y, 0.011), (150, 150, 150))
    for row in (-1, 1):
        line = [part.at(-part.width * 0.25, row * 0.022), part.at(part.width * 0.3, row * 0.022)]
        canvas.paint(stroke(line, 0.006), (128, 128, 130))


def _capacitor(canvas: Canvas, part: Part) -> None:
    shape = _round(part)
    _shadow(canvas, shape)
    canvas.paint(shape, part.colour, bevel=0.02)
    canvas.paint(disc(part.x, part.y, part.width * 0.36), (190, 194, 200), bevel=0.008)
    for across in (0.0, math.pi / 2):
        dx, dy = 0.2 * part.width * math.cos(part.angle + across), 0.2 * part.width * math.sin(part.angle + across)
        canvas.paint(stroke([(part.x - dx, part.y - dy), (part.x + dx, part.y + dy)], 0.004), (120, 124, 130))


def _resistor(canvas: Canvas, part: Part) -> None:
    shape = _rectangle(part, rounding=0.02)
    _shadow(canvas, shape)
    canvas.paint(shape, part.colour, bevel=0.025)
    for along in (-0.28, -0.1, 0.22):
        x, y = part.at(along * part.width, 0)
        canvas.paint(box(x, y, 0.016, part.height, part.angle), part.accent)


def _socket(canvas: Canvas, part: Part) -> None:
    shape = _rectangle(part)
    _shadow(canvas, shape)
    canvas.paint(shape, part.colour, bevel=0.012)
    pins = 5
    for index in range(pins):
        x, y = part.at(part.width * ((index + 0.5) / pins - 0.5), 0)
        canvas.paint(box(x, y, part.width / pins * 0.5, part.height * 0.5, part.angle), part.accent)


def _face(canvas: Canvas, part: Part) -> None:
    canvas.paint(disc(part.x, part.y, part.width / 2 + 0.022), (150, 152, 156), bevel=0.02)
    canvas.paint(_round(part), part.colour)


def _needle(canvas: Canvas, part: Part) -> None:
    shape = _needle_shape(part)
    _shadow(canvas, shape)
    canvas.paint(shape, part.colour, bevel=0.01)
    canvas.paint(disc(part.x, part.y, 0.03), (60, 60, 64), bevel=0.012)


def _screw(canvas: Canvas, part: Part) -> None:
    shape = _round(part)
    _shadow(canvas, shape)
    canvas.paint(shape, part.colour, bevel=0.015)
    half = part.width * 0.34
    canvas.paint(stroke([part.at(-half, 0), part.at(half, 0)], 0.007), (58, 60, 64))


def _darker(colour: Colour, factor: float) -> Colour:
    red, green, blue = colour
    return red * factor, green * factor, blue * factor


_FOOTPRINTS: dict[str, Callable[[Part], Shape]] = {
    "capacitor": _round,
    "face": _round,
    "hole": _round,
    "integrated": _integrated_shape,
    "needle": _needle_shape,
    "pad": _round,
    "pill": _round,
    "plate": _rectangle,
    "pocket": _round,
    "resistor": _rectangle,
    "screw": _round,
    "sector": _sector_shape,
    "socket": _rectangle,
    "tick": _rectangle,
    "trace": _rectangle,
}

_PAINTERS: dict[str, Callable[[Canvas, Part], None]] = {
    "capacitor": _capacitor,
    "face": _face,
    "hole": _flat,
    "integrated": _integrated,
    "needle": _needle,
    "pad": _pad,
    "pill": _pill,
    "plate": _plate,
    "pocket": _pocket,
    "resistor": _resistor,
    "screw": _screw,
    "sector": _flat,
    "socket": _socket,
    "tick": _flat,
    "trace": _flat,
}
