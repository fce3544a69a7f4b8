"""What is odd about the files of a category: a line for each file, or one for all of a kind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fod_bench.datasets.names import listed, printable

Kind = Literal[
    "left_out", "folder", "empty", "special", "unused_mask", "no_mask", "good_and_bad", "train_and_test", "twice",
    "inverted_mask", "mask_values", "empty_mask", "turned", "narrow", "depth",
]  # fmt: skip

_COUNTED: dict[Kind, tuple[str, str]] = {
    "left_out": ("file is not read", "files are not read"),
    "folder": ("folder is not read", "folders are not read"),
    "empty": ("folder holds no image", "folders hold no image"),
    "unused_mask": ("mask belongs to no image", "masks belong to no image"),
    "no_mask": (
        "defective test image has no mask and is left out of the pixel metrics",
        "defective test images have no mask and are left out of the pixel metrics",
    ),
    "special": (
        "pipe, socket or device is not opened",
        "pipes, sockets or devices are not opened",
    ),
    "good_and_bad": ("image is there as normal and as defective", "images are there as normal and as defective"),
    "train_and_test": ("test image is also trained on", "test images are also trained on"),
    "twice": ("image is there twice", "images are there twice"),
    "inverted_mask": (
        "mask marks most of its image or its whole border, as an inverted one does",
        "masks mark most of their image or its whole border, as inverted ones do",
    ),
    "mask_values": (
        "mask has values beside 0 and one other, and all but 0 are taken for defects",
        "masks have values beside 0 and one other, and all but 0 are taken for defects",
    ),
    "empty_mask": ("mask of a defective image is empty", "masks of defective images are empty"),
    "turned": (
        "test image is turned by its EXIF tag, and its mask would fit without that too",
        "test images are turned by their EXIF tags, and their masks would fit without that too",
    ),
    "narrow": (
        "16-bit image uses the lowest part of the range only and is read as nearly black",
        "16-bit images use the lowest part of the range only and are read as nearly black",
    ),
    "depth": (
        "image has another depth than those of the other split",
        "images have another depth than those of the other split",
    ),
}
"""How a run counts each kind, one and several."""


@dataclass(frozen=True)
class Finding:
    """One file or folder and what is odd about it."""

    kind: Kind
    path: Path
    problem: str
    """What a check says of this one, with what would be right."""


def summed(findings: Iterable[Finding], folder: Path) -> list[str]:
    """A line for each kind of finding: how many, and the first by their path below `folder`."""
    groups: dict[Kind, list[str]] = {}
    for finding in findings:
        path = finding.path
        name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
        groups.setdefault(finding.kind, []).append(printable(name))
    return [f"{len(names)} {_COUNTED[kind][len(names) > 1]}: {listed(names)}" for kind, names in groups.items()]
