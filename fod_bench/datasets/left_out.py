"""Which defects a centre crop leaves out of the square that is made of their images."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fod_bench.datasets.base import Category
from fod_bench.datasets.preprocess import Resize, preprocess_mask


@dataclass
class LeftOut:
    """Defective test images of a category, by what the crop leaves of their defects. Whatever it is, they keep their label."""

    defects: int = 0
    """Defective images with a mask."""
    wholly: list[str] = field(default_factory=list)
    """Names of images of whose defect nothing is seen."""
    partly: list[str] = field(default_factory=list)
    """Names of those of whose defect something is seen, but not all."""

    def add(self, name: str, mask: NDArray[np.uint8], cropped: NDArray[np.uint8], resize: Resize) -> None:
        """One more image; `mask` (h, w) is its own, `cropped` (s, s) what `resize` makes of it."""
        height, width = mask.shape
        left, top, right, bottom = resize.window(width, height)
        self.defects += 1
        if mask.any() and mask.sum(dtype=int) > mask[top:bottom, left:right].sum(dtype=int):
            (self.partly if cropped.any() else self.wholly).append(name)

    def summary(self, category: str) -> str | None:
        """What a person should know of it, in one line; None where nothing is left out."""
        if not self.wholly and not self.partly:
            return None
        counts = f"{len(self.wholly)} wholly and {len(self.partly)} partly"
        return (
            f"{category}: of {self.defects} defects the centre crop leaves out {counts}; their images keep their label"
        )


def left_out(category: Category, resize: Resize) -> LeftOut:
    """What `resize` leaves out of the defects of `category`. Raises DatasetError naming a mask that cannot be used."""
    found = LeftOut()
    for sample in category.test:
        mask = category.read_mask(sample)
        if mask is not None:
            found.add(sample.name, mask, preprocess_mask(mask, resize), resize)
    return found
