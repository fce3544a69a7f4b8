"""A synthetic data set: six categories of textures and objects with exactly masked defects, made from a seed.

Every image comes from its own random stream, so that any one of them can be made alone, in any order and process.
"""

from __future__ import annotations

import difflib
import hashlib
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from fod_bench.datasets.base import GOOD, Category, Sample
from fod_bench.datasets.synthetic.canvas import photograph
from fod_bench.datasets.synthetic.objects import BOARD, GAUGE, OBJECT_DEFECTS, TRAY, draw_object
from fod_bench.datasets.synthetic.textures import TEXTURE_DEFECTS, draw_texture, tiling, weave, wood
from fod_bench.errors import DatasetError
from fod_bench.machine.system import cores

_GENERATOR_VERSION = 1  # part of the fingerprint: raise it when the images change

_COMPRESSION = 1  # of PNG files: a tenth larger than by default, written in half the time

_Draw = Callable[[np.random.Generator, str, int], tuple[NDArray[np.float32], NDArray[np.bool_]]]

_CATEGORIES: dict[str, tuple[_Draw, tuple[str, ...]]] = {
    "weave": (partial(draw_texture, weave), TEXTURE_DEFECTS),
    "board": (partial(draw_object, BOARD), OBJECT_DEFECTS),
    "tray": (partial(draw_object, TRAY), OBJECT_DEFECTS),
    "tiling": (partial(draw_texture, tiling), TEXTURE_DEFECTS),
    "gauge": (partial(draw_object, GAUGE), OBJECT_DEFECTS),
    "wood": (partial(draw_texture, wood), TEXTURE_DEFECTS),
}

SYNTHETIC_CATEGORIES: tuple[str, ...] = tuple(_CATEGORIES)

_MOST = 100_000  # images of a kind; a list of them is kept in memory


class SyntheticSettings(BaseModel):
    """How many synthetic images, of which size, from which seed."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    train: int = Field(default=48, ge=1, le=_MOST)
    """Training images per category."""
    test_good: int = Field(default=16, ge=0, le=_MOST)
    """Normal test images per category."""
    test_defect_per_type: int = Field(default=8, ge=0, le=_MOST)
    """Defective test images per category and type of defect (textures have five types, objects six)."""
    size: int = Field(default=256, ge=64, le=1024)
    """Side of the square images in pixels. Another size shows the same content."""
    seed: int = Field(default=0, ge=0)
    """Seed of all images."""


class SyntheticCategory(Category):
    """A category drawn on demand. Raises DatasetError for a name that there is not."""

    layout = "synthetic"

    def __init__(self, name: str, settings: SyntheticSettings) -> None:
        if name not in _CATEGORIES:
            close = difflib.get_close_matches(name, SYNTHETIC_CATEGORIES, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise DatasetError(
                f"there is no synthetic category {name!r}: {hint}There are {', '.join(SYNTHETIC_CATEGORIES)}"
            )
        self.name = name
        self.settings = settings
        _, defects = _CATEGORIES[name]
        groups = [("train", GOOD, settings.train), ("test", GOOD, settings.test_good)]
        groups += [("test", defect, settings.test_defect_per_type) for defect in defects]
        samples = [
            Sample(
                name=f"{split}/{defect}/{index:03d}.png",
                split="train" if split == "train" else "test",
                label=int(defect != GOOD),
                defect=defect,
            )
            for split, defect, count in groups
            for index in range(count)
        ]
        self.samples = sorted(samples, key=lambda sample: (sample.split == "test", sample.name))

    def read_image(self, sample: Sample) -> Image.Image:
        rgb, _ = self._draw(sample)
        return Image.fromarray(photograph(self._stream(sample, "photograph"), rgb))

    def read_mask(self, sample: Sample) -> NDArray[np.uint8] | None:
        return self._draw(sample)[1].astype(np.uint8) if sample.label else None

    def fingerprint(self) -> str:
        made_by = f"synthetic generator {_GENERATOR_VERSION}, {self.settings.size} px, seed {self.settings.seed}"
        lines = [made_by, self.name, *sorted(sample.name for sample in self.samples)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def _draw(self, sample: Sample) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        draw, _ = _CATEGORIES[self.name]
        return draw(self._stream(sample, "scene"), sample.defect, self.settings.size)

    def _stream(self, sample: Sample, purpose: str) -> np.random.Generator:
        name = f"{self.name}/{sample.name}/{purpose}"
        return np.random.default_rng([self.settings.seed, zlib.crc32(name.encode())])


def write_synthetic(
    root: str | Path, settings: SyntheticSettings, categories: Iterable[str] = SYNTHETIC_CATEGORIES
) -> None:
    """Write `categories` below `root` in MVTec AD's form.

    A category appears whole or not at all. Raises DatasetError for an unknown category and for a folder that exists
    and is not empty, before anything is written, and when the disk refuses.
    """
    opened = [SyntheticCategory(name, settings) for name in dict.fromkeys(categories)]
    root = Path(root)
    try:
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise DatasetError(f"{root} exists and is not an empty folder: give a new one, or empty it")
        root.mkdir(parents=True, exist_ok=True)
        for category in opened:
            _write_category(root, category)
    except OSError as error:
        raise DatasetError(f"the synthetic images cannot be written to {root}: {error.strerror or error}") from error


def _write_category(root: Path, category: SyntheticCategory) -> None:
    unfinished = Path(tempfile.mkdtemp(dir=root, prefix=f".{category.name}-"))

    def write(sample: Sample) -> None:
        image = unfinished / sample.name
        image.parent.mkdir(parents=True, exist_ok=True)
        category.read_image(sample).save(image, compress_level=_COMPRESSION)
        mask = category.read_mask(sample)
        if mask is not None:
            place = unfinished / "ground_truth" / sample.defect / f"{image.stem}_mask.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask * np.uint8(255)).save(place)

    try:
        with ThreadPoolExecutor(cores()) as pool:
            for _ in pool.map(write, category.samples):
                pass
        unfinished.chmod(0o755)  # a temporary folder is private, a data set is not
        unfinished.rename(root / category.name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
