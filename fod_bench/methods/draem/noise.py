"""Perlin noise and rotations: where an anomaly is put."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

SCALES = (1, 2, 4, 8, 16, 32)
"""Cells of the noise that are drawn for an axis. The image's side is a multiple of each."""


def perlin(height: int, width: int, turns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Perlin noise (height, width) of one gradient for each corner of its cells.

    With fraction f = (fy, fx) of a pixel in its cell, the noise is √2 times the interpolation of gradient · (f - corner) over the
    cell's four corners, with 6t⁵ - 15t⁴ + 10t³ as the share of the farther one. The rows are interpolated first, for the corners'
    columns alone. Every value is made by itself, so that it does not depend on how sums are ordered.

    Args:
        turns: (rows + 1, columns + 1) in [0, 1), the gradients' angles in turns: (cos, sin) along rows and columns. Numbers of
            cells divide the sides.
    """
    rows, columns = turns.shape[0] - 1, turns.shape[1] - 1
    angles = 2 * math.pi * turns
    down, right = np.cos(angles), np.sin(angles)
    i, fy = _cells(height, rows)
    j, fx = _cells(width, columns)
    fy, share = fy[:, None], _fade(fy)[:, None]
    # Both parts of the gradients' products, interpolated over the rows: (height, columns + 1).
    along = down[i] * fy + share * (down[i + 1] * (fy - 1) - down[i] * fy)
    across = right[i] + share * (right[i + 1] - right[i])
    left = along[:, j] + across[:, j] * fx
    farther = along[:, j + 1] + across[:, j + 1] * (fx - 1)
    return math.sqrt(2) * (left + _fade(fx) * (farther - left))


def _cells(length: int, cells: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Of each pixel of an axis its cell, and where in the cell it is, from 0 to 1."""
    size = length // cells
    pixels = np.arange(length)
    return pixels // size, (pixels % size) / size


def _fade(t: NDArray[np.float64]) -> NDArray[np.float64]:
    return t * t * t * (t * (t * 6 - 15) + 10)


def rotated(values: NDArray[Any], degrees: float) -> NDArray[Any]:
    """Values (H, W) turned about their middle: bilinear, 0 outside.

    The value at (x, y) from the middle is that at (cos a·x + sin a·y, cos a·y - sin a·x).
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = np.array([[cos, -sin], [sin, cos]])  # on (row, column)
    middle = (np.array(values.shape) - 1) / 2
    offset = middle - matrix @ middle
    turned: NDArray[Any] = affine_transform(values, matrix, offset, order=1, mode="grid-constant", prefilter=False)
    return turned


def rotated_image(image: NDArray[np.uint8], degrees: float) -> NDArray[np.uint8]:
    """An image (H, W, 3) turned like `rotated`, rounded to whole values; black outside."""
    channels = [rotated(image[..., channel].astype(np.float32), degrees) for channel in range(3)]
    return np.rint(np.stack(channels, -1)).astype(np.uint8)
