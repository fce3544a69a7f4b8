"""How a category lies on disk. A layout is data: where images and masks are, and what was published about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fod_bench.datasets.base import GOOD, Sample
from fod_bench.datasets.findings import Finding
from fod_bench.datasets.images import MAX_PIXELS
from fod_bench.datasets.mask_folder import MaskFolder
from fod_bench.datasets.preprocess import ResizeMode
from fod_bench.datasets.walk import folders, special_files, visible_files
from fod_bench.records.record import Counts

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Entry:
    """A sample and its files. `wanted` says where its mask was looked for first."""

    sample: Sample
    image: Path
    masks: tuple[Path, ...]
    """Of a defective image none, one, or several of which the mask is the union."""
    wanted: Path
    problem: str = ""
    """Why none of its masks can be taken: it has several, and nothing says how to join them."""


@dataclass(frozen=True)
class Place:
    """A folder whose files are images of one kind."""

    images: Path
    masks: Path
    good: bool
    kind: str
    """`good`, or the type of the defect."""
    split: Split | None
    """None where training and test images lie together and are told apart by name."""


@dataclass(frozen=True)
class Scan:
    """Everything found in a category folder."""

    places: list[Place]
    entries: list[Entry]
    """Train, then test, each sorted by name."""
    has_masks: bool
    """Whether there are masks at all, so that a defective image without one is a fault."""
    unused_masks: list[Path]
    left_out: list[Finding]
    """Files and folders that are not read."""

    def shared_masks(self) -> Iterator[tuple[Entry, Entry]]:
        """Pairs of defective images that would take the same mask, as `a.png` and `a.jpg` would."""
        owners: dict[Path, Entry] = {}
        for entry in self.entries:
            for mask in entry.masks if entry.sample.label else ():
                first = owners.setdefault(mask, entry)
                if first is not entry:
                    yield first, entry
                    break


@dataclass(frozen=True)
class Layout:
    """A family of data sets with one form on disk."""

    name: str
    images: str
    """Folder of the images below the category, with `{split}` and `{type}`."""
    masks: str
    """Folder of the masks below the category, with `{split}` and `{type}`."""
    mask_stems: tuple[str, ...]
    """Names a mask may have, without suffix, with `{stem}` of its image."""
    image_types: tuple[str, ...]
    mask_types: tuple[str, ...]
    good: str = GOOD
    """What the folder of normal images is called."""
    published: Mapping[str, Counts] = field(default_factory=dict)
    """Category -> published counts; empty where any category may be."""
    other_folders: tuple[str, ...] = ()
    """Folders of a category that belong there but are not used."""
    resize: ResizeMode = "stretch"
    """How images become squares unless a job says otherwise: as the authors' code does with this data set."""
    mask_folders: bool = False
    """Whether a folder may stand for a mask: the union of the files in it."""
    max_pixels: int = MAX_PIXELS
    """Pixels of the largest image that is read."""
    masks_optional: bool = False
    """Whether a defective image may lack a mask although others have one."""

    @property
    def train_folder(self) -> str:
        return self.images.format(split="train", type=self.good)

    @property
    def form(self) -> str:
        """The expected form in one line, for messages."""
        test_good, test_defect, masks = (
            template.format(split="test", type=kind)
            for template, kind in ((self.images, self.good), (self.images, "<defect>"), (self.masks, "<defect>"))
        )
        names = " or ".join(stem.format(stem="<name>") for stem in self.mask_stems)
        return (
            f"layout {self.name} expects <category>/{self.train_folder}, {test_good}, {test_defect} with "
            f"{'/'.join(self.image_types)} images, and masks {masks}/{names} ({'/'.join(self.mask_types)})"
        )

    def is_category(self, folder: Path) -> bool:
        """Whether the folder looks like a category."""
        return (folder / "train").is_dir() or (folder / "test").is_dir()

    def advice(self, folder: Path) -> str:
        """What would be right where `folder` lacks images that a category needs."""
        return self.form

    def root_advice(self, root: Path) -> str:
        """What would be right where `root` holds no category."""
        return self.form

    def scan(self, folder: Path) -> Scan:
        """List the category at `folder`: samples in order, masks nobody uses, and files that do not belong there."""
        places, left_out = self.arrange(folder)
        left_out += not_opened(folder)
        entries: list[Entry] = []
        unused: list[Path] = []
        for place in places:
            files = visible_files(place.images)
            images = [path for path in files if path.suffix.lower() in self.image_types]
            strange = [path for path in files if path.suffix.lower() not in self.image_types]
            left_out += [self._unread_type(path) for path in strange]
            masks = MaskFolder(place.masks, self.mask_stems, self.mask_types, self.mask_folders)
            named = {image: masks.of(image) for image in images} if place.split != "train" else {}
            splits = [place.split] * len(images) if place.split else self.divide(place, len(images))
            for image, split in zip(images, splits, strict=True):
                entries.append(_entry(folder, place, image, split or "train", masks, named.get(image, ())))
            if place.split != "train":
                unused += masks.unused()
        entries.sort(key=lambda entry: (entry.sample.split == "test", entry.sample.name))
        left_out.sort(key=lambda finding: finding.path)
        return Scan(places, entries, self.has_masks(folder), sorted(unused), left_out)

    def _unread_type(self, path: Path) -> Finding:
        kind = f"its type {path.suffix}" if path.suffix else "it has no suffix, which"
        types = "/".join(self.image_types)
        return Finding("left_out", path, f"does not belong here: it is not read, since {kind} is none of {types}")

    def has_masks(self, folder: Path) -> bool:
        """Whether the category has masks, or must have."""
        return True

    def arrange(self, folder: Path) -> tuple[list[Place], list[Finding]]:
        """Which folders of the category hold images of which kind, and what does not belong there."""
        places: list[Place] = []
        strange: list[Path] = []
        splits: tuple[Split, ...] = ("train", "test")
        for split in splits:
            for kind in folders(folder / split):
                if split == "train" and kind != self.good:
                    strange.append(folder / split / kind)
                    continue
                images, masks = (
                    folder / template.format(split=split, type=kind) for template in (self.images, self.masks)
                )
                good = kind == self.good
                places.append(Place(images, masks, good, GOOD if good else kind, split))
                strange += [images / name for name in folders(images)]
        strange += self._misplaced(folder)
        return places, [self.stranger(path) for path in strange]

    def stranger(self, path: Path) -> Finding:
        """A file or folder that does not belong where it is."""
        return Finding("folder" if path.is_dir() else "left_out", path, f"does not belong here: {self.form}")

    def divide(self, place: Place, count: int) -> Sequence[Split]:
        """The splits of a place's images, in the order of their names, where their folder does not tell."""
        raise NotImplementedError

    def _misplaced(self, folder: Path) -> Iterator[Path]:
        """Folders of the category that no part of the layout asks for, and files among the masks that are none."""
        top = {template.split("/")[0].format(split=split) for template in (self.images, self.masks)
               for split in ("train", "test")}  # fmt: skip
        for name in folders(folder):
            if name not in top and name not in self.other_folders:
                yield folder / name
        for split in ("train", "test"):
            yield from visible_files(folder / split)
        yield from misplaced_masks(self, folder, set(folders(folder / "test")))


