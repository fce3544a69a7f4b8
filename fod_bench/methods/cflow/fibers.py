"""How a pass over the training images is cut into batches, fibers and steps. Knows no torch, so that a plan can be made without it.

A *fiber* is what one move of the optimiser is made on: rows of features, drawn from all positions of a batch of images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

_FIBERS_OF_A_STEP = 16
"""At most so many of a level, about: a step of the program is a second on two cores of a CPU, not ten."""


class Cut(NamedTuple):
    """A pass over the training images. Images and rows that do not fill a batch or a fiber are left out of it."""

    batch: int
    """Images of a batch."""
    batches: int
    """Batches of a pass."""
    fibers: dict[int, int]
    """Fibers of a batch, by level."""
    pieces: int
    """Steps of the program that a batch is taken in: every one has its share of every level's fibers."""

    def share(self, level: int, piece: int) -> range:
        """The fibers of a level that a step takes."""
        count = self.fibers[level]
        return range(piece * count // self.pieces, (piece + 1) * count // self.pieces)


def cut(images: int, positions: Mapping[int, int], batch_size: int, fiber: int, *, in_order: bool = False) -> Cut:
    """Cut a pass over so many images, of so many positions by level.

    Args:
        batch_size: images of a batch; all there are where there are fewer.
        fiber: rows of a fiber.
        in_order: whether a batch is one step, so that all fibers of a level come before those of the next.

    Raises:
        ValueError: a batch has fewer rows than a fiber; the text says what would do.
    """
    batch = min(batch_size, images)
    fibers = {level: batch * count // fiber for level, count in positions.items()}
    for level, count in fibers.items():
        if not count:
            rows = batch * positions[level]
            have = "1 image has" if batch == 1 else f"{batch} images have"
            least = -(-fiber // positions[level])
            raise ValueError(
                f"{have} {rows} rows of features at level {level}, less than a fiber of {fiber}; set `fiber` to at most {rows}, "
                f"or have {least} images in a batch"
            )
    wanted = 1 if in_order else math.ceil(max(fibers.values()) / _FIBERS_OF_A_STEP)
    return Cut(batch, images // batch, fibers, min(wanted, *fibers.values()))
