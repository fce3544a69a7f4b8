"""What predictions leave: lines for people or programs, and maps as files.

<folder>/<name of the image>.overlay.png   the map over the image
<folder>/<name of the image>.npy           the numbers, float32
<folder>/<name of the image>.tiff          16 bits, on the scale that its description names
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from fod_bench.errors import UsageError
from fod_bench.machine.files import write_whole
from fod_bench.predict.drawing import png, relative, verdict
from fod_bench.predict.inputs import Asked
from fod_bench.predict.prediction import Prediction, Unreadable

_DESCRIPTION = 270  # TIFF's tag


def _npy(prediction: Prediction, full: bool) -> bytes:
    content = io.BytesIO()
    np.save(content, _values(prediction, full), allow_pickle=False)
    return content.getvalue()


def _tiff(prediction: Prediction, full: bool) -> bytes:
    shares = np.nan_to_num(relative(_values(prediction, full), prediction.scale))
    low, high = prediction.scale
    told = TiffImagePlugin.ImageFileDirectory_v2()
    told[_DESCRIPTION] = f"fod-bench anomaly scores: 0 is {low!r} or less, 65535 is {high!r} or more"
    content = io.BytesIO()
    Image.fromarray(np.round(shares * 65535).astype(np.uint16)).save(
        content, "TIFF", compression="tiff_adobe_deflate", tiffinfo=told
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

    def refuse_collisions(self, asked: Iterable[Asked]) -> None:
        """Raises `UsageError`, before anything is computed, for two images with files of one name, and for files that are there."""
        taken: dict[Path, str] = {}
        for image in asked:
            for path in self._paths(image):
                if path in taken:
                    raise UsageError(
                        f"{taken[path]} and {image.path} would both be written to {path}; give a folder that holds both, whose "
                        "subfolders are kept, or take two calls"
                    )
                taken[path] = image.path
                self._refuse(path)

    def write(self, image: Asked, prediction: Prediction) -> list[Path]:
        """Write the files of an image. Raises `FodBenchError` for one that is there already, or a disk that is full."""
        written = []
        for path, name in zip(self._paths(image), self._formats, strict=True):
            self._refuse(path)
            written.append(write_whole(path, [MAP_FORMATS[name][1](prediction, self._full)], "the map"))
        return written

    def _paths(self, image: Asked) -> list[Path]:
        place = self._folder / image.name
        return [place.with_name(place.stem + MAP_FORMATS[name][0]) for name in self._formats]

    def _refuse(self, path: Path) -> None:
        if path.exists() and not self._force:
            raise UsageError(f"{path} is there already; --force replaces it, --maps names another folder")


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