def not_opened(place: Path, *, below: bool = True) -> list[Finding]:
    """Pipes, sockets and devices in `place` and, if `below`, in the folders in it."""
    found = special_files(place) if below else special_files(place, depth=0)
    return [Finding("special", path, "is no file but a pipe, a socket or a device: it is not opened") for path in found]


def misplaced_masks(layout: Layout, folder: Path, kinds: set[str]) -> Iterator[Path]:
    """Folders among the masks that are of no kind of image, and files there that are no masks."""
    if "{split}" not in layout.masks:
        top = folder / layout.masks.split("/")[0]
        parents = {kind.split("/")[0] for kind in kinds}
        yield from (top / name for name in folders(top) if name not in parents)
    for kind in sorted(kinds):
        place = folder / layout.masks.format(split="test", type=kind)
        yield from (path for path in visible_files(place) if path.suffix.lower() not in layout.mask_types)


def _entry(folder: Path, place: Place, image: Path, split: Split, masks: MaskFolder, found: tuple[Path, ...]) -> Entry:
    good = place.good
    problem = "" if good else masks.several(image, found)
    sample = Sample(
        name=image.relative_to(folder).as_posix(),
        split=split,
        label=int(not good),
        defect=place.kind,
        masked=good or (bool(found) and not problem),
    )
    return Entry(sample, image, found, masks.wanted(image), problem)
