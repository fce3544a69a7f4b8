"""How a category lies on disk. A layout is data: where pictures and masks are, and what was published about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fod_bench.datasets.base import GOOD, Sample
from fod_bench.datasets.preprocess import ResizeMode
from fod_bench.records.record import Counts

_NOISE = ("thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Entry:
    """A sample and its files. A defective sample without `mask` is a fault; `wanted` says what was looked for."""

    sample: Sample
    picture: Path
    mask: Path | None
    wanted: Path


@dataclass(frozen=True)
class Scan:
    """Everything found in a category folder."""

    entries: list[Entry]
    unused_masks: list[Path]
    unknown: list[Path]

    def shared_masks(self) -> Iterator[tuple[Entry, Entry]]:
        """Pairs of defective pictures that would take the same mask, as `a.png` and `a.jpg` would."""
        owners: dict[Path, Entry] = {}
        for entry in self.entries:
            if entry.sample.label and entry.mask is not None:
                first = owners.setdefault(entry.mask, entry)
                if first is not entry:
                    yield first, entry


@dataclass(frozen=True)
class Layout:
    """A family of data sets with one form on disk."""

    name: str
    pictures: str
    """Folder of the pictures below the category, with `{split}` and `{type}`."""
    masks: str
    """Folder of the masks below the category, with `{split}` and `{type}`."""
    mask_stems: tuple[str, ...]
    """Names a mask may have, without suffix, with `{stem}` of its picture; the first that exists is taken."""
    picture_types: tuple[str, ...]
    mask_types: tuple[str, ...]
    good: str = GOOD
    """What the folder of normal pictures is called."""
    published: Mapping[str, Counts] = field(default_factory=dict)
    """Category -> published counts; empty where any category may be."""
    other_folders: tuple[str, ...] = ()
    """Folders of a category that belong there but are not used."""
    resize: ResizeMode = "stretch"
    """How images become squares unless a job says otherwise: as the authors' code does with this data set."""

    @property
    def train_folder(self) -> str:
        return self.pictures.format(split="train", type=self.good)

    @property
    def form(self) -> str:
        """The expected form in one line, for messages."""
        test_good, test_defect, masks = (
            template.format(split="test", type=kind)
            for template, kind in ((self.pictures, self.good), (self.pictures, "<defect>"), (self.masks, "<defect>"))
        )
        names = " or ".join(stem.format(stem="<name>") for stem in self.mask_stems)
        return (
            f"layout {self.name} expects <category>/{self.train_folder}, {test_good}, {test_defect} with "
            f"{'/'.join(self.picture_types)} pictures, and masks {masks}/{names} ({'/'.join(self.mask_types)})"
        )

    def scan(self, folder: Path) -> Scan:
        """List the category at `folder`: samples in order, masks nobody uses, and files that do not belong there."""
        entries: list[Entry] = []
        unknown: list[Path] = []
        unused_masks: list[Path] = []
        for split in ("train", "test"):
            for kind in folders(folder / split):
                if split == "train" and kind != self.good:
                    unknown.append(folder / split / kind)
                    continue
                place = folder / self.pictures.format(split=split, type=kind)
                unknown.extend(path for path in visible_files(place) if path.suffix.lower() not in self.picture_types)
                masks = self._masks(folder / self.masks.format(split=split, type=kind)) if split == "test" else {}
                used: set[Path] = set()
                for picture in visible_files(place):
                    if picture.suffix.lower() in self.picture_types:
                        entries.append(self._entry(folder, split, kind, picture, masks))
                        used.update(path for path in (entries[-1].mask,) if path is not None)
                unused_masks.extend(path for paths in masks.values() for path in paths if path not in used)
        entries.sort(key=lambda entry: (entry.sample.split == "test", entry.sample.name))
        return Scan(entries, sorted(unused_masks), sorted([*unknown, *self._misplaced(folder)]))

    def _entry(self, folder: Path, split: str, kind: str, picture: Path, masks: dict[str, list[Path]]) -> Entry:
        stems = [stem.format(stem=picture.stem) for stem in self.mask_stems]
        found = [path for stem in stems for path in masks.get(stem, [])]
        wanted = folder / self.masks.format(split=split, type=kind) / f"{stems[0]}{self.mask_types[0]}"
        good = kind == self.good
        sample = Sample(
            name=picture.relative_to(folder).as_posix(),
            split="train" if split == "train" else "test",
            label=int(not good),
            defect=GOOD if good else kind,
        )
        return Entry(sample, picture, found[0] if found else None, wanted)

    def _masks(self, place: Path) -> dict[str, list[Path]]:
        """Stem -> masks of that stem in `place`."""
        masks: dict[str, list[Path]] = {}
        for path in visible_files(place):
            if path.suffix.lower() in self.mask_types:
                masks.setdefault(path.stem, []).append(path)
        return masks

    def _misplaced(self, folder: Path) -> Iterator[Path]:
        """Folders of the category that no part of the layout asks for, and files among the masks that are none."""
        top = {template.split("/")[0].format(split=split) for template in (self.pictures, self.masks)
               for split in ("train", "test")}  # fmt: skip
        for name in folders(folder):
            if name not in top and name not in self.other_folders:
                yield folder / name
        for split in ("train", "test"):
            yield from visible_files(folder / split)
        types = set(folders(folder / "test"))
        mask_top = folder / self.masks.split("/")[0]
        if "{split}" not in self.masks:
            yield from (mask_top / name for name in folders(mask_top) if name not in types)
        for kind in sorted(types):
            place = folder / self.masks.format(split="test", type=kind)
            yield from (path for path in visible_files(place) if path.suffix.lower() not in self.mask_types)


def folders(place: Path) -> list[str]:
    """Names of the folders in `place`, sorted, hidden ones left out; none where `place` is no folder."""
    if not place.is_dir():
        return []
    return sorted(path.name for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))


def visible_files(place: Path) -> list[Path]:
    """Files in `place`, sorted; hidden ones and what file managers leave behind are passed over.

    A link that leads nowhere is listed, so that reading it says so.
    """
    if not place.is_dir():
        return []
    return sorted(
        path
        for path in place.iterdir()
        if not path.name.startswith(".") and path.name.lower() not in _NOISE and not path.is_dir()
    )
