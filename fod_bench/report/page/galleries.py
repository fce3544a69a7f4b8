"""Galleries: of each category and method the worst misses and false alarms first, then typical images, with maps over them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fod_bench.errors import DatasetError
from fod_bench.features.truth import TruthSet
from fod_bench.report.page.scored import Scored
from fod_bench.report.page.sources import Images
from fod_bench.report.page.thumbnails import outline, overlay, thumbnail
from fod_bench.schema.hidden import hidden
from fod_bench.text import escaped

IMAGES_FOLDER = "images"
"""Where the page keeps its pictures."""
Verdict = Literal["found", "missed", "alarm", "passed"]
Group = Literal["misses", "alarms", "defects", "normals"]
GROUPS: dict[Group, str] = {
    "misses": "Defective images that score lowest",
    "alarms": "Normal images that score highest",
    "defects": "Typical defective images",
    "normals": "Typical normal images",
}
"""What is shown of a method, in this order."""
_PICKS: tuple[Group, ...] = (
    *("misses", "alarms", "misses", "alarms", "defects", "normals"),
    *("misses", "alarms", "misses", "alarms", "defects", "normals"),
)
"""In which order images are chosen, so that the worst of every method are there where there is not room for all."""


_WORST = _PICKS.count("misses")


class Pick(NamedTuple):
    """An image chosen for a method."""

    group: Group
    image: int
    """Its number among the test images."""


@dataclass
class Shown:
    """A method's part of a gallery."""

    label: str
    keys: tuple[str, ...]
    """Train keys of its seeds that kept their scores; the first is shown."""
    score: str
    seed: int
    epoch: int | None
    scored: Scored
    picks: list[Pick] = field(default_factory=list)
    """Images chosen, the worst of each group first."""
    left_out: int = 0
    """Images that were to be shown and found no room."""
    maps: dict[int, str] = field(default_factory=dict)
    """File of the overlay of each image that has one."""

    def groups(self) -> list[tuple[str, list[int]]]:
        """Titles and images, in order."""
        found = [(title, [pick.image for pick in self.picks if pick.group == group]) for group, title in GROUPS.items()]
        return [(title, images) for title, images in found if images]


class GalleryLink(NamedTuple):
    """What is left of a gallery once its page is made."""

    page: str
    title: str
    without: str
    """Why its images cannot be shown; empty where they are."""
    rows: list[str]


@dataclass
class Gallery:
    """One category: its test images, and what each method makes of them."""

    number: int
    dataset: str
    category: str
    telling: str
    """What tells it from another gallery of the category, which has other images; mostly empty."""
    truth: TruthSet
    images: Images | str
    """A string says why they cannot be shown."""
    rows: list[Shown]
    files: dict[int, str] = field(default_factory=dict)
    """File of each image that is shown."""
    outlines: dict[int, str] = field(default_factory=dict)
    """File of the outline of its truth, where it is defective and has a mask."""
    problem: str = ""
    """What became of an image that could not be read."""

    def link(self) -> GalleryLink:
        """What other pages tell of it."""
        reason = self.images if isinstance(self.images, str) else ""
        return GalleryLink(
            self.page, f"{self.dataset}/{self.category}{self.telling}", reason, [row.label for row in self.rows]
        )

    @property
    def page(self) -> str:
        """Its file, from the page's folder."""
        return f"gallery/{self.number}.html"

    @property
    def names(self) -> list[str]:
        """Names of the test images."""
        return [str(name) for name in self.truth.about["images"]]

    @property
    def labels(self) -> list[int]:
        """0 for a normal image, 1 for a defective one."""
        return [int(label) for label in self.truth.truth.labels]

    def defect(self, image: int) -> str:
        """`normal`, or the type of the defect: the folder of a defective image."""
        if not self.labels[image]:
            return "normal"
        parts = self.names[image].split("/")
        return parts[1] if len(parts) > 2 else parts[0] if len(parts) > 1 else "defective"

    def verdict(self, row: Shown, image: int) -> Verdict:
        """What the row's threshold makes of an image."""
        taken = bool(row.scored.images[image] >= row.scored.threshold)
        if self.labels[image]:
            return "found" if taken else "missed"
        return "alarm" if taken else "passed"

    def counts(self, row: Shown) -> Counter[Verdict]:
        """How many images there are of each verdict."""
        return Counter(self.verdict(row, image) for image in range(len(self.labels)))

    def data(self) -> dict[str, object]:
        """What the page's script works on, as plain data."""
        rows = [
            {
                "label": escaped(row.label),
                "scores": [float(f"{score:.6g}") for score in row.scored.images.tolist()],
                "threshold": float(f"{row.scored.threshold:.6g}"),
                "maps": {str(image): f"../{file}" for image, file in row.maps.items()},
            }
            for row in self.rows
        ]
        return {"labels": self.labels, "rows": rows}


