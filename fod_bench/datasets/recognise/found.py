"""What was found in a folder of images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fod_bench.datasets.names import counted, listed, printable

Split = Literal["train", "test"]


@dataclass(frozen=True)
class FoundImage:
    """One image, and what its path says of it."""

    path: Path
    good: bool
    kind: str
    """Kind of defect, as its folder or its name has it; empty for a normal image."""
    folder: str
    """Folder it lies in, below its category's and its split's."""
    split: Split | None
    masks: tuple[Path, ...] = ()


@dataclass
class FoundCategory:
    """One product: its images, divided."""

    name: str
    images: list[FoundImage] = field(default_factory=list)
    assumed: bool = False
    """Whether nothing tells which of its images are defective, so that all are taken as normal."""

    @property
    def good(self) -> list[FoundImage]:
        return [image for image in self.images if image.good]

    @property
    def bad(self) -> list[FoundImage]:
        return [image for image in self.images if not image.good]

    @property
    def is_split(self) -> bool:
        """Whether its folders say what to train on and what normal images to test on."""
        return {image.split for image in self.good} == {"train", "test"}

    def described(self) -> str:
        """`40 normal (OK), 12 defective (NG/scratch: 8, NG/dent: 4), 12 with masks`."""
        good, bad = self.good, self.bad
        text = f"{len(good)} normal ({_places(good)})" if good else "no normal image"
        if self.assumed:
            return f"{counted(len(good), 'image')}; nothing tells which are defective, so all are taken as normal"
        text += f", {len(bad)} defective ({_places(bad)})" if bad else ", none defective"
        masked = sum(bool(image.masks) for image in bad)
        if bad:
            text += ", without masks" if not masked else f", {'all' if masked == len(bad) else masked} with masks"
        return printable(text)


@dataclass
class FoundImages:
    """Everything in a folder."""

    root: Path
    categories: list[FoundCategory]
    unclear: list[Path] = field(default_factory=list)
    """Images of which nothing tells what they are."""
    unused_masks: list[Path] = field(default_factory=list)

    def described(self) -> list[str]:
        """A line for each category, and one each for what is left out."""
        lines = [f"{category.name}: {category.described()}" for category in self.categories]
        for what, paths in (
            ("image tells nothing by its name or folder", self.unclear),
            ("mask fits no image", self.unused_masks),
        ):
            if paths:
                noun, _, rest = what.partition(" ")
                names = listed([path.relative_to(self.root).as_posix() for path in paths], 3)
                verb = (
                    rest
                    if len(paths) == 1
                    else rest.replace("tells", "tell").replace("fits", "fit").replace("its", "their")
                )
                lines.append(printable(f"left out: {counted(len(paths), noun)} {verb}: {names}"))
        return lines


def _places(images: list[FoundImage]) -> str:
    """Folders with their numbers, or where files lie in one folder, that their names told."""
    counts: dict[str, int] = {}
    for image in images:
        where = "/".join(part for part in (image.split or "", image.folder) if part) or "by name"
        counts[where] = counts.get(where, 0) + 1
    if len(counts) == 1:
        return next(iter(counts))
    shown = [f"{name}: {count}" for name, count in counts.items()]
    return listed(shown, 6)
