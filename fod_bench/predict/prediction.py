"""What a detector says of one image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fod_bench.datasets import Resize
from fod_bench.datasets.images import MAX_PIXELS, read_rgb, rgb_of
from fod_bench.errors import DatasetError

ImageLike = str | Path | Image.Image | NDArray[np.uint8]
"""What an image may be given as: a file's path, one of Pillow's, or an array (h, w, 3) of RGB or (h, w) of grey, uint8."""


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be read."""

    name: str
    """Its path, or `image <number>` for one that was not given as a file."""
    reason: str
    """One line."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """Score, decision and map of one image."""

    name: str
    """Its path, or `image <number>` for one that was not given as a file."""
    score: float
    """Larger is more anomalous."""
    threshold: float | None
    """Above it an image counts as anomalous; None where none was asked for."""
    map: NDArray[np.float32]
    """(s, s), the anomaly score of every pixel of the square that the detector sees; larger is more anomalous."""
    scale: tuple[float, float]
    """Range of the values that drawings and 16-bit files show: from what is usual of normal pixels to twice as far as the highest
    values of normal maps; the map's own range where no normal image was scored."""
    size: tuple[int, int]
    """Width and height of the image, upright."""
    resize: Resize
    """How it became the square."""
    source: ImageLike
    """What was scored."""
    max_pixels: int = MAX_PIXELS

    @property
    def anomalous(self) -> bool | None:
        """Whether the score is above the threshold; None without one."""
        return None if self.threshold is None else self.score > self.threshold

    def image(self) -> Image.Image:
        """The image in 8-bit RGB, upright; a file is read again. Raises `DatasetError`, also for one of another size by now."""
        found = read_image(self.source, self.name, self.max_pixels)
        if found.size != self.size:
            raise DatasetError(
                f"image {self.name} has {'×'.join(map(str, found.size))} pixels, and {'×'.join(map(str, self.size))} when it was "
                "scored: it has changed since"
            )
        return found

    def full_map(self) -> NDArray[np.float32]:
        """The map laid over the image's own pixels, (height, width), bilinear; NaN where a crop did not look."""
        return self.resize.restore(self.map, *self.size).astype(np.float32)

    def overlay(self) -> Image.Image:
        """The image with the map over it, at the image's size; see `drawing.overlay`."""
        from fod_bench.predict.drawing import overlay

        return overlay(self.image(), self.full_map(), self.scale)

    def plot(self, axes: object = None) -> object:
        """Draw the overlay with its score into matplotlib's axes, new ones where none are given; the axes are returned."""
        from fod_bench.predict.drawing import plot_prediction

        return plot_prediction(self, axes)

    def _repr_html_(self) -> str:
        """What a notebook shows: the overlay and its score."""
        from fod_bench.predict.drawing import prediction_html

        return prediction_html(self)


def read_image(image: ImageLike, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """An image in 8-bit RGB, upright, whatever it is given as; see `read_rgb`.

    Raises `DatasetError` for one that cannot be read, ValueError for an array of another kind; both name it.
    """
    if isinstance(image, str | Path):
        return read_rgb(Path(image), max_pixels)
    if isinstance(image, Image.Image):
        return rgb_of(image, name, max_pixels)
    array = np.asarray(image)
    if (
        array.dtype != np.uint8
        or array.ndim not in (2, 3)
        or (array.ndim == 3 and array.shape[2] != 3)
        or not array.size
    ):
        raise ValueError(
            f"{name}: an image is an array (height, width, 3) of RGB or (height, width) of grey, of uint8; this one is "
            f"{array.shape} of {array.dtype}"
        )
    return Image.fromarray(np.ascontiguousarray(array)).convert("RGB")
