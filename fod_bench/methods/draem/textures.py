"""Where the textures of the anomalies come from: drawn here, or a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fod_bench.datasets import Resize
from fod_bench.datasets.images import read_rgb
from fod_bench.errors import DatasetError, TrialError
from fod_bench.methods.draem.augmenters import augmented
from fod_bench.methods.draem.patterns import pattern_texture
from fod_bench.methods.draem.texture_folder import folder_digest, texture_files

_GRID = 8


class Textures(Protocol):
    """A source of textures."""

    def texture(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """One at random, (s, s, 3), already augmented."""
        ...


class DrawnTextures:
    """Procedural patterns and, as often, training images cut into 8×8 pieces and put together in another order."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        """`images`: (n, s, s, 3), s a multiple of 8."""
        self._images = images

    def texture(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """See `Textures`."""
        if rng.random() < 0.5:
            texture = pattern_texture(rng, self._images.shape[1])
        else:
            texture = shuffled_pieces(rng, self._images[rng.integers(len(self._images))])
        return augmented(rng, texture)


def shuffled_pieces(rng: np.random.Generator, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image (s, s, 3) cut into 8×8 pieces in random order."""
    size = len(image)
    piece = size // _GRID
    pieces = image.reshape(_GRID, piece, _GRID, piece, 3).swapaxes(1, 2).reshape(_GRID**2, piece, piece, 3)
    laid = pieces[rng.permutation(_GRID**2)].reshape(_GRID, _GRID, piece, piece, 3)
    return laid.swapaxes(1, 2).reshape(size, size, 3)


class FolderTextures:
    """Images of a folder, each resized to the square that training images have.

    Raises TrialError, here and from `texture`, for a folder that is not there, has no images, or is not the one of the digest.
    """

    def __init__(self, folder: str, digest: str, size: int) -> None:
        self._resize = Resize(size)
        try:
            self._files = texture_files(Path(folder))
            found = folder_digest(Path(folder))
        except DatasetError as error:
            raise TrialError(str(error)) from None
        if found != digest:
            text = f"the images of folder {folder} have the digest {found}, not `textures_digest: {digest}`"
            raise TrialError(f"textures: {text}; they are others, or were changed since")

    def texture(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """See `Textures`."""
        try:
            image = read_rgb(self._files[rng.integers(len(self._files))])
        except DatasetError as error:
            raise TrialError(f"textures: {error}") from None
        return augmented(rng, np.asarray(self._resize.image(image)))


def textures_of(setting: str | dict[str, str], images: NDArray[np.uint8]) -> Textures:
    """The source that a training's setting `textures` names, for training images (n, s, s, 3)."""
    if isinstance(setting, str):
        return DrawnTextures(images)
    return FolderTextures(setting["folder"], setting["digest"], images.shape[1])
