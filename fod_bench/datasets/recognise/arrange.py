"""A tidy folder of links to images that lie otherwise, in the form that layout `folder` reads."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path

from fod_bench.datasets.base import GOOD
from fod_bench.datasets.folder import held_out
from fod_bench.datasets.recognise.found import FoundCategory, FoundImage, FoundImages
from fod_bench.datasets.recognise.proposal import arranged
from fod_bench.errors import DatasetError

_MARK = ".fod-bench-links"
"""Left in a folder of links, so that it may be made anew."""


def arrange(found: FoundImages, target: Path) -> None:
    """Make `target` a folder of symbolic links to the images and masks, a folder per category.

    Normal images that are not divided into train and test are divided by name, as that layout does it.

    Raises DatasetError where something else is in the target's place, or links cannot be made, or read as a data set; then there is
    what there was before. The images are not touched.
    """
    if target.is_symlink() or (target.exists() and not (target / _MARK).is_file()):
        raise DatasetError(f"{target} is there already and is no folder of links made by this command: move it away")
    unfinished = target.with_name(f".{target.name}.unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        (unfinished / _MARK).touch()
        for category in found.categories:
            for place, source in _places(category):
                link = unfinished / category.name / place
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(source.resolve())
        arranged(found, unfinished).require()
        if target.exists():
            shutil.rmtree(target)
        unfinished.rename(target)
    except OSError as error:
        why = error.strerror or error
        raise DatasetError(f"links cannot be made in {target}: {why}; sort the images into good/ and bad/") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _places(category: FoundCategory) -> Iterator[tuple[str, Path]]:
    """Where each image and mask goes, below the category's folder."""
    good = sorted(category.good, key=lambda image: image.path.name)
    splits = [image.split for image in good] if category.is_split else list(held_out(len(good)))
    taken: set[str] = set()
    for image, split in zip(good, splits, strict=True):
        yield _unique(f"{split}/good", image, taken), image.path
    for image in category.bad:
        kind = _folder_name(image.kind)
        place = _unique(f"test/{kind}", image, taken)
        yield place, image.path
        stem = Path(place).stem
        for number, mask in enumerate(image.masks):
            name = f"{stem}_mask{mask.suffix}" if len(image.masks) == 1 else f"{stem}/{number:03d}{mask.suffix}"
            yield f"ground_truth/{kind}/{name}", mask


def _folder_name(kind: str) -> str:
    """One folder for a kind of defect, never that of normal images."""
    name = kind.replace("/", "-")
    return "bad" if name == GOOD else name


def _unique(folder: str, image: FoundImage, taken: set[str]) -> str:
    """The image's place in the folder: its own name, which gets the folder it came from where another image has it. Names that
    differ in their suffix only would share a mask, so they count as one."""
    stem = image.path.stem
    numbered = (f"{stem}-{number}" for number in count(2))
    name = next(n for n in chain((stem, f"{image.path.parent.name}-{stem}"), numbered) if f"{folder}/{n}" not in taken)
    taken.add(f"{folder}/{name}")
    return f"{folder}/{name}{image.path.suffix}"
