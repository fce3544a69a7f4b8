"""The fitting's parts and their steps, from counts alone. Knows no torch."""

from __future__ import annotations

import math
from typing import NamedTuple

IMAGES_PER_STEP = 32
"""Training images whose patches are embedded in one step,"""
PICKS_PER_STEP = 256
"""and picks of the coreset in one: each takes a second or a few."""


def coreset_size(rows: int, ratio: float) -> int:
    """Memory rows of `rows` patches: int(N·p), as the official code rounds."""
    return int(rows * ratio)


class Stages(NamedTuple):
    """Steps of the fitting, in this order. Where all rows are kept there is only the last part."""

    embedding: int
    """Steps in which patches are embedded and projected,"""
    selection: int
    """in which memory rows are picked,"""
    gathering: int
    """and in which the picked rows are embedded again, in full."""

    @classmethod
    def of(cls, images: int, rows: int, ratio: float) -> Stages:
        """The steps for so many training images and patches."""
        passes = -(-images // IMAGES_PER_STEP)
        if ratio == 1:
            return cls(0, 0, passes)
        return cls(passes, -(-coreset_size(rows, ratio) // PICKS_PER_STEP), passes)


def no_row(images: int, height: int, width: int, ratio: float) -> str | None:
    """Why a ratio leaves nothing of the patches, and what would not; None where it leaves some."""
    rows = images * height * width
    if coreset_size(rows, ratio):
        return None
    unit = 10.0 ** (math.floor(math.log10(1 / rows)) - 1)  # of two digits
    digits = math.ceil(1 / rows / unit)
    needed = next(share for more in range(10) if coreset_size(rows, share := round((digits + more) * unit, 15)))
    return (
        f"coreset_ratio: {ratio:g} of {rows} patches ({images} training images of {height}×{width}) is less than one; "
        f"set {needed:g} or more, or `all`"
    )
