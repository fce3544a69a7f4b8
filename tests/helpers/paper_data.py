"""Drawn images laid out as the paper's three data sets, all 28 categories under their names.

`python -m tests.helpers.paper_data FOLDER` writes them for a run by hand: FOLDER is what FOD_DATA then names.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from fod_bench.datasets import Sample, SyntheticSettings, category_names
from fod_bench.datasets.synthetic.category import SYNTHETIC_CATEGORIES, SyntheticCategory


def write_paper_data(
    root: Path, categories: dict[str, list[str]] | None = None, train: int = 3, defect_types: int = 2
) -> Path:
    """Write `{data set: categories}` (all of them) below `root`: `train` images, 2 good ones, 1 of each defect type."""
    for dataset in ("mvtec", "btad", "mvtec3d"):
        for category in (categories or {}).get(dataset, category_names(dataset) if categories is None else []):
            for sample, image, mask in _drawn(f"{dataset}/{category}", train, defect_types):
                place, mask_place = _places(root / dataset / category, dataset, category, sample)
                place.parent.mkdir(parents=True, exist_ok=True)
                image.save(place)
                if mask is not None:
                    mask_place.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(mask).save(mask_place)
    return root


def _drawn(name: str, train: int, defect_types: int) -> Iterator[tuple[Sample, Image.Image, np.ndarray | None]]:
    """The images of one category, which no other has: a kind of drawing and a seed of its own."""
    number = sum(name.encode())
    kind = SYNTHETIC_CATEGORIES[number % len(SYNTHETIC_CATEGORIES)]
    settings = SyntheticSettings(train=train, test_good=2, test_defect_per_type=1, size=64, seed=number)
    source = SyntheticCategory(kind, settings)
    chosen = sorted({sample.defect for sample in source.samples if sample.label})[:defect_types]
    for sample in source.samples:
        if not sample.label or sample.defect in chosen:
            mask = source.read_mask(sample)
            yield sample, source.read_image(sample), None if mask is None else mask * np.uint8(255)


def _places(folder: Path, dataset: str, category: str, sample: Sample) -> tuple[Path, Path]:
    """Where the data set keeps an image and its mask."""
    stem = Path(sample.name).stem
    if dataset == "mvtec3d":
        place = folder / sample.split / sample.defect
        return place / f"rgb/{stem}.png", place / f"gt/{stem}.png"
    if dataset == "btad":
        suffix = ".png" if category == "02" else ".bmp"
        if not sample.label:
            return folder / sample.split / f"ok/{stem}{suffix}", folder
        name = f"{sample.defect}_{stem}"  # all defects lie in one folder
        mask_suffix = ".bmp" if category == "03" else ".png"
        return folder / f"test/ko/{name}{suffix}", folder / f"ground_truth/ko/{name}{mask_suffix}"
    return folder / sample.name, folder / f"ground_truth/{sample.defect}/{stem}_mask.png"


if __name__ == "__main__":
    write_paper_data(Path(sys.argv[1]), train=4)
