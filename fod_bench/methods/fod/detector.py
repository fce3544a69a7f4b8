"""What FOD has learned, as something to call on images; and the ways of scoring, made of what it says of their patches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from fod_bench.evaluation.maps import ScoreMaps
from fod_bench.methods.base import Batch
from fod_bench.methods.fod.correlations import correlations
from fod_bench.methods.fod.crew import CREW
from fod_bench.methods.fod.network import FODNetwork, ReferenceSide
from fod_bench.methods.fod.precision import Precision, matrix_products
from fod_bench.methods.fod.references.lookup import Lookup
from fod_bench.methods.fod.rules import Rule, rules
from fod_bench.methods.fod.score import PatchScores, image_scores, patch_scores, upsample, upsample_smoothed
from fod_bench.records.record import score_name


class FodDetector:
    """See `fod_bench.methods.base.Detector`."""

    def __init__(
        self,
        networks: Mapping[int, FODNetwork],
        references: Mapping[int, Lookup],
        precision: Precision,
        sides: Mapping[int, ReferenceSide] | None = None,
    ) -> None:
        """Networks by level, and references by level where the view has some; `sides`: see `prepared`."""
        self._networks, self._references, self._precision = networks, references, precision
        self._sides = sides

    def prepared(self) -> FodDetector:
        """See `fod_bench.methods.base.Preparable`: with what the networks make of references that are the same for all images."""
        return FodDetector(self._networks, self._references, self._precision, self._reference_sides())

    @torch.inference_mode()
    def parts(self, images: Batch) -> dict[str, Tensor]:
        """`<level>/<part>` (n, H, W): the reconstruction error, and the divergences that the view has.

        A GPU works on all images at once. On a CPU every image is worked on by itself, which its caches have room for, and as many
        side by side as PyTorch has threads; fewer images than that are worked on one after the other by all threads.
        """
        sides = self._reference_sides() if self._sides is None else self._sides
        count, device = len(images), next(iter(images.pooled.values())).device
        one_by_one = device.type == "cpu"
        pieces = [slice(at, at + 1) for at in range(count)] if one_by_one else [slice(None)]
        # the finest level first: at the end the threads then wait for each other least
        works = [(level, piece) for level in sorted(self._networks) for piece in pieces]
        given = {level: self._reference(level, images, sides) for level in self._networks}

        def score(work: tuple[int, slice]) -> PatchScores:
            level, piece = work
            reference = given[level]
            if isinstance(reference, Tensor):
                reference = reference[piece]
            # in memory of its own: where an image lies among others would change the last bits of a product on a CPU
            features = images.pooled[level][piece].flatten(1, 2).clone()  # (n or 1, N, C)
            return patch_scores(self._networks[level](features, reference), features)

        threads = torch.get_num_threads() if one_by_one else 1
        with matrix_products(self._precision, device):
            scored = CREW.map(score, works, threads if threads <= count else 1)
        found = {}
        for level in self._networks:
            of_level = [scores for (at, _), scores in zip(works, scored, strict=True) if at == level]
            for name, parts in zip(PatchScores._fields, zip(*of_level, strict=True), strict=True):
                if parts[0] is not None:
                    found[f"{level}/{name}"] = torch.cat(parts).view(images.pooled[level].shape[:3])
        return found

    def correlations(self, images: Batch, places: Sequence[tuple[float, float]]) -> dict[str, Tensor]:
        """See `fod_bench.methods.base.Correlating`: `<level>/intra` and `<level>/inter`, as far as the view has them."""
        found = {}
        for level, network in self._networks.items():
            grid = images.pooled[level][:1]  # (1, H, W, C)
            height, width = grid.shape[1:3]
            patches = [int(down * height) * width + int(across * width) for down, across in places]
            reference = self._reference(level, Batch({level: grid}), {})
            for branch, rows in correlations(network, grid.flatten(1, 2), reference, patches).items():
                found[f"{level}/{branch}"] = rows.unflatten(-1, (height, width))
        return found

    def _reference(
        self, level: int, images: Batch, sides: Mapping[int, ReferenceSide]
    ) -> Tensor | ReferenceSide | None:
        """What the level's network is given beside the features of the images; of an image as an entry of the first axis."""
        if not self._references:
            return None
        if level in sides:
            return sides[level]
        lookup = self._references[level]
        rows = images.reference_rows.get(level)
        return lookup.of(lookup.find(images.pooled[level]) if rows is None else rows.flatten(1))

    @torch.inference_mode()
    def _reference_sides(self) -> dict[int, ReferenceSide]:
        """By level, where the references do not depend on the image."""
        sides = {}
        for level, lookup in self._references.items():
            if not lookup.depends_on_image:
                reference = lookup.of(None)
                with matrix_products(self._precision, reference.device):
                    sides[level] = self._networks[level].reference_side(reference)
        return sides


@torch.inference_mode()
def scorings(
    setting: dict[str, Any], parts: Mapping[str, Tensor], image_size: int, only: str = ""
) -> Iterator[ScoreMaps]:
    """Every rule the view allows, on every subset of levels (Table 14); the paper's map is the mean over levels."""
    levels: list[int] = sorted(setting["levels"])
    subsets = [subset for count in range(1, len(levels) + 1) for subset in combinations(levels, count)]
    for rule in rules(setting["views"]):
        wanted = [subset for subset in subsets if only in ("", score_name(rule, subset))]
        if not wanted:
            continue
        grids = {level: _grid(parts, level, rule) for level in levels}
        maps = {level: upsample(grid, image_size) for level, grid in grids.items()}
        smoothed = {level: upsample_smoothed(grid, image_size) for level, grid in grids.items()}
        for subset in wanted:
            images = image_scores(_mean(smoothed, subset))
            yield ScoreMaps(score_name(rule, subset), _mean(maps, subset), images)


def _grid(parts: Mapping[str, Tensor], level: int, rule: Rule) -> Tensor:
    """Patch scores of a level by a rule (m, H, W)."""
    found = {name: parts[f"{level}/{name}"] for name in PatchScores._fields if f"{level}/{name}" in parts}
    shape = next(iter(found.values())).shape
    return PatchScores(**{name: part.flatten(1) for name, part in found.items()}).score(rule).view(shape)


def _mean(maps: dict[int, Tensor], levels: Sequence[int]) -> Tensor:
    """Mean over levels of (n, s, s) maps; a single level's map is returned as it is."""
    first, *others = (maps[level] for level in levels)
    if not others:
        return first
    total = first + others[0]
    for other in others[1:]:
        total += other
    return total.div_(len(levels))


def loaded_networks(networks: Mapping[int, nn.Module], weights: Mapping[str, Any]) -> None:
    """Load weights `<level>/<parameter>` into networks. Raises ValueError for weights of other networks."""
    for level, network in networks.items():
        own = {
            name.removeprefix(f"{level}/"): torch.from_numpy(array.copy())
            for name, array in weights.items()
            if name.startswith(f"{level}/")
        }
        try:
            network.load_state_dict(own)
        except RuntimeError as error:
            raise ValueError(f"the weights are of other networks: {str(error).splitlines()[0]}") from None
