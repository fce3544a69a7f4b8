"""What predictions leave: lines for people or programs, and maps as files.

<folder>/<name of the image>.overlay.png   the map over the image
<folder>/<name of the image>.npy           the numbers, float32
<folder>/<name of the image>.tiff          16 bits, on the scale that its description names

The name is without its ending, unless that alone tells two images apart.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from fod_bench.errors import UsageError
from fod_bench.machine.files import write_whole
from fod_bench.predict.drawing import png, relative, verdict
from fod_bench.predict.inputs import InputImage
from fod_bench.predict.prediction import Prediction, Unreadable

_DESCRIPTION = 270  # TIFF's tag


def _npy(prediction: Prediction, full: bool) -> bytes:
    content = io.BytesIO()
    np.save(content, _values(prediction, full), allow_pickle=False)
    return content.getvalue()


def _tiff(prediction: Prediction, full: bool) -> bytes:
    shares = np.nan_to_num(relative(_values(prediction, full), prediction.scale))
    low, high = prediction.scale
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[_DESCRIPTION] = f"fod-bench anomaly scores: 0 is {low!r} or less, 65535 is {high!r} or more"
    content = io.BytesIO()
    Image.fromarray(np.round(shares * 65535).astype(np.uint16)).save(
        content, "TIFF", compression="tiff_adobe_deflate", tiffinfo=tags
    )
    return content.getvalue()


def _values(prediction: Prediction, full: bool) -> NDArray[np.float32]:
    return prediction.full_map() if full else prediction.map


MAP_FORMATS: dict[str, tuple[str, Callable[[Prediction, bool], bytes]]] = {
    "overlay": (".overlay.png", lambda prediction, full: png(prediction.overlay())),
    "npy": (".npy", _npy),
    "tiff": (".tiff", _tiff),
}
"""Name to the end of the file's name and what makes its content of a prediction and whether it is to have the image's own size."""


class MapFiles:
    """Maps as files in a folder, each whole or not there."""

    def __init__(self, folder: Path, formats: Iterable[str], *, full_size: bool = False, force: bool = False) -> None:
        """`full_size`: maps have their image's size instead of the detector's; overlays always do. `force`: files that are there
        are replaced."""
        self._folder, self._formats = folder, list(dict.fromkeys(formats))
        self._full, self._force = full_size, force
        self._with_ending: set[str] = set()
        """Names of images whose ending is kept."""
        self._image_of: dict[Path, str] = {}
        """Files that were written, or are to be, and the path of their image."""
        self._images: set[Path] = set()

    def expect(self, images: Sequence[InputImage]) -> None:
        """Settle the files of all images, before anything is computed.

        Raises `UsageError` for two images with files of one name, for files that are there, and where an image would be replaced.
        """
        self._with_ending = _needing_their_ending({image.name for image in images})
        self._images = {Path(image.path).absolute() for image in images}
        for image in images:
            for path in self._paths(image):
                if self._image_of.get(path) == image.path:
                    raise UsageError(f"{image.path} is given twice, and would be written to {path} both times")
                self._reserve(path, image)

    def write(self, image: InputImage, prediction: Prediction) -> list[Path]:
        """Write the files of an image.

        Raises `UsageError` for one that is there already, or is of another image of this call, and `DatasetError` where the image
        cannot be read again: then none is written. Raises `FodBenchError` for a disk that is full.
        """
        self._images.add(Path(image.path).absolute())
        paths = self._paths(image)
        for path in paths:
            self._reserve(path, image)
        contents = [MAP_FORMATS[name][1](prediction, self._full) for name in self._formats]
        return [write_whole(path, [content], "the map") for path, content in zip(paths, contents, strict=True)]

    def _paths(self, image: InputImage) -> list[Path]:
        place = self._folder / _base(image.name, image.name in self._with_ending)
        return [place.with_name(place.name + MAP_FORMATS[name][0]) for name in self._formats]

    def _reserve(self, path: Path, image: InputImage) -> None:
        other = self._image_of.setdefault(path, image.path)
        if other != image.path:
            raise UsageError(
                f"{other} and {image.path} would both be written to {path}; give the folder that holds both, below which the maps "
                "keep their paths, or take two calls with a --maps of their own"
            )
        if path.absolute() in self._images:
            raise UsageError(f"the map of {image.path} would replace the image {path}; --maps names another folder")
        if path.exists() and not self._force:
            raise UsageError(f"{path} is there already; --force replaces it, --maps names another folder")


def _base(name: str, with_ending: bool) -> str:
    return name if with_ending else PurePosixPath(name).with_suffix("").as_posix()


def _needing_their_ending(names: Collection[str]) -> set[str]:
    """Those that others would be called like without it. What is kept so may be what a further one is called without its own."""
    kept: set[str] = set()
    while True:
        times = Counter(_base(name, name in kept) for name in names)
        more = {name for name in names if times[_base(name, name in kept)] > 1} - kept
        if not more:
            return kept
        kept |= more


def text_line(found: Prediction | Unreadable) -> str:
    """An image in a line for people; `Unreadable.reason` names the image."""
    return f"{found.name}: {verdict(found)}" if isinstance(found, Prediction) else found.reason


def json_line(found: Prediction | Unreadable, maps: Iterable[Path] = ()) -> str:
    """The same for programs: `image` and `error`, or `image`, `score`, `threshold`, `anomalous`, and the files' paths in `maps`
    with the `scale` of what they show."""
    if isinstance(found, Unreadable):
        return json.dumps({"image": found.name, "error": found.reason})
    line = {
        "image": found.name,
        "score": found.score,
        "threshold": found.threshold,
        "anomalous": found.anomalous,
    }
    written = [str(path) for path in maps]
    return json.dumps(line | ({"maps": written, "scale": list(found.scale)} if written else {}))


def require_formats(names: Iterable[str]) -> None:
    """Raises `UsageError` for an unknown format."""
    from fod_bench.schema.problems import unknown

    for name in names:
        if name not in MAP_FORMATS:
            raise UsageError(f"--format: {unknown('format of a map', name, MAP_FORMATS)}")
