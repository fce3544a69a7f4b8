"""What the images in a folder are, by the names of folders and files: normal or defective, of which product, with which masks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from fod_bench.datasets.files import single_name
from fod_bench.datasets.folder import FOLDER
from fod_bench.datasets.names import listed
from fod_bench.datasets.recognise.found import FoundCategory, FoundImage, FoundImages, Split
from fod_bench.datasets.recognise.masks import with_masks
from fod_bench.datasets.walk import folders, visible_files
from fod_bench.datasets.words import is_masks, says_good, split_of, unmasked, words
from fod_bench.errors import DatasetError

_DEEPEST = 6
_MOST = 500_000
Parts = tuple[str, ...]


@dataclass(frozen=True)
class _Told:
    """An image and what its folders say."""

    path: Path
    category: Parts
    kind: Parts
    folder: str
    split: Split | None
    good: bool | None


def recognise(root: Path, good: Sequence[str] = (), bad: Sequence[str] = ()) -> FoundImages:
    """Look at a folder of images. `good` and `bad` name folders or files, by name or pattern, whatever their names say.

    Raises DatasetError where there is no image, or nothing tells which folders hold normal ones.
    """
    if not root.is_dir():
        raise DatasetError(
            f"{root} {'is not a folder' if root.exists() else 'does not exist'}: give a folder of images"
        )
    files = list(_images(root, (), _DEEPEST))
    if not files:
        raise DatasetError(f"{root} holds no image ({'/'.join(FOLDER.image_types)}), nor do folders in it")
    if len(files) > _MOST:
        raise DatasetError(f"{root} holds more than {_MOST} images: give a folder of one data set")
    places = _Places({parts for parts, _ in files}, good, bad)
    images, masks = _without_masks(files)
    told = [_told(parts, path, places) for parts, path in images]
    base = _shared([one.category for one in told])
    grouped: dict[Parts, list[_Told]] = defaultdict(list)
    for one in told:
        grouped[one.category].append(one)
    _require_telling(root, grouped)
    found = FoundImages(root, [])
    for category, members in sorted(grouped.items()):
        name = "-".join(category[len(base) :]) or single_name(root.joinpath(*base))
        found.categories.append(_category(name, members, found.unclear))
    found.categories = [category for category in found.categories if category.images]
    found.unused_masks = with_masks(found, masks)
    return found


def _images(place: Path, parts: Parts, depth: int) -> Iterator[tuple[Parts, Path]]:
    for path in visible_files(place):
        if path.suffix.lower() in FOLDER.image_types:
            yield parts, path
    if depth:
        for name in folders(place):
            yield from _images(place / name, (*parts, name), depth - 1)


def _without_masks(files: list[tuple[Parts, Path]]) -> tuple[list[tuple[Parts, Path]], list[tuple[Parts, Path]]]:
    """Images, and masks: those in folders of masks, and those beside an image of their name."""
    stems = {(parts, path.stem) for parts, path in files}
    images: list[tuple[Parts, Path]] = []
    masks: list[tuple[Parts, Path]] = []
    for parts, path in files:
        of = unmasked(path.stem)
        beside = of is not None and (parts, of) in stems
        (masks if beside or any(map(is_masks, parts)) else images).append((parts, path))
    return images, masks


class _Places:
    """What folders are by their names, and by those around them."""

    def __init__(self, holding: set[Parts], good: Sequence[str], bad: Sequence[str]) -> None:
        self._asked = [
            (pattern.strip("/"), is_good) for given, is_good in ((good, True), (bad, False)) for pattern in given
        ]
        every = {parts[:end] for parts in holding for end in range(1, len(parts) + 1)}
        split = {place for place in every if split_of(place[-1]) is not None}
        named = {place: self._by_name(place) for place in every - split if not is_masks(place[-1])}
        # A folder that holds folders of the other kind, or a split, is a category with an odd name.
        inside: dict[Parts, set[bool | str | None]] = defaultdict(set)
        for place in every:
            for end in range(1, len(place)):
                inside[place[:end]].add("split" if place in split else named.get(place))
        self._own = {
            place: label
            for place, label in named.items()
            if label is not None and not {not label, "split"} & inside[place]
        }
        self._holds_labels = {place[:end] for place in (*self._own, *split) for end in range(1, len(place))}
        self._inside: dict[Parts, set[bool]] = defaultdict(set)
        for place, label in self._own.items():
            self._inside[place[:-1]].add(label)
        self._split = split

    def label(self, place: Parts) -> bool | None:
        """Whether the folder is one of normal images, or of defective ones; None where neither it nor those beside it tell."""
        own = self._own.get(place)
        unnamed = own is None and place not in self._split and place not in self._holds_labels
        if unnamed and True in self._inside[place[:-1]]:
            return False  # a kind of defect, beside the folder of normal images
        return own

    def told_by_name(self, path: Path) -> bool | None:
        """What a file's own name says."""
        asked = [
            good for pattern, good in self._asked if fnmatchcase(path.name, pattern) or fnmatchcase(path.stem, pattern)
        ]
        return asked[0] if asked else says_good(path.stem)

    def only_bad_below(self, place: Parts) -> bool:
        """Whether of the folders directly in this one some are of defective images and none of normal ones."""
        return self._inside[place] == {False}

    def _by_name(self, place: Parts) -> bool | None:
        for pattern, good in self._asked:
            if fnmatchcase(place[-1], pattern) or fnmatchcase("/".join(place), pattern):
                return good
        return says_good(place[-1])


