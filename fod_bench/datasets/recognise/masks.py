"""Which masks belong to which defective images, wherever they lie."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from fod_bench.datasets.names import composed
from fod_bench.datasets.recognise.found import FoundCategory, FoundImage, FoundImages
from fod_bench.datasets.words import is_masks, split_of, unmasked


def with_masks(found: FoundImages, masks: list[tuple[tuple[str, ...], Path]]) -> list[Path]:
    """Give the defective images their masks; returns the masks that fit none. Masks of normal images are passed over."""
    owners: dict[str, list[tuple[FoundCategory, FoundImage]]] = defaultdict(list)
    for category in found.categories:
        for image in category.images:
            owners[composed(image.path.stem)].append((category, image))
    taken: dict[Path, list[Path]] = defaultdict(list)
    unused = []
    for parts, mask in masks:
        stem = composed(mask.stem)
        named = owners.get(unmasked(stem) or stem) or owners.get(stem)
        if not named:  # a folder of the image's name holds its masks
            named = owners.get(composed(parts[-1])) if parts else None
        best = _nearest(found.root, parts, named or [])
        if best is None:
            unused.append(mask)
        elif not best.good:
            taken[best.path].append(mask)
    for category in found.categories:
        category.images = [replace(image, masks=tuple(taken.get(image.path, ()))) for image in category.images]
    return unused


def _nearest(root: Path, parts: tuple[str, ...], named: list[tuple[FoundCategory, FoundImage]]) -> FoundImage | None:
    """Of the images of a mask's name the one with which it shares most folders; None where two share as many."""
    own = {part for part in parts if not is_masks(part) and split_of(part) is None}

    def shared(image: FoundImage) -> tuple[int, int, int]:
        above = image.path.relative_to(root).parts[:-1]
        together = next(
            (n for n, (a, b) in enumerate(zip(parts, above, strict=False)) if a != b), min(len(parts), len(above))
        )
        return len(own & set(above)), together, int(not image.good)

    ranked = sorted(((shared(image), image) for _, image in named), key=lambda pair: pair[0], reverse=True)
    if not ranked or (len(ranked) > 1 and ranked[0][0] == ranked[1][0]):
        return None
    return ranked[0][1]
