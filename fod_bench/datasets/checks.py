"""Everything that is wrong with a data set on disk, found in one walk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fod_bench.datasets.digests import file_digests
from fod_bench.datasets.files import (
    FileCategory,
    category_folder,
    is_single,
    mask_problem,
    on_disk,
    read_mask_of,
    remedy,
    require_names,
    require_root,
    shared_mask,
    strangers,
    unused_mask,
)
from fod_bench.datasets.images import read_rgb_and_depth
from fod_bench.datasets.layout import Entry, Layout, Scan
from fod_bench.datasets.names import not_shown, printable
from fod_bench.datasets.parallel import in_threads
from fod_bench.datasets.preprocess import Resize, preprocess_mask
from fod_bench.datasets.survey import Survey, duplicates
from fod_bench.errors import DatasetError
from fod_bench.text import has_control


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a data set."""

    category: str
    path: Path
    problem: str

    def __str__(self) -> str:
        return printable(f"{self.category}: {self.path}: {self.problem}")


def describe_files(layout: Layout, root: Path, categories: Iterable[str] | None) -> list[str]:
    """`category: what was found` for each category whose images are found; what is wrong with others is a fault."""
    lines = []
    for name in _names(layout, root, categories):
        try:
            folder = category_folder(layout, root, name)
            require_names(layout, root, folder)
            found = FileCategory(layout, name, folder, layout.scan(folder)).found()
        except DatasetError:
            continue
        lines += [f"{name}: {found}"] if found else []
    return lines


def check_files(layout: Layout, root: Path, categories: Iterable[str] | None, resize: Resize) -> list[Fault]:
    """Every fault of `categories` (default: all) below `root`; every image and mask is decoded, masks also resized.

    Raises DatasetError when `root` itself cannot be used.
    """
    names = _names(layout, root, categories)
    faults: list[Fault] = []
    if categories is None and not is_single(layout, root):
        if not names:
            raise DatasetError(f"{root} holds no category: {layout.root_advice(root)}")
        faults += [Fault(odd.path.name, odd.path, odd.problem) for odd in strangers(layout, root)]
    for name in names:
        try:
            folder = category_folder(layout, root, name)
            require_names(layout, root, folder)
            scan = layout.scan(folder)
        except DatasetError as error:
            faults.append(Fault(name, root / name, str(error)))
            continue
        faults += [Fault(name, path, problem) for path, problem in _structure(layout, folder, scan)]
        faults += [Fault(name, path, problem) for path, problem in _contents(layout, folder, scan, resize)]
    return faults


def _names(layout: Layout, root: Path, categories: Iterable[str] | None) -> list[str]:
    require_root(layout, root)
    return list(categories) if categories is not None else list(layout.published) or on_disk(layout, root)


def _structure(layout: Layout, folder: Path, scan: Scan) -> Iterator[tuple[Path, str]]:
    """Faults that the names and numbers of the files show."""
    for entry in scan.entries:
        if has_control(printable(entry.sample.name)):
            yield entry.image, not_shown(entry.sample.name)
    if has_control(printable(folder.name)):
        yield folder, f"category {not_shown(folder.name)}"
    train = [entry for entry in scan.entries if entry.sample.split == "train"]
    good = [entry for entry in scan.entries if entry.sample.split == "test" and not entry.sample.label]
    defects = [entry for entry in scan.entries if entry.sample.label]
    for kind, entries in (("training", train), ("normal test", good), ("defective test", defects)):
        if not entries:
            yield folder, f"no {kind} images: {remedy(layout, folder, scan)}"
    for finding in [*scan.left_out, *map(unused_mask, scan.unused_masks)]:
        yield finding.path, finding.problem
    for first, second in scan.shared_masks():
        yield second.image, shared_mask(first, second)
    published = layout.published.get(folder.name)
    if published is not None:
        for kind, found, expected in (
            ("training", len(train), published.train),
            ("normal test", len(good), published.test_good),
            ("defective test", len(defects), published.test_defect),
        ):
            if found != expected:
                yield folder, f"{found} {kind} images, {expected} were published"


def _contents(layout: Layout, folder: Path, scan: Scan, resize: Resize) -> Iterator[tuple[Path, str]]:
    """Faults that reading the images and masks shows."""
    survey = Survey(any_values=bool(layout.published))
    readable: list[Entry] = []

    def read(entry: Entry) -> list[tuple[Path, str]]:
        return _content(entry, layout, scan, survey, resize)

    for entry, found in zip(scan.entries, in_threads(read, scan.entries), strict=True):
        yield from found
        if not any(path == entry.image for path, _ in found):
            readable.append(entry)
    digests = file_digests(folder, [entry.image for entry in readable])
    known = {entry.sample.name: digest for entry, digest in zip(readable, digests, strict=True)}
    for finding in [*survey.findings(), *duplicates(readable, known)]:
        yield finding.path, finding.problem


def _content(entry: Entry, layout: Layout, scan: Scan, survey: Survey, resize: Resize) -> list[tuple[Path, str]]:
    """Faults that decoding the image and its mask shows, but for those that the survey is told."""
    try:
        survey.image(entry, read_rgb_and_depth(entry.image, layout.max_pixels)[1])
    except DatasetError as error:
        return [(entry.image, str(error))]
    if entry.sample.label and (problem := mask_problem(entry)):
        wrong = f"defective image {problem}".replace("has no mask", "without a mask")
        needed = scan.has_masks and not layout.masks_optional
        return [(entry.image, wrong)] if entry.problem or needed else []
    if not entry.masks:
        return []
    try:
        mask = read_mask_of(entry, survey, layout.max_pixels)
    except DatasetError as error:
        return [(entry.masks[0], str(error))]
    if mask.any() and not entry.sample.label:
        return [(entry.masks[0], "the mask of a normal image marks a defect")]
    left, top, right, bottom = resize.window(mask.shape[1], mask.shape[0])
    if entry.sample.label and mask[top:bottom, left:right].any() and not preprocess_mask(mask, resize).any():
        square = f"{resize.size}×{resize.size}"
        return [(entry.masks[0], f"the defect vanishes at {square}: no pixel of the mask is left at this image size")]
    return []