def _told(parts: Parts, path: Path, places: _Places) -> _Told:
    """What the folders of an image say of it, or else its name."""
    split: Split | None = None
    category: list[str] = []
    for depth, part in enumerate(parts):
        place = parts[: depth + 1]
        if split is None and (found := split_of(part)) is not None:
            split = found
            continue
        label = places.label(place)
        if label is not None:
            folder = parts[depth:]
            kind = folder[1:] or folder
            return _Told(path, tuple(category), () if label else kind, "/".join(folder), split, label)
        if split is not None and not _labels_below(parts, depth, places):
            folder = parts[depth:]
            good = split == "train"
            return _Told(path, tuple(category), () if good else folder, "/".join(folder), split, good)
        category.append(part)
    own = places.told_by_name(path)
    if own is None and split == "train":
        own = True
    if own is None and places.only_bad_below(parts):
        own = True  # beside a folder of defective images
    kind = () if own is not False else (_kind_by_name(path),)
    return _Told(path, tuple(category), kind, "", split, own)


def _labels_below(parts: Parts, depth: int, places: _Places) -> bool:
    return any(places.label(parts[: end + 1]) is not None for end in range(depth + 1, len(parts)))


def _kind_by_name(path: Path) -> str:
    """The word of a file's name that says that it is defective; `bad` where a pattern said so."""
    return next((word for word in words(path.stem) if says_good(word) is False), "bad")


def _category(name: str, members: list[_Told], unclear: list[Path]) -> FoundCategory:
    labels = {one.good for one in members}
    category = FoundCategory(name, assumed=labels == {None})
    for one in members:
        good = one.good
        if good is None and (labels == {None} or labels == {None, False}) and not one.folder:
            good = True  # nothing tells at all, or only the names of defective ones tell
        if good is None:
            unclear.append(one.path)
            continue
        category.images.append(FoundImage(one.path, good, "/".join(one.kind), one.folder, one.split))
    return category


def _require_telling(root: Path, grouped: dict[Parts, list[_Told]]) -> None:
    """Raises DatasetError for several folders of images of which nothing tells what they are: products, or kinds of images?"""
    silent = [category for category, members in grouped.items() if {one.good for one in members} == {None}]
    if len(silent) > 1 and len(silent) == len(grouped):
        names = ["/".join(category) or "." for category in sorted(silent)]
        raise DatasetError(
            f"{root}: nothing tells which of the folders {listed(names, 8)} hold normal images; name them, by name or pattern: "
            f"--good {names[0]} --bad {names[-1]}"
        )


def _shared(categories: list[Parts]) -> Parts:
    """The folders that all categories lie in."""
    if not categories:
        return ()
    first, last = min(categories), max(categories)
    length = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:length]
