"""Categories that lie on disk, in any layout."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fod_bench.datasets.base import Category, Sample, SampleLimit
from fod_bench.datasets.digests import file_digests, file_digests_anew
from fod_bench.datasets.findings import Finding, summed
from fod_bench.datasets.folder import FolderLayout
from fod_bench.datasets.images import ImageFile, read_drawn_mask, read_header, read_rgb_and_depth
from fod_bench.datasets.layout import Entry, Layout, Scan, not_opened
from fod_bench.datasets.names import composed, counted, meant, not_shown, printable
from fod_bench.datasets.survey import Survey, duplicates
from fod_bench.datasets.walk import folders, visible_files
from fod_bench.errors import DatasetError
from fod_bench.text import has_control


class FileCategory(Category):
    """A category in a folder of one of the layouts."""

    def __init__(self, layout: Layout, name: str, folder: Path, scan: Scan) -> None:
        self.layout = layout.name
        self.name = name
        self.folder = folder
        self.has_masks = scan.has_masks
        self._good = layout.good
        self._masks_optional = layout.masks_optional
        self._max_pixels = layout.max_pixels
        self._scan = scan
        self._survey = Survey(any_values=bool(layout.published))
        self._digests: dict[str, str] = {}
        self._entries = {entry.sample.name: entry for entry in scan.entries}
        self.samples = [entry.sample for entry in self._entries.values()]

    def read_image(self, sample: Sample) -> Image.Image:
        entry = self._entries[sample.name]
        image, depth = read_rgb_and_depth(self._file(entry.image), self._max_pixels)
        self._survey.image(entry, depth)
        return image

    def read_mask(self, sample: Sample) -> NDArray[np.uint8] | None:
        if not sample.label:
            return None
        entry = self._entries[sample.name]
        if not entry.masks and self._may_lack_mask:
            return None
        self._mask_paths(entry)
        return read_mask_of(entry, self._survey, self._max_pixels, self._file)

    def fingerprint(self) -> str:
        files = self._files()
        return self._fingerprint(files, self._digests_of(list(files.values())))

    def fingerprint_anew(self) -> tuple[str, list[Path]]:
        files = self._files()
        digests, wrong = self._digests_anew(list(files.values()))
        return self._fingerprint(files, digests), wrong

    def _file(self, path: Path) -> ImageFile:
        """What is read for a file of the scan."""
        return path

    def _digests_of(self, paths: Sequence[Path]) -> list[str]:
        """SHA-256 of files of the scan, as far as they are remembered unread."""
        return file_digests(self.folder, paths)

    def _digests_anew(self, paths: Sequence[Path]) -> tuple[list[str], list[Path]]:
        """The same with every file read, and those that were remembered wrongly."""
        return file_digests_anew(self.folder, paths)

    def _fingerprint(self, files: Iterable[str], digests: Iterable[str]) -> str:
        self._digests = dict(zip(files, digests, strict=True))
        lines = [f"{digest} {name}\n" for name, digest in self._digests.items()]
        lines += [f"{role} {sample.name}\n" for sample in self.samples if (role := self._role(sample))]
        return hashlib.sha256("".join(sorted(lines)).encode(errors="surrogateescape")).hexdigest()

    def _files(self) -> dict[str, Path]:
        """The images and masks in use, by what the fingerprint calls them."""
        files = {sample.name: self._entries[sample.name].image for sample in self.samples}
        for sample in self.samples:
            masks = self._entries[sample.name].masks if sample.label and sample.masked else ()
            names = ["", *(f": {mask.name}" for mask in masks[1:])]
            files |= {f"mask of {sample.name}{name}": mask for name, mask in zip(names, masks, strict=False)}
        return files

    def _role(self, sample: Sample) -> str:
        """Split and label of a sample, where its name does not tell them as the layout's own names do."""
        split, kind, *_ = (*sample.name.split("/"), "")
        if (split, int(kind != self._good)) == (sample.split, sample.label):
            return ""
        return f"{sample.split} {sample.label}"

    def paths(self) -> Iterator[tuple[Sample, Path, tuple[Path, ...]]]:
        """Each sample with the files of its image and of its masks."""
        for sample in self.samples:
            entry = self._entries[sample.name]
            yield sample, entry.image, entry.masks

    @property
    def _may_lack_mask(self) -> bool:
        return self._masks_optional or not self.has_masks

    def require_masks(self) -> None:
        """Raises DatasetError for a defective image in use that lacks a mask of its own and needs one, or has several."""
        used = {sample.name for sample in self.samples if sample.label}
        owners: dict[Path, Entry] = {}
        for entry in (entry for name, entry in self._entries.items() if name in used):
            if entry.problem or not (entry.masks or self._may_lack_mask):
                self._mask_paths(entry)
            for mask in entry.masks:
                if (first := owners.setdefault(mask, entry)) is not entry:
                    raise DatasetError(shared_mask(first, entry))

    def _mask_paths(self, entry: Entry) -> tuple[Path, ...]:
        if problem := mask_problem(entry):
            raise DatasetError(f"defective image {entry.image} {problem}")
        return entry.masks

    def found(self) -> str:
        if self.layout != "folder":
            return ""
        train, test = len(self.train), self.test
        defects = [sample for sample in test if sample.label]
        masked = sum(sample.masked for sample in defects)
        masks = f", {masked} with masks" if self.has_masks else " without masks"
        masks = " with masks" if masked == len(defects) else masks
        return (
            f"{train} train, {len(test) - len(defects)} good and {counted(len(defects), 'defective test image')}"
            f"{masks if defects else ''}; {described_places(self._scan, self.folder)}"
        )

    def notes(self) -> list[str]:
        findings = [*self._scan.left_out, *(unused_mask(path) for path in self._scan.unused_masks)]
        if self.has_masks:
            lacking = [self._entries[sample.name].image for sample in self.test if not sample.masked]
            findings += [Finding("no_mask", path, "") for path in lacking]
        if self._digests:  # the fingerprint was taken
            findings += duplicates((self._entries[sample.name] for sample in self.samples), self._digests)
        return summed(findings, self.folder)

    def noticed(self) -> list[str]:
        return summed(self._survey.findings(), self.folder)


