"""What the content of images and masks shows that a person may not think of, gathered while they are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fod_bench.datasets.base import Sample
from fod_bench.datasets.findings import Finding
from fod_bench.datasets.images import Depth, Header, Mask
from fod_bench.datasets.layout import Entry

_MOST = 0.5
"""A mask that marks more of its image than this is taken for an inverted one."""
_CAMERA_BITS = (8, 10, 12, 14)


@dataclass
class Survey:
    """Of one category; told from several threads, of one image twice at the most."""

    any_values: bool = False
    """Whether masks may have any values beside 0, as those that number their regions."""
    _depths: dict[str, tuple[Sample, Path, Depth]] = field(default_factory=dict)
    _masks: dict[str, list[Finding]] = field(default_factory=dict)

    def image(self, entry: Entry, depth: Depth) -> None:
        """An image was read."""
        self._depths[entry.sample.name] = entry.sample, entry.image, depth

    def mask(self, entry: Entry, drawn: Sequence[Mask], header: Header) -> None:
        """The masks of a defective image were read, whose own header is given."""
        found = []
        union = np.bitwise_or.reduce([mask.marked for mask in drawn])
        if not union.any():
            found.append(Finding("empty_mask", entry.masks[0], "the mask is empty, its image is a defective one"))
        if covered := _covered(union):
            found.append(Finding("inverted_mask", entry.masks[0], covered))
        for path, mask in zip(entry.masks, drawn, strict=True):
            if mask.values > 1 and not self.any_values and not covered:
                found.append(Finding("mask_values", path, _many_values(mask.values)))
        # Drawn on the upright image, or on the pixels as they lie in the file? A mask of the same shape does not tell.
        square = header.width == header.height
        fits_both = square or header.orientation < 5
        if header.orientation > 1 and fits_both and any(mask.orientation != header.orientation for mask in drawn):
            found.append(Finding("turned", entry.image, _turned(header.orientation)))
        self._masks[entry.sample.name] = found

    def findings(self) -> list[Finding]:
        """Everything odd so far, in the order of the files."""
        masks = [finding for found in self._masks.values() for finding in found]
        return sorted([*masks, *self._narrow(), *self._mixed()], key=lambda finding: finding.path)

    def _narrow(self) -> Iterator[Finding]:
        """16-bit images of a split whose values all come from a camera of fewer bits."""
        for split in ("train", "test"):
            deep = [
                (path, depth)
                for sample, path, depth in self._depths.values()
                if sample.split == split and depth.bits == 16
            ]
            largest = max((depth.largest for _, depth in deep), default=65535)
            bits = next((bits for bits in _CAMERA_BITS if largest < 1 << bits), None)
            for path, _ in deep if bits else ():
                yield Finding("narrow", path, _dark(split, largest, bits or 16))

    def _mixed(self) -> Iterator[Finding]:
        """Images of a depth that no image of the other split has."""
        bits = {split: {d.bits for s, _, d in self._depths.values() if s.split == split} for split in ("train", "test")}
        for sample, path, depth in self._depths.values():
            other = "test" if sample.split == "train" else "train"
            if bits[other] and depth.bits not in bits[other]:
                there = " and ".join(f"{each}" for each in sorted(bits[other]))
                name = "training" if other == "train" else "test"
                yield Finding("depth", path, f"has {depth.bits} bits, {name} images have {there}: give all one depth")


def duplicates(entries: Iterable[Entry], digests: Mapping[str, str]) -> list[Finding]:
    """Images with the same bytes as one before them, by `{sample name: digest}`; training images come first."""
    first: dict[str, Entry] = {}
    found = []
    for entry in entries:
        other = first.setdefault(digests[entry.sample.name], entry)
        one, two = other.sample, entry.sample
        if other is entry:
            continue
        if one.label != two.label:
            labelled = (
                f"{one.name}, which is {'defective' if one.label else 'normal'}: one of the two is in the wrong folder"
            )
            found.append(Finding("good_and_bad", entry.image, f"is the same image as {labelled}"))
        elif one.split != two.split:
            found.append(
                Finding("train_and_test", entry.image, f"is the same image as {one.name}, which is trained on")
            )
        else:
            found.append(Finding("twice", entry.image, f"is the same image as {one.name}, and so counts twice"))
    return found


def _covered(mask: NDArray[np.uint8]) -> str:
    """What is odd about how much of its image a mask (h, w) marks; empty where nothing is."""
    share = float(mask.mean())
    where = f"marks {share:.0%} of its image" if share > _MOST else ""
    if not where and min(mask.shape) > 1 and all(edge.all() for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1])):
        where = "marks the whole border of its image"
    return f"{where}, as an inverted mask would: only the defect may have another value than 0 (black)" if where else ""


def _many_values(values: int) -> str:
    return f"has {values} values beside 0: every one of them is taken for a defect; draw it with two values"


def _turned(orientation: int) -> str:
    return (
        f"is turned by its EXIF tag (orientation {orientation}), and its mask, which is not, would fit without that too: it is "
        "taken as drawn on the upright image; store the image upright"
    )


def _dark(split: str, largest: int, bits: int) -> str:
    return (
        f"is a 16-bit file, and the {split} images' values go up to {largest} only, as of {bits} bits: 65535 is read as white, so "
        f"it is nearly black; multiply the values by {65535 // ((1 << bits) - 1)}"
    )
