"""Which layout reads a folder of images as it is, judged by the layouts themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fod_bench.datasets.catalogue import PUBLISHED, category_names, open_category
from fod_bench.datasets.files import FileCategory
from fod_bench.datasets.folder import FOLDER, FolderSettings
from fod_bench.datasets.recognise.found import FoundImages
from fod_bench.datasets.walk import folders, subfolders, visible_files
from fod_bench.errors import DatasetError


@dataclass(frozen=True)
class Proposal:
    """How a job names a data set."""

    layout: str
    root: Path
    categories: tuple[str, ...] = ()
    """Empty for all that are there."""
    own: FolderSettings = field(default_factory=FolderSettings)
    left_out: tuple[str, ...] = ()
    """Folders of images beside it, as paths below the folder that was looked at."""

    @property
    def names(self) -> list[str]:
        return list(self.categories) or category_names(self.layout, self.root, own=self.own)

    def require(self) -> None:
        """Raises DatasetError where a category cannot be opened."""
        for name in self.names:
            open_category(self.layout, self.root, name, own=self.own)


def published(root: Path) -> Proposal | None:
    """One of the published sets, or some of its categories, if that is what lies in `root` or one folder below it.

    Some categories beside other folders of images are somebody's own: a product may be called `screw` as one of MVTec AD's is.
    A set that is whole, or lies as its publisher alone has it, is taken all the same, and what lies beside it is named.
    """
    for place in (root, *(root / name for name in folders(root))):
        for layout, form in PUBLISHED.items():
            there = [name for name in form.published if name in folders(place)]
            whole = there == list(form.published)
            proposal = Proposal(layout, place, () if whole else tuple(there), left_out=_beside(root, place, there))
            own_form = not form.images.endswith("{type}")
            if there and (whole or own_form or not proposal.left_out) and _opens(proposal):
                return proposal
    return None


def _beside(root: Path, place: Path, names: list[str]) -> tuple[str, ...]:
    """Folders with images in `place`, but for those of these names, and in `root`, where `place` lies below it."""
    found = [place / name for name in folders(place) if name not in names]
    if place != root:
        found += [root / name for name in folders(root) if root / name != place]
    return tuple(path.relative_to(root).as_posix() for path in found if _has_images(path))


def _has_images(folder: Path) -> bool:
    places = (folder, *(folder / name for name in subfolders(folder)))
    return any(path.suffix.lower() in FOLDER.image_types for place in places for path in visible_files(place))


def as_it_lies(found: FoundImages) -> Proposal | None:
    """Layout `folder` with the names that it needs, where it reads every image, and every mask, as what was recognised."""
    wanted = {(image.path, image.good, image.masks) for category in found.categories for image in category.images}
    optional = _some_masks(found)
    for own in _names_to_try(found, optional):
        for root in _roots(found):
            proposal = Proposal("folder", root, own=own)
            if _read_by(proposal) == wanted and not found.unused_masks:
                return proposal
    return None


def arranged(found: FoundImages, target: Path) -> Proposal:
    """What names the folder of links that `arrange` makes of the images."""
    return Proposal("folder", target, own=FolderSettings(masks="optional" if _some_masks(found) else "required"))


def _some_masks(found: FoundImages) -> bool:
    """Whether a category has masks for some of its defective images only."""
    masked = ({bool(image.masks) for image in category.bad} for category in found.categories)
    return any(len(each) > 1 for each in masked)


def _names_to_try(found: FoundImages, optional: bool) -> Iterator[FolderSettings]:
    masks = "optional" if optional else "required"
    images = [image for category in found.categories for image in category.images]
    good = tuple(sorted({image.folder for image in images if image.good}))
    bad = tuple(sorted({image.folder for image in images if not image.good}))
    yield FolderSettings(masks=masks)  # type: ignore[arg-type]
    if good and all(good):
        yield FolderSettings(good=good, masks=masks)  # type: ignore[arg-type]
        if bad and all(bad):
            yield FolderSettings(good=good, bad=bad, masks=masks)  # type: ignore[arg-type]


def _roots(found: FoundImages) -> Iterator[Path]:
    """The folder given, and those on the way to the images while each holds one folder only."""
    root = found.root
    yield root
    while len(below := folders(root)) == 1:
        root = root / below[0]
        yield root


def _opens(proposal: Proposal) -> bool:
    try:
        proposal.require()
    except (DatasetError, OSError):
        return False
    return True


def _read_by(proposal: Proposal) -> set[tuple[Path, bool, tuple[Path, ...]]] | None:
    """The images and masks that a proposal's layout reads."""
    read = set()
    try:
        for name in proposal.names:
            category = open_category(proposal.layout, proposal.root, name, own=proposal.own)
            assert isinstance(category, FileCategory)
            for sample, image, masks in category.paths():
                read.add((image, not sample.label, masks if sample.label else ()))
    except (DatasetError, OSError):
        return None
    return read
