"""Training samples: an image, the same with an anomaly blended in, and where the anomaly is.

A sample is a function of the run's seed, the epoch and its number in the epoch, so that it can be made anew at any time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fod_bench.methods.draem.noise import SCALES, perlin, rotated, rotated_image
from fod_bench.methods.draem.textures import Textures

THRESHOLD = 0.5
"""Noise above it is an anomaly."""

_ROTATED_IMAGES = 0.3
_LARGEST_ANGLE = 90.0
_LARGEST_SHARE_OF_IMAGE = 0.8


class Sample(NamedTuple):
    """Values in [0, 1], float32."""

    clean: NDArray[np.float32]
    """(s, s, 3), the target of the reconstruction."""
    augmented: NDArray[np.float32]
    """(s, s, 3), what the networks see."""
    mask: NDArray[np.float32]
    """(s, s), 1 where the anomaly is; all 0 in a clean sample."""


def drawn_clean(draw: float) -> bool:
    """Whether a uniform draw makes a sample without an anomaly: one half of them."""
    return draw > 0.5


def clean_sample(image: NDArray[np.uint8]) -> Sample:
    """A sample without an anomaly, of an image (s, s, 3)."""
    clean = _scaled(image)
    return Sample(clean, clean, np.zeros(image.shape[:2], np.float32))


def blended(image: NDArray[np.uint8], texture: NDArray[np.uint8], noise: NDArray[np.floating], weight: float) -> Sample:
    """The image (s, s, 3) with the texture (s, s, 3) where the noise (s, s) is above the threshold.

    There the image keeps `weight` b: I(1 - M) + M((1 - b)A + bI). The mask may be empty.
    """
    clean = _scaled(image)
    mask = (noise > THRESHOLD).astype(np.float32)
    share, inside = np.float32(weight), mask[..., None]
    augmented = clean * (1 - inside) + inside * ((1 - share) * _scaled(texture) + share * clean)
    return Sample(clean, augmented, mask)


def _scaled(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return image.astype(np.float32) / np.float32(255)


def anomaly_noise(rng: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Perlin noise (size, size) with cells of random size along each axis, turned by a random angle."""
    rows, columns = rng.choice(SCALES, 2)
    noise = perlin(size, size, rng.random((rows + 1, columns + 1)))
    return rotated(noise, rng.uniform(-_LARGEST_ANGLE, _LARGEST_ANGLE))


class Sampler:
    """Samples of training images (n, s, s, 3), drawn with replacement."""

    def __init__(self, images: NDArray[np.uint8], textures: Textures, seed: int) -> None:
        self._images = images
        self._textures = textures
        self._seed = seed

    def sample(self, epoch: int, number: int) -> Sample:
        """One sample of an epoch. Noise and texture are made only where there is to be an anomaly."""
        rng = np.random.default_rng([self._seed, epoch, number])
        image = self._images[rng.integers(len(self._images))]
        clean, turned = drawn_clean(rng.random()), rng.random() < _ROTATED_IMAGES
        if turned:
            image = rotated_image(image, rng.uniform(-_LARGEST_ANGLE, _LARGEST_ANGLE))
        if clean:
            return clean_sample(image)
        weight = _LARGEST_SHARE_OF_IMAGE * rng.random()
        noise = anomaly_noise(rng, len(image))
        return blended(image, self._textures.texture(rng), noise, weight)