def choose(scored: Scored, labels: NDArray[np.uint8]) -> list[Pick]:
    """The images to show of a method, in the order of `_PICKS`; none twice."""
    scores = scored.images
    order = np.argsort(scores, kind="stable")
    defective = [int(image) for image in order if labels[image]]
    normal = [int(image) for image in order if not labels[image]]
    waiting: dict[Group, list[int]] = {
        "misses": defective[:_WORST],
        "alarms": normal[::-1][:_WORST],
        "defects": _from_the_middle(defective[_WORST:]),
        "normals": _from_the_middle(normal[:-_WORST]),
    }
    return [Pick(group, waiting[group].pop(0)) for group in _PICKS if waiting[group]]


def _from_the_middle(images: Sequence[int]) -> list[int]:
    """Images in the order of their scores: those in the middle first."""
    middle = (len(images) - 1) / 2
    return [image for _, image in sorted(enumerate(images), key=lambda pair: (abs(pair[0] - middle), pair[0]))]


def fill(gallery: Gallery, room: int) -> Iterator[tuple[str, bytes]]:
    """Choose and draw a gallery's images, of at most `room` bytes together; names and contents of their files.

    First what is chosen for the methods, the worst of every one before the next worst of any; then, as far as there is room, the
    other methods' maps of these images, so that two can be seen side by side.
    """
    labels = gallery.truth.truth.labels
    chosen = [choose(row.scored, labels) for row in gallery.rows]
    turns = range(max(map(len, chosen), default=0))
    wanted = [(number, picks[turn]) for turn in turns for number, picks in enumerate(chosen) if turn < len(picks)]
    used, full = 0, False
    for number, pick in wanted:
        row = gallery.rows[number]
        files = {} if full else _files(gallery, number, pick.image)
        size = sum(map(len, files.values()))
        full = full or used + size > room
        if full:
            row.left_out += 1
            continue
        used += size
        row.picks.append(pick)
        yield from _take(gallery, number, pick.image, files)
    for image, (number, row) in itertools.product(sorted(gallery.files), enumerate(gallery.rows)):
        if image not in row.maps and not full:
            files = _files(gallery, number, image)
            size = sum(map(len, files.values()))
            full = used + size > room
            if not full:
                used += size
                yield from _take(gallery, number, image, files)


class _Names(NamedTuple):
    """Files of an image."""

    image: str
    truth: str
    map: str


def _names(gallery: Gallery, number: int, image: int) -> _Names:
    stem = f"{IMAGES_FOLDER}/{gallery.number}/{image}"
    return _Names(f"{stem}.webp", f"{stem}-truth.png", f"{stem}-{number}.webp")


def _files(gallery: Gallery, number: int, image: int) -> dict[str, bytes]:
    """The files of an image that are not there yet, and its map by one method."""
    names = _names(gallery, number, image)
    files = {names.map: overlay(gallery.rows[number].scored.levels[image])}
    if image not in gallery.files:
        mask = _mask(gallery.truth, image)
        if mask is not None:
            files[names.truth] = outline(mask)
        if isinstance(gallery.images, Images):
            try:
                files[names.image] = thumbnail(gallery.images.read(gallery.names[image]), gallery.images.resize)
            except DatasetError as error:
                gallery.problem = hidden(str(error).splitlines()[0])
    return files


def _take(gallery: Gallery, number: int, image: int, files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """These files are part of the gallery."""
    names = _names(gallery, number, image)
    gallery.rows[number].maps[image] = names.map
    gallery.files.setdefault(image, names.image if names.image in files else "")
    if names.truth in files:
        gallery.outlines[image] = names.truth
    yield from files.items()


def _mask(truth: TruthSet, image: int) -> NDArray[np.uint8] | None:
    """The mask of a defective image, None where there is none or it marks nothing."""
    known = truth.truth.masked
    if known is not None and not known[image]:
        return None
    mask: NDArray[np.uint8] = truth.truth.masks[image if known is None else int(known[:image].sum())]
    return mask if truth.truth.labels[image] and mask.any() else None
