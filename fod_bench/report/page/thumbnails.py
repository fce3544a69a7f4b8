"""Small images of a page: what the method saw, the outline of the truth, a score map in colours. All squares of one geometry."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fod_bench.datasets import Resize

SIDE = 256
"""Pixels of a thumbnail's side."""
_OUTLINE = (0, 229, 255)
_AROUND = (0, 0, 0)
_STOPS = [
    (0.0, (20, 11, 52)),
    (0.25, (106, 23, 110)),
    (0.5, (188, 55, 84)),
    (0.75, (243, 120, 25)),
    (1.0, (252, 255, 164)),
]
"""Dark violet to light yellow, ever lighter: the order shows in grey, too."""


def _colours() -> NDArray[np.uint8]:
    """(256, 4): colours of a map's levels, the lower the more transparent."""
    at = np.linspace(0, 1, 256)
    places, stops = [stop[0] for stop in _STOPS], np.array([stop[1] for stop in _STOPS], float)
    channels = [np.interp(at, places, stops[:, channel]) for channel in range(3)]
    opacity = 255 * np.clip(at / 0.35, 0, 1) ** 1.5 * 0.82
    return np.round(np.stack([*channels, opacity], 1)).astype(np.uint8)


_COLOURS = _colours()


def thumbnail(image: Image.Image, resize: Resize) -> bytes:
    """An image as the method saw it, as WebP: the same square, whatever the size that it was given in."""
    shorter = None if resize.shorter_side is None else round(SIDE * resize.shorter_side / resize.size)
    return _webp(Resize(SIDE, shorter).image(image), 72)


def overlay(levels: NDArray[np.uint8]) -> bytes:
    """A score map (t, t) in colours, to be laid over its image, as WebP."""
    return _webp(Image.fromarray(_COLOURS[levels], "RGBA"), 60)


def outline(mask: NDArray[np.uint8]) -> bytes:
    """The edges of a mask (s, s) of 0 and 1, to be laid over its image, as PNG of a few colours."""
    inside = np.array(Image.fromarray(mask).resize((SIDE, SIDE), Image.Resampling.NEAREST)).astype(bool)
    edge = inside & ~_eroded(inside, 2)
    around = _grown(inside, 1) & ~inside
    indices = np.zeros((SIDE, SIDE), np.uint8)
    indices[inside], indices[around], indices[edge] = 1, 2, 3
    drawn = Image.fromarray(indices, "P")
    drawn.putpalette([*(0, 0, 0), *_OUTLINE, *_AROUND, *_OUTLINE])
    content = io.BytesIO()
    drawn.save(content, "PNG", optimize=True, transparency=bytes([0, 64, 160, 255]))
    return content.getvalue()


def scale_colours(steps: int = 24) -> list[str]:
    """Colours from low to high over a grey ground, for a legend."""
    chosen = _COLOURS[np.linspace(0, 255, steps).round().astype(int)].astype(float)
    share = chosen[:, 3:] / 255
    mixed = np.round(chosen[:, :3] * share + 128 * (1 - share)).astype(int)
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in mixed.tolist()]


def _webp(image: Image.Image, quality: int) -> bytes:
    content = io.BytesIO()
    image.save(content, "WEBP", quality=quality, method=4, alpha_quality=60)
    return content.getvalue()


def _grown(inside: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    found = inside.copy()
    for _ in range(by):
        padded = np.pad(found, 1)
        found = padded[1:-1, 1:-1] | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return found


def _eroded(inside: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    return ~_grown(~inside, by)