def described_places(scan: Scan, folder: Path) -> str:
    """Which folders were taken as what: `good: good; bad: scratch, dent`."""
    names: dict[bool, list[str]] = {True: [], False: []}
    for place in scan.places:
        names[place.good].append(place.images.relative_to(folder).as_posix())
    good, bad = (", ".join(each) or "none" for each in names.values())
    divided = any(place.split is None for place in scan.places)
    share = "" if not divided else ", divided by name into train and test"
    return printable(f"good: {good}{share}; bad: {bad}")


def unused_mask(path: Path) -> Finding:
    """A mask that no image takes."""
    return Finding("unused_mask", path, "mask without an image of its own")


def mask_problem(entry: Entry) -> str:
    """Why a defective image has no mask that can be taken; empty where it has."""
    if entry.problem:
        return f"has {entry.problem}"
    return "" if entry.masks else f"has no mask: looked for {entry.wanted}"


def read_mask_of(
    entry: Entry, survey: Survey, max_pixels: int, file: Callable[[Path], ImageFile] = lambda path: path
) -> NDArray[np.uint8]:
    """The union of an image's masks, (h, w) of 0 and 1; the survey is told of those of a defective one.

    `file`: what is read for a path. Raises DatasetError when the size of one is not its image's.
    """
    header = read_header(file(entry.image), max_pixels)
    drawn = []
    for path in entry.masks:
        mask = read_drawn_mask(file(path), max_pixels)
        height, width = mask.marked.shape
        if (width, height) != (header.width, header.height):
            raise DatasetError(
                f"mask {path} is {width}×{height}, its image {entry.image} is {header.width}×{header.height}: "
                "they must be of one size"
            )
        drawn.append(mask)
    if entry.sample.label:
        survey.mask(entry, drawn, header)
    return np.bitwise_or.reduce([mask.marked for mask in drawn])


def shared_mask(first: Entry, second: Entry) -> str:
    """What is wrong when two images differ in their suffix only."""
    mask = next(mask for mask in first.masks if mask in second.masks)
    return f"images {first.image} and {second.image} share the mask {mask}: rename one of them and give each its own"


def open_files(
    layout: Layout,
    root: Path,
    name: str,
    limit: SampleLimit | None,
    made: Callable[[Layout, str, Path, Scan], FileCategory] = FileCategory,
) -> FileCategory:
    """The category `name` of the data set at `root`; `made` makes it of what was found.

    Raises DatasetError when it is not there, not of the layout, has a name that is no text, or lacks masks that it needs.
    """
    folder = category_folder(layout, root, name)
    require_names(layout, root, folder)
    scan = layout.scan(folder)
    category = made(layout, name, folder, scan).limited(limit)
    for sample in category.samples:
        if has_control(printable(sample.name)):
            raise DatasetError(f"category {name} in {root}: image {not_shown(sample.name)}")
    for split, samples in (("training", category.train), ("test", category.test)):
        if not samples:
            raise DatasetError(f"category {name} in {root} has no {split} images: {remedy(layout, folder, scan)}")
    if any(place.split is None for place in scan.places) and not any(entry.sample.label for entry in scan.entries):
        raise DatasetError(f"category {name} in {root} has no defective images: {remedy(layout, folder, scan)}")
    category.require_masks()
    return category


