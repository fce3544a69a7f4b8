"""Everything that is wrong with a data set on disk, found in one walk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fod_bench.datasets.files import category_folder, on_disk, read_mask_of, require_root, shared_mask
from fod_bench.datasets.images import read_rgb
from fod_bench.datasets.layout import Entry, Layout, Scan, folders
from fod_bench.errors import DatasetError


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a data set."""

    category: str
    path: Path
    problem: str

    def __str__(self) -> str:
        return f"{self.category}: {self.path}: {self.problem}"


def check_files(layout: Layout, root: Path, categories: Iterable[str] | None) -> list[Fault]:
    """Every fault of `categories` (default: all) below `root`; every picture and mask is decoded.

    Raises DatasetError when `root` itself cannot be used.
    """
    require_root(layout, root)
    names = list(categories) if categories is not None else list(layout.published) or on_disk(root)
    faults: list[Fault] = []
    if categories is None:
        if not names:
            raise DatasetError(f"{root} holds no category: {layout.form}")
        strangers = sorted(set(folders(root)) - set(names))
        faults += [Fault(name, root / name, f"not a category: {layout.form}") for name in strangers]
    for name in names:
        try:
            folder = category_folder(layout, root, name)
        except DatasetError as error:
            faults.append(Fault(name, root / name, str(error)))
            continue
        scan = layout.scan(folder)
        faults += [Fault(name, path, problem) for path, problem in _structure(layout, folder, scan)]
        with ThreadPoolExecutor(max_workers=min(8, 2 * (os.cpu_count() or 1))) as pool:
            for found in pool.map(_content, scan.entries):
                faults += [Fault(name, path, problem) for path, problem in found]
    return faults


def _structure(layout: Layout, folder: Path, scan: Scan) -> Iterator[tuple[Path, str]]:
    """Faults that the names and numbers of the files show."""
    train = [entry for entry in scan.entries if entry.sample.split == "train"]
    good = [entry for entry in scan.entries if entry.sample.split == "test" and not entry.sample.label]
    defects = [entry for entry in scan.entries if entry.sample.label]
    for kind, entries in (("training", train), ("normal test", good), ("defective test", defects)):
        if not entries:
            yield folder, f"no {kind} pictures: {layout.form}"
    for path in scan.unknown:
        yield path, f"does not belong here: {layout.form}"
    for path in scan.unused_masks:
        yield path, "mask without a picture of its own"
    for first, second in scan.shared_masks():
        yield second.picture, shared_mask(first, second)
    published = layout.published.get(folder.name)
    if published is not None:
        for kind, found, expected in (
            ("training", len(train), published.train),
            ("normal test", len(good), published.test_good),
            ("defective test", len(defects), published.test_defect),
        ):
            if found != expected:
                yield folder, f"{found} {kind} pictures, {expected} were published"


def _content(entry: Entry) -> list[tuple[Path, str]]:
    """Faults that decoding the picture and its mask shows."""
    try:
        read_rgb(entry.picture)
    except DatasetError as error:
        return [(entry.picture, str(error))]
    if entry.mask is None:
        missing = f"defective picture without a mask: looked for {entry.wanted}"
        return [(entry.picture, missing)] if entry.sample.label else []
    try:
        marked = bool(read_mask_of(entry.picture, entry.mask).any())
    except DatasetError as error:
        return [(entry.mask, str(error))]
    if marked and not entry.sample.label:
        return [(entry.mask, "the mask of a normal picture marks a defect")]
    if entry.sample.label and not marked:
        return [(entry.mask, "the mask is empty, its picture is a defective one")]
    return []
