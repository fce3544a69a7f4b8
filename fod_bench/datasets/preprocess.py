"""From a picture to the backbone's input: the preprocessing of the FOD authors' code."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PREPROCESSING = "v1: upright, 16-bit/257, rgb8, lanczos to a square (pillow, uint8), /255, imagenet mean and std"
"""Names exactly what is done to a picture. Features carry it in their key; change it with the code."""

_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)


def preprocess_image(image: Image.Image, size: int) -> NDArray[np.float32]:
    """The backbone's input for `image` (8-bit RGB): stretched to a square with Lanczos, normalised; (3, size, size)."""
    square = image.resize((size, size), Image.Resampling.LANCZOS)
    pixels = np.asarray(square, dtype=np.float32) / 255  # (size, size, 3)
    return np.ascontiguousarray(((pixels - _MEAN) / _STD).transpose(2, 0, 1))


def preprocess_mask(mask: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """`mask` (h, w) of 0 and 1 by nearest neighbour to (size, size). A defect thinner than the step may vanish."""
    return np.array(Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST))
