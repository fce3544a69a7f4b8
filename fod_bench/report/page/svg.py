"""Plots as inline SVG: axes, lines, histograms, numbered points. Colours are classes of the style sheet, for light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from markupsafe import Markup, escape

WIDTH, HEIGHT = 360.0, 240.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 12.0, 10.0, 46.0
SERIES = 8
"""Series that the style sheet tells apart, by colour and dashes; further ones begin anew."""
_TICKS = 5
_LETTER = 6.0
"""Width of a letter of a tick's text, about."""
_RADIUS = 4.0
_NUMBER_SIZE = 7.5
"""Half the side of the place that a point's number takes."""

Point = tuple[float, float]
Kind = Literal["linear", "log"]


class Ticks(NamedTuple):
    """Places on an axis with their texts."""

    at: Sequence[float]
    texts: Sequence[str]


@dataclass(frozen=True)
class Axis:
    """One axis: its range, what it shows."""

    low: float
    high: float
    label: str
    kind: Kind = "linear"
    marks: Ticks | None = None
    """Ticks that are given; round numbers where None."""

    @classmethod
    def around(cls, values: Iterable[float], label: str, kind: Kind = "linear", marks: Ticks | None = None) -> Axis:
        """An axis that holds all values, with some room at either end."""
        found = [value for value in values if math.isfinite(value) and (kind == "linear" or value > 0)]
        low, high = (min(found), max(found)) if found else (0.0, 1.0)
        if kind == "log":
            return cls(low / 1.4, high * 1.4, label, kind, marks)
        room = (high - low) * 0.06 or abs(high) * 0.05 or 0.05
        return cls(low - room, high + room, label, kind, marks)

    def share(self, value: float) -> float:
        """Where a value stands, from 0 to 1."""
        if self.kind == "log":
            low, high, value = math.log(self.low), math.log(self.high), math.log(max(value, 1e-300))
            return (value - low) / (high - low)
        return (value - self.low) / (self.high - self.low or 1.0)

    def ticks(self) -> Ticks:
        """Round numbers within the range."""
        if self.marks is not None:
            return self.marks
        at = _powers(self.low, self.high) if self.kind == "log" else _round_numbers(self.low, self.high)
        return Ticks(at, [f"{value:.6g}" for value in at])


