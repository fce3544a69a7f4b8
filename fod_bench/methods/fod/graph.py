"""FOD as one graph of plain operations, from pooled features to map and score."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fod_bench.errors import TrialError
from fod_bench.methods.base import Batch, Context
from fod_bench.methods.fod.correlation.plain import correlate_plain
from fod_bench.methods.fod.network import FODNetwork, branches_of
from fod_bench.methods.fod.references.base import FixedReference
from fod_bench.methods.fod.rules import Rule
from fod_bench.methods.fod.score import patch_scores, smoothing_matrix, upsample
from fod_bench.methods.fod.target import target_factors_plain


class FodGraph(nn.Module):
    """See `fod_bench.methods.base.Exportable`. References are part of it; they are the same for every image."""

    def __init__(
        self, networks: Mapping[int, FODNetwork], references: Mapping[int, Tensor], rule: Rule, image_size: int
    ) -> None:
        """Of the levels that are scored: networks, and references (1, N·M, C) where the view has some."""
        super().__init__()
        self._levels, self._rule, self._size = sorted(networks), rule, image_size
        self.networks = nn.ModuleList(copy.deepcopy(networks[level]).eval() for level in self._levels)
        for branch in branches_of(self.networks):
            branch.correlate, branch.target_factors = correlate_plain, target_factors_plain
        for level in self._levels:
            self.register_buffer(f"reference_{level}", references.get(level))
            shape = networks[level].shape
            for axis, length in (("rows", shape.height), ("columns", shape.width)):
                matrix = smoothing_matrix(length, image_size, torch.device("cpu"), torch.float32)
                self.register_buffer(f"{axis}_{level}", matrix.clone())

    def forward(self, images: Batch) -> tuple[Tensor, Tensor]:
        maps, smoothed = [], []
        for level, network in zip(self._levels, self.networks, strict=True):
            grid = images.pooled[level]  # (n, H, W, C)
            features = grid.flatten(1, 2)  # (n, N, C)
            output = network(features, self.get_buffer(f"reference_{level}") if network.ref_embed is not None else None)
            scores = patch_scores(output, features).score(self._rule).view(grid.shape[:3])
            maps.append(upsample(scores, self._size))
            smoothed.append(self.get_buffer(f"rows_{level}") @ scores @ self.get_buffer(f"columns_{level}").mT)
        mean, blurred = (torch.stack(found).mean(0) for found in (maps, smoothed))
        return mean, blurred.flatten(1).amax(1)


def graph_of(setting: dict[str, Any], networks: Mapping[int, FODNetwork], context: Context, score: str) -> FodGraph:
    """The graph of one scoring. Raises `TrialError` for references that depend on the image."""
    rule, _, levels = score.partition("@")
    chosen = [int(level) for level in levels.split("+")]
    references: dict[int, Tensor] = {}
    if context.reference is not None:
        for level in chosen:
            found = context.reference.levels[level]
            if not isinstance(found, FixedReference):
                kind = setting.get("reference", {}).get("kind", "these")
                raise TrialError(
                    f"references of kind `{kind}` are looked up anew for each image, and that search has no graph; those of kind "
                    "`mean`, `coreset` and `prototype` have one"
                )
            references[level] = torch.from_numpy(found.features.copy()).flatten(0, 2)[None]
    return FodGraph({level: networks[level] for level in chosen}, references, rule, context.image_size)  # type: ignore[arg-type]
