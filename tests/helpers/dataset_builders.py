"""Small data sets on disk for the tests, one builder per layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def image(path: Path, size: tuple[int, int] = (12, 10), value: int = 90) -> Path:
    """Write a plain grey RGB image of (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)
    return path


def mask(path: Path, size: tuple[int, int] = (12, 10), empty: bool = False) -> Path:
    """Write a mask of (width, height) whose upper left 3×3 pixels are marked."""
    values = np.zeros((size[1], size[0]), dtype=np.uint8)
    values[:3, :3] = 0 if empty else 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def folder_category(root: Path, name: str = "nut", suffix: str = ".png") -> Path:
    """Three training, two normal test, two `crack` and one `dent` image in MVTec AD's form."""
    category = root / name
    for index in range(3):
        image(category / f"train/good/{index:03d}{suffix}", value=60 + index)
    for index in range(2):
        image(category / f"test/good/{index:03d}{suffix}", value=70 + index)
    for defect, count in (("crack", 2), ("dent", 1)):
        for index in range(count):
            image(category / f"test/{defect}/{index:03d}{suffix}", value=(80 if defect == "crack" else 90) + index)
            mask(category / f"ground_truth/{defect}/{index:03d}_mask.png")
    return category


def btad_category(root: Path, name: str, suffix: str, mask_suffix: str) -> Path:
    """Two training, one `ok` and two `ko` images."""
    category = root / name
    for index in range(2):
        image(category / f"train/ok/{index:04d}{suffix}", value=60 + index)
        image(category / f"test/ko/{index:04d}{suffix}", value=80 + index)
        mask(category / f"ground_truth/ko/{index:04d}{mask_suffix}")
    image(category / f"test/ok/0000{suffix}")
    return category


def mvtec3d_category(root: Path, name: str = "bagel") -> Path:
    """Two training, one validation, one normal and one `hole` image, depth beside each."""
    category = root / name
    for value, place in enumerate(("train/good", "validation/good", "test/good", "test/hole")):
        for index in range(2 if place == "train/good" else 1):
            image(category / place / f"rgb/{index:03d}.png", value=60 + 10 * value + index)
            mask(category / place / f"gt/{index:03d}.png", empty=place != "test/hole")
            depth = category / place / f"xyz/{index:03d}.tiff"
            depth.parent.mkdir(parents=True, exist_ok=True)
            depth.write_bytes(b"depth is not read")
    (category / "calibration").mkdir()
    return category


WIDE_DEFECTS = {"0000": (40, 60), "0001": (2, 12), "0002": (10, 40), "0003": (84, 95)}
"""Columns from and to of the defects of `wide_btad_category`. Of its images a crop to a square shows columns 16 to 80."""


def wide_btad_category(root: Path, name: str = "03") -> Path:
    """Images of noise, 96×64: three to train on, two `ok`, and four `ko` with defects in the middle and at the sides."""
    category = root / name
    rng = np.random.default_rng(0)
    for place in ("train/ok/0000", "train/ok/0001", "train/ok/0002", "test/ok/0000", "test/ok/0001", *(
        f"test/ko/{stem}" for stem in WIDE_DEFECTS
    )):  # fmt: skip
        path = category / f"{place}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)).save(path)
    for stem, (start, end) in WIDE_DEFECTS.items():
        values = np.zeros((64, 96), np.uint8)
        values[20:50, start:end] = 255
        path = category / f"ground_truth/ko/{stem}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path)
    return category
