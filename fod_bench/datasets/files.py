"""Categories that lie on disk, in any layout."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fod_bench.datasets.base import Category, Sample, SampleLimit
from fod_bench.datasets.digests import file_digests, file_digests_anew
from fod_bench.datasets.images import read_binary_mask, read_rgb, upright_size
from fod_bench.datasets.layout import Entry, Layout, folders
from fod_bench.errors import DatasetError


class FileCategory(Category):
    """A category in a folder of one of the layouts."""

    def __init__(self, layout: Layout, folder: Path, entries: Iterable[Entry]) -> None:
        self.layout = layout.name
        self.name = folder.name
        self.folder = folder
        self._entries = {entry.sample.name: entry for entry in entries}
        self.samples = [entry.sample for entry in self._entries.values()]

    def read_image(self, sample: Sample) -> Image.Image:
        return read_rgb(self._entries[sample.name].picture)

    def read_mask(self, sample: Sample) -> NDArray[np.uint8] | None:
        if not sample.label:
            return None
        entry = self._entries[sample.name]
        return read_mask_of(entry.picture, self._mask_path(entry))

    def fingerprint(self) -> str:
        files = self._files()
        return _fingerprint(files, file_digests(self.folder, files.values()))

    def fingerprint_anew(self) -> tuple[str, list[Path]]:
        files = self._files()
        digests, wrong = file_digests_anew(self.folder, files.values())
        return _fingerprint(files, digests), wrong

    def _files(self) -> dict[str, Path]:
        """The images and masks in use, by what the fingerprint calls them."""
        masks = {sample.name: self._mask_path(self._entries[sample.name]) for sample in self.samples if sample.label}
        pictures = {sample.name: self._entries[sample.name].picture for sample in self.samples}
        return pictures | {f"mask of {name}": path for name, path in masks.items()}

    def require_masks(self) -> None:
        """Raises DatasetError for a defective picture in use that has no mask of its own."""
        for sample in self.samples:
            if sample.label:
                self._mask_path(self._entries[sample.name])
        names = {sample.name for sample in self.samples if sample.label}
        used = [entry for name, entry in self._entries.items() if name in names]
        owners: dict[Path | None, Entry] = {}
        for entry in used:
            if (first := owners.setdefault(entry.mask, entry)) is not entry:
                raise DatasetError(shared_mask(first, entry))

    def _mask_path(self, entry: Entry) -> Path:
        if entry.mask is None:
            raise DatasetError(f"defective picture {entry.picture} has no mask: looked for {entry.wanted}")
        return entry.mask


def _fingerprint(names: Iterable[str], digests: Iterable[str]) -> str:
    lines = sorted(f"{digest} {name}\n" for name, digest in zip(names, digests, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def read_mask_of(picture: Path, mask: Path) -> NDArray[np.uint8]:
    """The mask, (h, w) of 0 and 1. Raises DatasetError when its size is not its picture's."""
    values = read_binary_mask(mask)
    width, height = upright_size(picture)
    if values.shape != (height, width):
        raise DatasetError(
            f"mask {mask} is {values.shape[1]}×{values.shape[0]}, its picture {picture} is {width}×{height}: "
            "they must be of one size"
        )
    return values


def shared_mask(first: Entry, second: Entry) -> str:
    """What is wrong when two pictures differ in their suffix only."""
    return (
        f"pictures {first.picture} and {second.picture} share the mask {first.mask}: rename one of them and give "
        "each its own"
    )


def open_files(layout: Layout, root: Path, name: str, limit: SampleLimit | None) -> FileCategory:
    """The category `name` below `root`. Raises DatasetError when it is not there, not of the layout, or lacks masks."""
    folder = category_folder(layout, root, name)
    category = FileCategory(layout, folder, layout.scan(folder).entries).limited(limit)
    for split, samples in (("training", category.train), ("test", category.test)):
        if not samples:
            raise DatasetError(f"category {name} in {root} has no {split} pictures: {layout.form}")
    category.require_masks()
    return category


def category_folder(layout: Layout, root: Path, name: str) -> Path:
    """Where the category is. Raises DatasetError when it is not there."""
    require_root(layout, root)
    if layout.published and name not in layout.published:
        raise DatasetError(f"data set {layout.name} has no category {name!r}{_nearest(name, layout.published)}")
    folder = root / name
    if name in folders(root):
        return folder
    nested = sorted(place.name for place in root.iterdir() if place.is_dir() and (place / name / "train").is_dir())
    if nested:
        raise DatasetError(
            f"category {name} is not in {root} but one folder below: give {root / nested[0]} as the root"
        )
    present = on_disk(root)
    there = f"; there are {', '.join(present)}" if present else f", nor any other category: {layout.form}"
    raise DatasetError(f"category {name} is not in {root}{_nearest(name, present)}{there}")


def require_root(layout: Layout, root: Path) -> None:
    """Raises DatasetError unless `root` is a folder and holds categories rather than being one."""
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise DatasetError(f"data set folder {root} {what}: {layout.form}")
    if (root / "train").is_dir() and (root / "test").is_dir():
        raise DatasetError(f"{root} is a category itself: give the folder it lies in, {root.resolve().parent}, as root")


def on_disk(root: Path) -> list[str]:
    """Names of the folders in `root` that look like a category."""
    return [name for name in folders(root) if (root / name / "train").is_dir() or (root / name / "test").is_dir()]


def _nearest(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