class Plot:
    """A plot being drawn."""

    def __init__(self, x: Axis, y: Axis, description: str, css: str = "") -> None:
        """`description`: what a reader who does not see it is told."""
        self.x, self.y, self._description, self._css = x, y, description, css
        self._marks: list[str] = []

    def at(self, point: Point) -> Point:
        """Where a point of the data lies in the drawing."""
        across, up = self.x.share(point[0]), self.y.share(point[1])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - TOP)

    def line(self, points: Sequence[Point], series: int, dotted: bool = False) -> None:
        """A line through points; one point alone is a dot."""
        placed = [self.at(point) for point in points if all(map(math.isfinite, point))]
        name = f"s{series % SERIES}"
        if dotted or len(placed) == 1:
            self._marks += [f'<circle class="dot {name}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in placed]
        if len(placed) > 1:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
            self._marks.append(f'<polyline class="line {name}" points="{path}"/>')

    def spread(self, point: Point, deviation: float, series: int) -> None:
        """A bar of one deviation to either side."""
        (x, low), (_, high) = self.at((point[0], point[1] - deviation)), self.at((point[0], point[1] + deviation))
        self._marks.append(f'<path class="line s{series % SERIES}" d="M{x:.1f} {low:.1f}V{high:.1f}"/>')

    def diagonal(self) -> None:
        """From corner to corner: what chance would give."""
        (x0, y0), (x1, y1) = self.at((self.x.low, self.y.low)), self.at((self.x.high, self.y.high))
        self._marks.append(f'<path class="chance" d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}"/>')

    def level(self, value: float) -> None:
        """A horizontal line through a value: what chance would give."""
        (x0, y), (x1, _) = self.at((self.x.low, value)), self.at((self.x.high, value))
        self._marks.append(f'<path class="chance" d="M{x0:.1f} {y:.1f}H{x1:.1f}"/>')

    def bars(self, edges: Sequence[float], values: Sequence[float], css: str) -> None:
        """Bars from 0, upward or downward, between neighbouring edges."""
        for low, high, value in zip(edges, edges[1:], values, strict=False):
            if value:
                (x0, base), (x1, top) = self.at((low, 0.0)), self.at((high, value))
                box = f'x="{x0 + 0.5:.1f}" y="{min(base, top):.1f}" width="{max(x1 - x0 - 1, 0.5):.1f}"'
                self._marks.append(f'<rect class="{css}" {box} height="{abs(base - top):.1f}"/>')

    def base(self) -> None:
        """The line on which bars stand."""
        (x0, y), (x1, _) = self.at((self.x.low, 0.0)), self.at((self.x.high, 0.0))
        self._marks.append(f'<path class="axis" d="M{x0:.1f} {y:.1f}H{x1:.1f}"/>')

    def threshold(self, value: float, name: str) -> None:
        """A vertical line that a script may move."""
        x, _ = self.at((value, self.y.low))
        self._marks.append(f'<path class="threshold {name}" d="M{x:.1f} {TOP:.1f}V{HEIGHT - BOTTOM:.1f}"/>')

    def numbered(self, points: Mapping[int, Point]) -> None:
        """Points with their numbers beside them, placed so that none covers a point or another number."""
        placed = {number: self.at(point) for number, point in points.items()}
        taken = [(x, y, _RADIUS) for x, y in placed.values()]
        for number, (x, y) in placed.items():
            left, top = _free_place(x, y, taken)
            taken.append((left, top, _NUMBER_SIZE))
            if math.dist((x, y), (left, top)) > 2.2 * _NUMBER_SIZE:
                self._marks.append(f'<path class="lead" d="M{x:.1f} {y:.1f}L{left:.1f} {top:.1f}"/>')
            self._marks.append(f'<circle class="dot s0" cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS}"/>')
            self._marks.append(f'<text class="number" x="{left:.1f}" y="{top + 4:.1f}">{number}</text>')

    def drawn(self) -> Markup:
        """The SVG."""
        pieces = [*self._across(), *self._up(), *self._marks]
        label, css = escape(self._description), escape(self._css)
        head = f'<svg class="plot {css}" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{label}"'
        ends = f'data-left="{LEFT:g}" data-right="{WIDTH - RIGHT:g}" data-low="{self.x.low:.9g}" data-high="{self.x.high:.9g}"'
        return Markup(f"{head} {ends}>{''.join(pieces)}</svg>")

    def _across(self) -> Iterable[str]:
        base = HEIGHT - BOTTOM
        ends = [0.0, 0.0]  # of the texts so far, in two lines: those that would touch take turns
        for value, text in zip(*self.x.ticks(), strict=True):
            x, _ = self.at((value, self.y.low))
            half = len(text) * _LETTER / 2
            middle = min(x, WIDTH - half)
            line = 0 if middle - half > ends[0] + 4 else 1
            ends[line] = middle + half
            yield f'<path class="grid" d="M{x:.1f} {TOP:.1f}V{base:.1f}"/>'
            place = f'x="{middle:.1f}" y="{base + 13 + 11 * line:.1f}"'
            yield f'<text class="tick" text-anchor="middle" {place}>{escape(text)}</text>'
        yield f'<path class="axis" d="M{LEFT:.1f} {base:.1f}H{WIDTH - RIGHT:.1f}"/>'
        middle = (LEFT + WIDTH - RIGHT) / 2
        yield f'<text class="label" text-anchor="middle" x="{middle:.1f}" y="{HEIGHT - 6:.1f}">{escape(self.x.label)}</text>'

    def _up(self) -> Iterable[str]:
        for value, text in zip(*self.y.ticks(), strict=True):
            _, y = self.at((self.x.low, value))
            yield f'<path class="grid" d="M{LEFT:.1f} {y:.1f}H{WIDTH - RIGHT:.1f}"/>'
            yield f'<text class="tick" text-anchor="end" x="{LEFT - 5:.1f}" y="{y + 3.5:.1f}">{escape(text)}</text>'
        yield f'<path class="axis" d="M{LEFT:.1f} {TOP:.1f}V{HEIGHT - BOTTOM:.1f}"/>'
        middle = (TOP + HEIGHT - BOTTOM) / 2
        turned = f'transform="translate(10 {middle:.1f}) rotate(-90)"'
        yield f'<text class="label" text-anchor="middle" {turned}>{escape(self.y.label)}</text>'


def colour_bar(colours: Sequence[str]) -> Markup:
    """Colours from low to high, as a legend."""
    bars = "".join(f'<rect x="{at}" y="0" width="1.05" height="1" fill="{one}"/>' for at, one in enumerate(colours))
    told = 'role="img" aria-label="colours from low to high scores"'
    return Markup(f'<svg viewBox="0 0 {len(colours)} 1" preserveAspectRatio="none" {told}>{bars}</svg>')


def _round_numbers(low: float, high: float) -> list[float]:
    """Some multiples of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    raw = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _powers(low: float, high: float) -> list[float]:
    """Powers of ten, with 2 and 5 times them where they are few."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    tens = [10.0**exponent for exponent in exponents]
    factors = (1, 2, 5) if sum(low <= ten <= high for ten in tens) < 3 else (1,)
    found = [factor * ten for ten in tens for factor in factors if low <= factor * ten <= high]
    every = -(-len(found) // 8)
    return found[::every]


def _free_place(x: float, y: float, taken: Sequence[tuple[float, float, float]]) -> Point:
    """The nearest place around a point for its number: within the plot, over nothing that is taken."""
    for distance in (12.0, 20.0, 28.0, 38.0, 50.0, 64.0):
        for eighth in (0, 7, 1, 2, 6, 4, 3, 5):  # right, then around
            angle = eighth * math.pi / 4
            left, top = x + distance * math.cos(angle), y + distance * math.sin(angle)
            inside = LEFT + 7 < left < WIDTH - RIGHT - 5 and TOP + 6 < top < HEIGHT - BOTTOM - 6
            free = all(max(abs(left - other), abs(top - height)) > size + _NUMBER_SIZE for other, height, size in taken)
            if inside and free:
                return left, top
    return x, y - 12.0
