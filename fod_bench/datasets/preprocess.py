"""From an image to the backbone's input: the preprocessing of the FOD authors' code, which differs with the data set."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PREPROCESSING = "v1: upright, 16-bit/257, rgb8, lanczos to {target} (pillow, uint8), /255, imagenet mean and std"
"""Names exactly what is done to an image. Features carry it in their key; change it with the code."""

SMALLEST_SIDE = 32
"""Of the square that an image is made, in pixels."""

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)

ResizeMode = Literal["stretch", "crop"]


@dataclass(frozen=True)
class Resize:
    """How an image of any size becomes a square: stretched, or its shorter side resized and the centre cropped."""

    size: int
    """Side of the square, in pixels."""
    shorter_side: int | None = None
    """What the shorter side is resized to before the crop, at least `size`; None stretches the image."""

    @property
    def preprocessing(self) -> str:
        """`PREPROCESSING` of this one."""
        crop = f"a shorter side of {self.shorter_side}, centre crop"
        return PREPROCESSING.format(target="a square" if self.shorter_side is None else crop)

    def image(self, image: Image.Image, resample: Image.Resampling = Image.Resampling.LANCZOS) -> Image.Image:
        """The square that is made of `image`, in the image's own mode."""
        width, height, left, top = self._placed(*image.size)
        return image.resize((width, height), resample).crop((left, top, left + self.size, top + self.size))

    def window(self, width: int, height: int) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) in an image of this size: the pixels of which the square shows at least a part."""
        resized_width, resized_height, left, top = self._placed(width, height)
        across = left * width // resized_width, -(-(left + self.size) * width // resized_width)
        down = top * height // resized_height, -(-(top + self.size) * height // resized_height)
        return across[0], down[0], across[1], down[1]

    def restore(
        self, values: NDArray[np.floating], width: int, height: int, outside: float = np.nan
    ) -> NDArray[np.floating]:
        """A map (size, size) of the square laid back over its image: (height, width), bilinear, `outside` beyond the window."""
        resized_width, resized_height, left, top = self._placed(width, height)
        low, high, share = _between(height, resized_height, top, self.size)
        rows = values[low] * (1 - share[:, None]) + values[high] * share[:, None]  # (height, size)
        low, high, share = _between(width, resized_width, left, self.size)
        restored = np.full((height, width), outside, dtype=values.dtype)
        x0, y0, x1, y1 = self.window(width, height)
        restored[y0:y1, x0:x1] = (rows[:, low] * (1 - share) + rows[:, high] * share)[y0:y1, x0:x1]
        return restored

    def _placed(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Width and height after resizing, and where the square lies in that; rounded as torchvision's transforms do."""
        if self.shorter_side is None:
            return self.size, self.size, 0, 0
        longer_side = int(self.shorter_side * max(width, height) / min(width, height))
        resized = (self.shorter_side, longer_side) if width <= height else (longer_side, self.shorter_side)
        left, top = (round((side - self.size) / 2) for side in resized)
        return *resized, left, top


def _between(
    length: int, resized: int, start: int, size: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Of each of an image's pixels along one axis the two of the square it lies between, and the share of the second."""
    centres = np.clip((np.arange(length) + 0.5) * resized / length - start - 0.5, 0, size - 1)
    low = np.floor(centres).astype(np.intp)
    return low, np.minimum(low + 1, size - 1), (centres - low).astype(np.float32)


def resize_that_made(preprocessing: str, size: int) -> Resize:
    """The `Resize` to squares of `size` pixels whose `preprocessing` is the text that a set was kept with.

    Raises ValueError for the text of another version of the preprocessing.
    """
    shorter = re.search(r"a shorter side of (\d+), centre crop", preprocessing)
    found = Resize(size, int(shorter[1]) if shorter else None)
    if found.preprocessing != preprocessing:
        raise ValueError(f"this version makes squares of images in another way than `{preprocessing}`")
    return found


def square(image: Image.Image, resize: Resize) -> NDArray[np.uint8]:
    """`image` (8-bit RGB) as a square by Lanczos, (size, size, 3)."""
    return np.array(resize.image(image))


def preprocess_image(image: Image.Image, resize: Resize) -> NDArray[np.float32]:
    """The backbone's input for `image` (8-bit RGB): a square by Lanczos, normalised; (3, size, size)."""
    return normalised(square(image, resize))


def normalised(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The backbone's input for a square (size, size, 3): (3, size, size)."""
    scaled = pixels.astype(np.float32) / 255
    return np.ascontiguousarray(((scaled - IMAGENET_MEAN) / IMAGENET_STD).transpose(2, 0, 1))


def preprocess_mask(mask: NDArray[np.uint8], resize: Resize) -> NDArray[np.uint8]:
    """`mask` (h, w) of 0 and 1 by nearest neighbour to (size, size).

    A defect thinner than the step may vanish, and so does one that a crop leaves out.
    """
    return np.array(resize.image(Image.fromarray(mask), Image.Resampling.NEAREST))
