"""The ten augmenters of a texture's colours and pose, of which three are applied to each; see DRAEM's paper and code.

They are Pillow's own operations where it has them, so they are not to the bit those of the library that the authors used.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

Augmenter = Callable[[np.random.Generator, Image.Image], Image.Image]

APPLIED = 3


def augmented(rng: np.random.Generator, texture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A texture (s, s, 3) after three different augmenters, in random order."""
    image = Image.fromarray(texture)
    for chosen in rng.choice(len(AUGMENTERS), APPLIED, replace=False):
        image = AUGMENTERS[chosen](rng, image)
    return np.asarray(image)


def _gamma(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    values = np.arange(256) / 255
    tables = [np.rint(255 * values**exponent).astype(int).tolist() for exponent in rng.uniform(0.5, 2.0, 3)]
    return image.point([value for table in tables for value in table])


def _brightness(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    factor, offset = float(rng.uniform(0.8, 1.2)), float(rng.uniform(-30, 30))
    table = np.clip(np.rint(factor * np.arange(256) + offset), 0, 255).astype(int).tolist()
    return image.point(table * 3)


def _sharpness(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    return ImageEnhance.Sharpness(image).enhance(float(rng.uniform(0, 2)))


def _hue_and_saturation(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    hue, saturation = (int(rng.integers(-50, 51)) for _ in range(2))
    tables = [(np.arange(256) + hue) % 256, np.clip(np.arange(256) + saturation, 0, 255), np.arange(256)]
    return image.convert("HSV").point(np.concatenate(tables).tolist()).convert("RGB")


def _solarise(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    threshold, applied = int(rng.integers(32, 129)), rng.random() < 0.5
    return ImageOps.solarize(image, threshold) if applied else image


def _posterise(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    return ImageOps.posterize(image, int(rng.integers(1, 9)))


def _invert(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    return ImageOps.invert(image)


def _autocontrast(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    return ImageOps.autocontrast(image, cutoff=float(rng.uniform(0, 20)))


def _equalise(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    return ImageOps.equalize(image)


def _rotation(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    return image.rotate(float(rng.uniform(-45, 45)), Image.Resampling.BILINEAR)


AUGMENTERS: tuple[Augmenter, ...] = (
    _gamma,
    _brightness,
    _sharpness,
    _hue_and_saturation,
    _solarise,
    _posterise,
    _invert,
    _autocontrast,
    _equalise,
    _rotation,
)