def remedy(layout: Layout, folder: Path, scan: Scan) -> str:
    """What would be right where images are lacking: names for folders that are not read, or else the form."""
    unread = any(finding.kind in ("folder", "left_out") for finding in scan.left_out)
    return layout.advice(folder) if unread or not scan.places else layout.form


def require_names(layout: Layout, root: Path, folder: Path) -> None:
    """Raises DatasetError for a folder's name in the data set's settings that no category has."""
    if not isinstance(layout, FolderLayout):
        return
    missing = layout.unmatched(folder)
    if missing and not is_single(layout, root):
        others = [set(layout.unmatched(root / name)) for name in folders(root) if layout.is_category(root / name)]
        missing = [entry for entry in missing if all(entry in other for other in others)]
    if missing:
        raise DatasetError(layout.unknown_name(folder, *missing[0]))


def category_folder(layout: Layout, root: Path, name: str) -> Path:
    """Where the category is. Raises DatasetError when it is not there."""
    require_root(layout, root)
    if layout.published and name not in layout.published:
        raise DatasetError(f"data set {layout.name} has no category {name!r}{meant(name, layout.published)}")
    if is_single(layout, root):
        if composed(name) == single_name(root):
            return root
        raise DatasetError(f"{root} is one category, called {single_name(root)}: it has no category {name!r}")
    there = {shown_name(folder): folder for folder in folders(root)}
    folder = there.get(composed(name))
    if folder is not None:
        if printable(folder) != folder:
            raise DatasetError(f"the name of folder {root / folder} is no UTF-8: rename it")
        return root / folder
    nested = sorted(place.name for place in root.iterdir() if place.is_dir() and (place / name / "train").is_dir())
    if nested:
        raise DatasetError(
            f"category {name} is not in {root} but one folder below: give {root / nested[0]} as the root"
        )
    present = on_disk(layout, root)
    others = f"; there are {', '.join(present)}" if present else f", nor any other category: {layout.root_advice(root)}"
    raise DatasetError(f"category {name} is not in {root}{meant(name, present)}{others}")


def require_root(layout: Layout, root: Path) -> None:
    """Raises DatasetError unless `root` is a folder, and of a published set one that holds categories rather than being one."""
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise DatasetError(f"data set folder {root} {what}: {layout.form}")
    if isinstance(layout, FolderLayout):
        if wrong := layout.wrong_case(root, both=True):
            raise DatasetError(f"{root} holds no category: {wrong}")
    elif (root / "train").is_dir() and (root / "test").is_dir():
        raise DatasetError(f"{root} is a category itself: give the folder it lies in, {root.resolve().parent}, as root")


def strangers(layout: Layout, root: Path) -> list[Finding]:
    """Folders at the root that are no category, and images beside them: no number covers them. Also what is never opened, there and
    in such folders."""
    if is_single(layout, root):
        return []
    names = [name for name in folders(root) if not layout.is_category(root / name)]
    found = [Finding("folder", root / name, f"not a category: {layout.advice(root / name)}") for name in names]
    loose = [path for path in visible_files(root) if path.suffix.lower() in layout.image_types]
    found += [Finding("left_out", path, f"lies beside the categories: {layout.form}") for path in loose]
    return found + not_opened(root, below=False) + [one for name in names for one in not_opened(root / name)]


def is_single(layout: Layout, root: Path) -> bool:
    """Whether the root is itself the one category of its data set."""
    return isinstance(layout, FolderLayout) and layout.is_category(root)


def single_name(root: Path) -> str:
    """Name of the category that the root itself is."""
    name = root.absolute().name
    return shown_name(root.resolve().name if name in ("", "..") else name) or "images"


def shown_name(folder: str) -> str:
    """A category's name: its folder's, in composed Unicode, printable whatever its bytes are."""
    return composed(printable(folder))


def on_disk(layout: Layout, root: Path) -> list[str]:
    """Names of the categories at `root`: the folders in it that look like one, or its own.

    Raises DatasetError for two folders whose names look the same.
    """
    if is_single(layout, root):
        return [single_name(root)]
    names = [shown_name(name) for name in folders(root) if layout.is_category(root / name)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DatasetError(f"{root} has two folders {twice[0]!r}, written in two forms of Unicode: rename one")
    return names
