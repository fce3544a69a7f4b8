"""Pictures and masks from files: any common type and depth to 8-bit RGB, any mask to 0 and 1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fod_bench.errors import DatasetError

PICTURE_TYPES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_SIXTEEN_BIT_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_TURNED_ORIENTATIONS = (5, 6, 7, 8)  # EXIF values whose upright picture has width and height exchanged
_EXIF_ORIENTATION = 0x0112

Value = TypeVar("Value")


def read_rgb(path: Path) -> Image.Image:
    """The picture at `path`, upright, in 8-bit RGB.

    EXIF orientation is applied, alpha is dropped, 16-bit grey is divided by 257. Raises DatasetError naming the file.
    """
    return _decode(path, _to_rgb)


def read_binary_mask(path: Path) -> NDArray[np.uint8]:
    """The mask at `path` as 0 and 1, (h, w): any value but zero is a defect; in a JPEG, any value above 127.

    Transparent pixels count as zero. Raises DatasetError naming the file.
    """
    return _decode(path, _to_mask)


def upright_size(path: Path) -> tuple[int, int]:
    """(width, height) of the picture as `read_rgb` returns it, from the file's header alone."""

    def size(picture: Image.Image) -> tuple[int, int]:
        turned = picture.getexif().get(_EXIF_ORIENTATION) in _TURNED_ORIENTATIONS
        return (picture.height, picture.width) if turned else picture.size

    return _decode(path, size)


def _decode(path: Path, convert: Callable[[Image.Image], Value]) -> Value:
    try:
        with Image.open(path) as picture:
            return convert(picture)
    except MemoryError:
        raise
    except Exception as error:  # decoders of damaged files raise anything from OSError to SyntaxError
        reason = "it is not a picture of a known type, or is damaged" if "cannot identify" in str(error) else str(error)
        raise DatasetError(f"picture {path} cannot be read: {reason}") from error


def _to_rgb(picture: Image.Image) -> Image.Image:
    upright = ImageOps.exif_transpose(picture)
    if upright.mode in _SIXTEEN_BIT_MODES:
        values = np.asarray(upright).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("values outside 0 to 65535; convert it to 8 or 16 bits")
        return Image.fromarray(np.round(values / 257).astype(np.uint8)).convert("RGB")
    if upright.mode == "F":
        raise ValueError("its values are floating point; convert it to 8 or 16 bits")
    return upright.convert("RGB")


def _to_mask(picture: Image.Image) -> NDArray[np.uint8]:
    threshold = 127 if picture.format in ("JPEG", "MPO") else 0  # lossy compression leaves traces around the defect
    upright = ImageOps.exif_transpose(picture)
    if upright.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
        upright = upright.convert("RGBA" if "transparency" in upright.info or upright.mode == "PA" else "RGB")
    marked = np.atleast_3d(np.asarray(upright) > threshold)  # (h, w, channels)
    if upright.mode in ("LA", "La", "RGBA", "RGBa"):
        marked = marked[..., :-1] & marked[..., -1:]
    return np.asarray(marked.any(axis=-1), dtype=np.uint8)
