"""Which mask files belong to which image: found by name in one folder of masks."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from fod_bench.datasets.names import composed, listed
from fod_bench.datasets.walk import folders, visible_files

_NUMBER = re.compile(r"[ _-]?\(?\d+\)?")


class MaskFolder:
    """The masks of one kind of image. A mask has its image's name; a folder of that name holds several, which are joined."""

    def __init__(self, place: Path, stems: Sequence[str], types: Sequence[str], with_folders: bool) -> None:
        """`stems`: names that a mask may have, without suffix, with `{stem}` of its image."""
        self.place, self._stems, self._types = place, stems, types
        self._files = [path for path in visible_files(place) if path.suffix.lower() in types]
        self._folders = [place / name for name in folders(place)] if with_folders else []
        self._used: set[Path] = set()

    def of(self, image: Path) -> tuple[Path, ...]:
        """The files that are the image's mask: none, one, or all of a folder of its name. More than one file stands for a fault."""
        stems = [stem.format(stem=image.stem) for stem in self._stems]
        found = _named(stems, self._files, lambda path: path.stem)
        for folder in _named(stems, self._folders, lambda path: path.name):
            found += [path for path in visible_files(folder) if path.suffix.lower() in self._types]
        self._used.update(found)
        return tuple(found)

    def unused(self) -> list[Path]:
        """Masks that belong to none of the images asked for."""
        nested = [
            path for folder in self._folders for path in visible_files(folder) if path.suffix.lower() in self._types
        ]
        return [path for path in (*self._files, *nested) if path not in self._used]

    def wanted(self, image: Path) -> Path:
        """Where the image's mask is looked for first."""
        return self.place / f"{self._stems[0].format(stem=image.stem)}{self._types[0]}"

    def several(self, image: Path, masks: Sequence[Path]) -> str:
        """What is wrong where one image has several masks that nothing says how to join; empty where it has one."""
        places = {path.parent for path in masks}
        if len(masks) < 2 or (len(places) == 1 and self.place not in places):
            return self._numbered(image) if not masks else ""
        return self._refusal(image, [path.relative_to(self.place).as_posix() for path in masks])

    def _numbered(self, image: Path) -> str:
        """Masks of an image that are told apart by a number, such as `a_mask_1.png`, and belong to no other image."""
        stems = {composed(stem.format(stem=image.stem)) for stem in (*self._stems, "{stem}")}
        found = [
            path
            for path in self.unused()
            if path.parent == self.place
            and any(
                composed(path.stem).startswith(stem) and _NUMBER.fullmatch(composed(path.stem)[len(stem) :])
                for stem in stems
            )
        ]
        if len(found) < 2:
            return ""
        self._used.update(found)
        return self._refusal(image, [path.name for path in found])

    def _refusal(self, image: Path, names: Sequence[str]) -> str:
        return (
            f"{len(names)} masks in {self.place}: {listed(names)}; keep one, or put those that are to be joined into the "
            f"folder {self.place / image.stem}"
        )


def _named(stems: Sequence[str], paths: Sequence[Path], name_of: Callable[[Path], str]) -> list[Path]:
    """Paths of these names; where there is none, of the same names in another form of Unicode."""
    found = [path for stem in stems for path in paths if name_of(path) == stem]
    wanted = [composed(stem) for stem in stems]
    return found or [path for stem in wanted for path in paths if composed(name_of(path)) == stem]
