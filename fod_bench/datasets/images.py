"""Images and masks from files: any common type and depth to 8-bit RGB, any mask to 0 and 1."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fod_bench.errors import DatasetError

IMAGE_TYPES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
MAX_PIXELS = 400_000_000
"""Larger images are refused unless a data set allows them: 8-bit RGB of this size is 1.1 GiB for each reading thread."""

_SIXTEEN_BIT_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_TO_EIGHT_BIT = np.round(np.arange(65536) / 257).astype(np.uint8)
_TURNED_ORIENTATIONS = (5, 6, 7, 8)  # EXIF values whose upright image has width and height exchanged
_EXIF_ORIENTATION = 0x0112

# What Pillow warns of does no harm to pixels.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)

Value = TypeVar("Value")


class Content(NamedTuple):
    """A file that was read already."""

    content: bytes | memoryview
    place: str
    """Where it lies, for messages."""

    def __str__(self) -> str:
        return self.place


ImageFile: TypeAlias = Path | Content


class Header(NamedTuple):
    """What a file says of its image before it is decoded."""

    width: int
    height: int
    """Of the upright image."""
    orientation: int
    """EXIF's: 1 is upright."""


class Depth(NamedTuple):
    """Range of the values in an image's file."""

    bits: int
    """8 or 16 per channel."""
    largest: int
    """Highest value in a file of 16 bits; of colour, whose low byte is not decoded, the highest that it may be. 255 of others."""


class Mask(NamedTuple):
    """A mask as it was drawn."""

    marked: NDArray[np.uint8]
    """(h, w) of 0 and 1; 1 is defective."""
    values: int
    """How many different values or colours mark pixels."""
    orientation: int
    """As `Header.orientation`."""


def read_rgb(path: ImageFile, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The image at `path`, upright, in 8-bit RGB.

    EXIF orientation is applied, alpha is dropped, 16-bit grey is divided by 257. Raises DatasetError naming the file.
    """
    return read_rgb_and_depth(path, max_pixels)[0]


def rgb_of(image: Image.Image, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """An image of Pillow's as `read_rgb` gives one of a file. Raises DatasetError naming it."""
    return _decode(image, _to_rgb, max_pixels, name)[0]


def read_rgb_and_depth(path: ImageFile, max_pixels: int = MAX_PIXELS) -> tuple[Image.Image, Depth]:
    """`read_rgb`, and the range of the file's values."""
    return _decode(path, _to_rgb, max_pixels)


def read_binary_mask(path: Path, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The mask at `path` as 0 and 1, (h, w): any value but zero is a defect; in a JPEG, any value above 127.

    Transparent pixels count as zero. Raises DatasetError naming the file.
    """
    return read_drawn_mask(path, max_pixels).marked


def read_drawn_mask(path: ImageFile, max_pixels: int = MAX_PIXELS) -> Mask:
    """`read_binary_mask`, and how it was drawn."""
    return _decode(path, _to_mask, max_pixels)


def read_header(path: ImageFile, max_pixels: int = MAX_PIXELS) -> Header:
    """Size and orientation of the image as `read_rgb` returns it, from the file's header alone."""

    def header(image: Image.Image) -> Header:
        orientation = _orientation(image)
        turned = orientation in _TURNED_ORIENTATIONS
        return Header(*(image.size[::-1] if turned else image.size), orientation)

    return _decode(path, header, max_pixels)


def upright_size(path: Path) -> tuple[int, int]:
    """(width, height) of the image as `read_rgb` returns it."""
    return read_header(path)[:2]


def _decode(
    source: ImageFile | Image.Image, convert: Callable[[Image.Image], Value], max_pixels: int, name: str = ""
) -> Value:
    Image.MAX_IMAGE_PIXELS = None  # here, since other libraries set it too: the limit is the data set's, below
    try:
        with _opened(source) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise ValueError(
                    f"it has {width}×{height} pixels, more than {max_pixels / 1e6:g} million; if it is meant to be so large, raise "
                    f"`max_pixels` of its data set (layout folder) to {width * height}"
                )
            return convert(image)
    except MemoryError:
        raise
    except Exception as error:  # decoders of damaged files raise anything from OSError to SyntaxError
        reason = "it is not an image of a known type, or is damaged" if "cannot identify" in str(error) else str(error)
        raise DatasetError(f"{name or f'image {source}'} cannot be read: {reason}") from error


def _opened(source: ImageFile | Image.Image) -> AbstractContextManager[Image.Image]:
    if isinstance(source, Image.Image):
        return nullcontext(source)  # it stays open
    return Image.open(source if isinstance(source, Path) else io.BytesIO(source.content))


def _orientation(image: Image.Image) -> int:
    found = image.getexif().get(_EXIF_ORIENTATION, 1)
    return found if isinstance(found, int) and 1 < found <= 8 else 1


def _to_rgb(image: Image.Image) -> tuple[Image.Image, Depth]:
    deep_colour = any(";16" in str(part) for tile in getattr(image, "tile", []) for part in _raw_modes(tile))
    upright = ImageOps.exif_transpose(image)
    if upright.mode in _SIXTEEN_BIT_MODES:
        values = np.asarray(upright)
        smallest, largest = int(values.min()), int(values.max())
        if smallest < 0 or largest > 65535:
            raise ValueError("values outside 0 to 65535; convert it to 8 or 16 bits")
        return Image.fromarray(_TO_EIGHT_BIT[values]).convert("RGB"), Depth(16, largest)
    if upright.mode == "F":
        raise ValueError("its values are floating point; convert it to 8 or 16 bits")
    rgb = upright.convert("RGB")
    if not deep_colour:
        return rgb, Depth(8, 255)
    return rgb, Depth(16, max(high for _, high in rgb.getextrema()) * 256 + 255)  # type: ignore[misc]


def _raw_modes(tile: Any) -> tuple[Any, ...]:
    """How the file's pixels are stored, in Pillow's words, `RGB;16B` for example."""
    arguments = tile[-1]
    return arguments if isinstance(arguments, tuple) else (arguments,)


def _to_mask(image: Image.Image) -> Mask:
    lossy = image.format in ("JPEG", "MPO")  # compression leaves traces around the defect
    orientation = _orientation(image)
    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
        upright = upright.convert("RGBA" if "transparency" in upright.info or upright.mode == "PA" else "RGB")
    values = np.atleast_3d(np.asarray(upright))  # (h, w, channels)
    shown = values > (127 if lossy else 0)
    if upright.mode in ("LA", "La", "RGBA", "RGBa"):
        values, shown = values[..., :-1], shown[..., :-1] & shown[..., -1:]
    marked: NDArray[np.bool_] = np.asarray(shown.any(axis=-1))  # (h, w)
    colours = values[marked]  # (P, channels)
    if colours.shape[-1] > 1:  # of 8 bits each, so that one number holds a colour
        colours = (colours.astype(np.uint32) << np.arange(0, 8 * colours.shape[-1], 8, dtype=np.uint32)).sum(-1)
    different = min(len(colours), 1) if lossy else len(np.unique(colours))
    return Mask(marked.astype(np.uint8), different, orientation)
