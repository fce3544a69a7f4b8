"""Anyone's own images: in MVTec AD's form with folders of any names, or normal and defective ones in a folder each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from fod_bench.datasets.base import GOOD
from fod_bench.datasets.findings import Finding
from fod_bench.datasets.images import IMAGE_TYPES, MAX_PIXELS
from fod_bench.datasets.layout import Layout, Place, Split, misplaced_masks
from fod_bench.datasets.names import counted, is_pattern, listed, matches, meant
from fod_bench.datasets.walk import below, folders, subfolders, visible_files
from fod_bench.datasets.words import GOOD_WORDS

_MASKS = "ground_truth"
_SPLITS = ("train", "test")
FOLDER_TYPES = (*IMAGE_TYPES, ".webp", ".jfif", ".jpe", ".dib")
_NORMAL = (*GOOD_WORDS, "positive")
"""What folders of normal images tend to be called, in lower case: for advice alone."""


@dataclass(frozen=True)
class FolderSettings:
    """Which folders of a category are taken as what."""

    good: tuple[str, ...] = (GOOD,)
    """Names or patterns of the folders of normal images."""
    bad: tuple[str, ...] | None = None
    """The same for defective ones. None: `bad`, and where there is a `test` folder all others in it."""
    masks: Literal["required", "optional"] = "required"
    """Whether a defective image may lack a mask where others have one."""
    train_share: float = 0.8
    """Part of the normal images to train on where no `train` and `test` folders tell."""
    max_pixels: int = MAX_PIXELS
    """Pixels of the largest image that is read."""


@dataclass(frozen=True)
class FolderLayout(Layout):
    """The layout `folder`, with the names that somebody gave."""

    settings: FolderSettings = FolderSettings()

    @property
    def form(self) -> str:
        good = _either(self.settings.good)
        bad = _either(self.settings.bad) if self.settings.bad else "<defect>"
        flat = _either(self.settings.bad or ("bad",))
        return (
            f"layout folder expects <category>/train/{good}, test/{good} and test/{bad}, or <category>/{good} and {flat}, "
            f"with {'/'.join(self.image_types)} images, and masks, if there are any, as "
            f"{_MASKS}/<defect>/<name>_mask or <name> ({'/'.join(self.mask_types)})"
        )

    def is_category(self, folder: Path) -> bool:
        if _is_split(folder):
            return not any(_is_split(folder / split) for split in _SPLITS)
        for entry in (*self.settings.good, *self._bad(split=False)):
            for name in subfolders(folder):
                # What a pattern fits may be a category just as well, unless it holds images itself.
                named = matches(name, entry) and (not is_pattern(entry) or self._images(folder / name))
                if named and not _is_split(folder / name):
                    return True
        return False

    def unmatched(self, folder: Path) -> list[tuple[str, str]]:
        """`(key, name)` of names under `good` and `bad` that no folder of the category has; a pattern may have none."""
        names = self._candidates(folder)
        asked = [("good", entry) for entry in self.settings.good] + [("bad", e) for e in self.settings.bad or ()]
        return [
            (key, entry)
            for key, entry in asked
            if not is_pattern(entry) and not any(matches(name, _within_split(entry)) for name in names)
        ]

    def unknown_name(self, folder: Path, key: str, entry: str) -> str:
        """What is wrong with a name under `good` or `bad` that no folder has."""
        names = self._candidates(folder)
        near = "" if entry == GOOD else meant(entry, names)  # which nobody wrote, so the advice says what to write
        return f"{key}: no folder {entry!r} in {folder}" + (
            f"{near} There are {listed(names, 12)}" if near else f"; {self.advice(folder)}"
        )

    def wrong_case(self, folder: Path, both: bool = False) -> str:
        """What is wrong where `train` or `test`, or `both`, are written otherwise; empty where they are not."""
        known = {"train": "train", "training": "train", "test": "test", "testing": "test"}
        wrong = {
            name: known[name.casefold()] for name in folders(folder) if name.casefold() in known and name not in _SPLITS
        }
        if not wrong or (both and len(set(wrong.values())) < 2):
            return ""
        return f"rename {', '.join(f'{name} to {split}' for name, split in wrong.items())} in {folder}"

    def advice(self, folder: Path) -> str:
        """The folders that hold images though none of the names fits, and how to name them; else the expected form."""
        if wrong := self.wrong_case(folder):
            return wrong
        bases = [folder / split for split in _SPLITS] if _is_split(folder) else [folder]
        holding: dict[str, int] = {}
        for base in bases:
            for name in subfolders(base):
                count = len(self._images(base / name))
                if count and not name.startswith(_MASKS):
                    holding[name] = holding.get(name, 0) + count
        loose = sum(len(self._images(base)) for base in bases)
        if loose:
            where = " and ".join(base.name for base in bases if self._images(base))
            return f"{counted(loose, 'image')} in {where} itself: they belong into folders below it, one per kind; {self.form}"
        if not holding:
            return self.form
        there = ", ".join(f"{name} ({counted(count, 'image')})" for name, count in list(holding.items())[:12])
        normal = [name for name in holding if set(name.casefold().split("/")) & set(_NORMAL)] or list(holding)[:1]
        others = [name for name in holding if name not in normal]
        example = f"good: [{', '.join(_general(normal))}]"
        if others:
            example += f", bad: [{', '.join(_general(others))}]"
        return f"images are in {there}; name the folders of normal and of defective ones in the data set, perhaps `{example}`"

    def root_advice(self, root: Path) -> str:
        if wrong := self.wrong_case(root):
            return wrong
        inside = [root / name for name in folders(root)]
        if any(self._images(folder) for folder in (root, *inside)):
            return self._name_advice(root)
        nested = (folder for folder in inside if any(self._images(folder / name) for name in subfolders(folder)))
        return next(map(self._name_advice, nested), self.form)

    def _name_advice(self, folder: Path) -> str:
        """`advice`, or what is wrong with a name that no folder has."""
        missing = self.unmatched(folder)
        return self.unknown_name(folder, *missing[0]) if missing else f"in {folder} {self.advice(folder)}"

    def has_masks(self, folder: Path) -> bool:
        """Whether there is any file where masks are looked for."""
        top = folder / _MASKS
        return any(visible_files(top / name) for name in ("", *subfolders(top)))

    def arrange(self, folder: Path) -> tuple[list[Place], list[Finding]]:
        places: list[Place] = []
        splits: tuple[Split | None, ...] = ("train", "test") if _is_split(folder) else (None,)
        for split in splits:
            base = folder / (split or "")
            names = [name for name in subfolders(base) if split or name.split("/")[0].casefold() != _MASKS]
            good = [name for name in names if _taken(name, self.settings.good)]
            places += [Place(base / name, below(folder / _MASKS, name), True, GOOD, split) for name in good]
            if split != "train":
                bad = self._defects(names, good, split)
                places += [
                    Place(base / name, below(folder / _MASKS, name), False, name, split or "test") for name in bad
                ]
        return places, self._left_out(folder, places)

    def divide(self, place: Place, count: int) -> Sequence[Split]:
        """Train or test for `count` images in the order of their names: those held out are evenly spaced, the last among them."""
        return held_out(count, self.settings.train_share)

    def _bad(self, split: bool) -> tuple[str, ...]:
        return self.settings.bad if self.settings.bad is not None else () if split else ("bad",)

    def _defects(self, names: list[str], good: list[str], split: Split | None) -> list[str]:
        if self.settings.bad is not None or split is None:
            return [name for name in names if name not in good and _taken(name, self._bad(split is not None))]
        parents = {name.rsplit("/", depth)[0] for name in good for depth in range(name.count("/") + 1)}
        return [name for name in names if "/" not in name and name not in parents]

    def _candidates(self, folder: Path) -> list[str]:
        """Folders of the category that `good` and `bad` may name."""
        bases = _SPLITS if _is_split(folder) else ("",)
        names = [name for base in bases for name in subfolders(folder / base)]
        return [name for name in dict.fromkeys(names) if not name.startswith(_MASKS)]

    def _images(self, place: Path) -> list[Path]:
        return [path for path in visible_files(place) if path.suffix.lower() in self.image_types]

    def _left_out(self, folder: Path, places: list[Place]) -> list[Finding]:
        """Folders that are taken as nothing, images in folders below a place or beside them, and strangers among the masks."""
        taken = {place.images for place in places}
        found = [Finding("empty", path, "holds no image") for path in sorted(taken) if not visible_files(path)]
        above = {parent for path in taken for parent in path.parents} | {folder / "train", folder / "test"}
        for name in subfolders(folder):
            path, images = folder / name, len(self._images(folder / name))
            if path in taken or name.split("/")[0] == _MASKS or (path in above and not images):
                continue
            inside = any(self._images(path / deeper) for deeper in subfolders(path))
            if images:
                found.append(Finding("folder", path, self._unread(folder, path, images, taken)))
            elif path.parent in (folder, folder / "train", folder / "test") and not inside:
                found.append(self.stranger(path))
        loose = f"does not belong here: images are read from the folders below; {self.form}"
        found += [Finding("left_out", path, loose) for path in self._images(folder)]
        found += [self.stranger(path) for split in _SPLITS for path in visible_files(folder / split)]
        kinds = {place.masks.relative_to(folder / _MASKS).as_posix() for place in places if place.split != "train"}
        found += [self.stranger(path) for path in misplaced_masks(self, folder, kinds)]
        return found

    def _unread(self, folder: Path, path: Path, images: int, taken: set[Path]) -> str:
        """Why the images of a folder are not read."""
        split = path.relative_to(folder).parts[0] if _is_split(folder) else ""
        name = path.relative_to(folder / split).as_posix()
        near = meant(path.relative_to(folder).parts[0], (_MASKS, *_SPLITS)) if split not in _SPLITS else ""
        above = next((place for place in taken if path.is_relative_to(place)), None)
        good, bad = _either(self.settings.good), _either(self._bad(False))
        if above is not None:
            why = f"those of {above.name} itself are, unless a pattern such as `{name.rpartition('/')[0]}/*` names those below"
        elif split == "train":
            why = f"training takes the folders that good names ({good})"
        elif split not in ("", "test"):
            why = f"those below train and test are{near}"
        else:
            why = f"neither good ({good}) nor bad ({bad}) names it{near}"
        return f"does not belong here: its {counted(images, 'image')} {'is' if images == 1 else 'are'} not read; {why}"


FOLDER = FolderLayout(
    name="folder",
    images="{split}/{type}",
    masks=_MASKS + "/{type}",
    mask_stems=("{stem}_mask", "{stem}"),
    image_types=FOLDER_TYPES,
    mask_types=FOLDER_TYPES,
    mask_folders=True,
)


def held_out(count: int, train_share: float = FolderSettings.train_share) -> list[Split]:
    """Train or test for `count` normal images in their order: those held out are evenly spaced, the last among them."""
    held = min(max(1, round(count * (1 - train_share))), count - 1) if count > 1 else 0
    tested = {(number + 1) * count // held - 1 for number in range(held)}
    return ["test" if index in tested else "train" for index in range(count)]


def folder_layout(settings: FolderSettings | None) -> FolderLayout:
    """The layout with somebody's names."""
    if settings is None:
        return FOLDER
    optional = settings.masks == "optional"
    return replace(FOLDER, settings=settings, masks_optional=optional, max_pixels=settings.max_pixels)


def _is_split(folder: Path) -> bool:
    return (folder / "train").is_dir() or (folder / "test").is_dir()


def _within_split(entry: str) -> str:
    """A name without the `train` or `test` that a person may have written before it."""
    head, _, rest = entry.strip("/").partition("/")
    return rest if rest and head in _SPLITS else entry.strip("/")


def _taken(name: str, entries: Sequence[str]) -> bool:
    return any(matches(name, _within_split(entry)) for entry in entries)


def _general(names: Sequence[str]) -> list[str]:
    """The names, those of one parent as a pattern."""
    return list(dict.fromkeys(f"{name.rpartition('/')[0]}/*" if "/" in name else name for name in names))


def _either(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"({'|'.join(names)})"
