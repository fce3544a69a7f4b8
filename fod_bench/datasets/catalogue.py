"""The data sets there are: their names, their categories, what was published about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from fod_bench.datasets.base import Category, SampleLimit
from fod_bench.datasets.btad import BTAD
from fod_bench.datasets.bucket import bucket_root, open_in_bucket
from fod_bench.datasets.checks import Fault, check_files, describe_files
from fod_bench.datasets.files import on_disk, open_files, require_root, strangers
from fod_bench.datasets.findings import summed
from fod_bench.datasets.folder import FOLDER, FolderLayout, FolderSettings, folder_layout
from fod_bench.datasets.layout import Layout
from fod_bench.datasets.mvtec import MVTEC
from fod_bench.datasets.mvtec3d import MVTEC3D
from fod_bench.datasets.names import not_shown
from fod_bench.datasets.preprocess import Resize, ResizeMode
from fod_bench.datasets.synthetic.category import SYNTHETIC_CATEGORIES, SyntheticCategory, SyntheticSettings
from fod_bench.errors import DatasetError
from fod_bench.records.record import Counts
from fod_bench.store.address import is_bucket
from fod_bench.text import has_control

_LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (MVTEC, BTAD, MVTEC3D, FOLDER)}
"""Layouts of files on disk; a new one is a file of its own and a name here."""
PUBLISHED: dict[str, Layout] = {name: layout for name, layout in _LAYOUTS.items() if layout.published}
"""Those of published sets."""
FILE_LAYOUTS: tuple[str, ...] = tuple(_LAYOUTS)
LAYOUT_NAMES: tuple[str, ...] = (*_LAYOUTS, "synthetic")
if TYPE_CHECKING:
    LayoutName: TypeAlias = str
else:
    LayoutName = Literal[LAYOUT_NAMES]
    """As a field of a job has it."""


def open_category(
    layout: str,
    root: str | Path | None,
    name: str,
    *,
    limit: SampleLimit | None = None,
    synthetic: SyntheticSettings | None = None,
    own: FolderSettings | None = None,
) -> Category:
    """The category `name` of a data set of `layout` at `root` (not needed for synthetic), limited to `limit`.

    `own` says which folders of a data set of layout folder are taken as what. Raises DatasetError naming the folder or
    image and what was expected: no such root or category, no training or test images, a defective image without a
    mask where others have one.
    """
    if layout == "synthetic":
        return SyntheticCategory(name, synthetic or SyntheticSettings()).limited(limit)
    form = _layout(layout, root, own)
    if is_bucket(str(root)):
        return open_in_bucket(form, str(root), name, limit)
    return open_files(form, Path(str(root)).expanduser(), name, limit)


def category_names(
    layout: str,
    root: str | Path | None = None,
    synthetic: SyntheticSettings | None = None,
    own: FolderSettings | None = None,
) -> list[str]:
    """Names of the categories: the published ones of the known sets, what is on disk for layout folder.

    A root that is a category itself is a data set of one, which has the folder's name.

    Raises DatasetError when a folder data set has no root or no category.
    """
    if layout == "synthetic":
        return list(SYNTHETIC_CATEGORIES)
    if layout in _LAYOUTS and _LAYOUTS[layout].published:
        return list(_LAYOUTS[layout].published)
    with _on_disk_layout(layout, root, own) as (form, folder):
        require_root(form, folder)
        names = on_disk(form, folder)
        if not names:
            raise DatasetError(f"{folder} holds no category: {form.root_advice(folder)}")
        for name in names:
            if has_control(name):
                raise DatasetError(f"{folder}: category {not_shown(name)}")
        return names


def expected_counts(layout: str, category: str) -> Counts | None:
    """Published numbers of images; None where there are none (layouts folder and synthetic, unknown category)."""
    return _LAYOUTS[layout].published.get(category) if layout in _LAYOUTS else None


def resize_of(layout: str, size: int, mode: ResizeMode | Literal["auto"], shorter_side: int | None = None) -> Resize:
    """How images of the layout become squares of `size` pixels; `auto` is what the authors' code does with the data set.

    A crop is made of images whose shorter side has `shorter_side` pixels, or `size` where that is None.
    """
    if mode == "auto":
        mode = _LAYOUTS[layout].resize if layout in _LAYOUTS else "stretch"
    return Resize(size, None if mode == "stretch" else shorter_side or size)


def check(
    layout: str,
    root: str | Path,
    categories: Iterable[str] | None = None,
    own: FolderSettings | None = None,
    resize: Resize = Resize(256),  # noqa: B008 - a frozen value
) -> list[Fault]:
    """Every fault of the data set at `root`, empty when it is sound. Decodes every image and mask.

    `resize`: the squares in which every defect is to leave at least one pixel, unless a crop leaves it out.

    Raises DatasetError when there is nothing to check: no such folder, no category in it.
    """
    with _on_disk_layout(layout, root, own) as (form, folder):
        return check_files(form, folder, categories, resize)


def root_notes(layout: str, root: str | Path, own: FolderSettings | None = None) -> list[str]:
    """What lies at the root of a data set and is in no category, a line each; of a published one only what is never opened."""
    with _on_disk_layout(layout, root, own) as (form, folder):
        found = strangers(form, folder) if folder.is_dir() else []
        return summed((one for one in found if isinstance(form, FolderLayout) or one.kind == "special"), folder)


def describe(
    layout: str, root: str | Path, categories: Iterable[str] | None = None, own: FolderSettings | None = None
) -> list[str]:
    """A line for each category that is there: how many images it holds, which folders were taken as what."""
    with _on_disk_layout(layout, root, own) as (form, folder):
        return describe_files(form, folder, categories)


def absolute_root(root: str | None) -> str | None:
    """The same root, as a process with another working folder finds it."""
    return root if root is None or is_bucket(root) else str(Path(root).absolute())


def root_fault(root: str | None) -> str | None:
    """Why there is no data set at a root at all; None where one may be. Layout synthetic has no root, and so no fault."""
    if root is None:
        return None
    if not is_bucket(root):
        return None if Path(root).is_dir() else f"there is no folder {root}"
    try:
        bucket_root(root)
    except DatasetError as error:
        return str(error)
    return None


@contextmanager
def _on_disk_layout(layout: str, root: str | Path | None, own: FolderSettings | None) -> Iterator[tuple[Layout, Path]]:
    """The layout, and the folder with the data set or, of one in a bucket, with the names of its files."""
    form = _layout(layout, root, own)
    if is_bucket(str(root)):
        found = bucket_root(str(root))
        with found.told():
            yield form, found.names
    else:
        yield form, Path(str(root)).expanduser()


def _layout(layout: str, root: str | Path | None, own: FolderSettings | None) -> Layout:
    if layout not in _LAYOUTS:
        raise DatasetError(f"layout {layout!r} is not one of those on disk: {', '.join(_LAYOUTS)}")
    if root is None:
        raise DatasetError(f"a data set of layout {layout} needs a root: {_LAYOUTS[layout].form}")
    return folder_layout(own) if layout == FOLDER.name else _LAYOUTS[layout]
