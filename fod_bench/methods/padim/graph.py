"""PaDiM as one graph of plain operations, from features to map and score."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fod_bench.methods.base import Batch
from fod_bench.methods.maps import blur_matrix, upsample

SIGMA = 4.0
"""Standard deviation of the map's blur, in pixels."""


class PadimGraph(nn.Module):
    """See `fod_bench.methods.base.Exportable`.

    A distance is the length of L⁻¹·(x − μ). The inverses are made once, in float64, since a graph has no triangular systems; and a
    graph whose size does not depend on them has one product for all positions.
    """

    def __init__(self, levels: Sequence[int], channels: Tensor, mean: Tensor, factor: Tensor, image_size: int) -> None:
        """Of which channels (d,), in which order, the means (P, d) and the Cholesky factors (P, d, d) are."""
        super().__init__()
        self._levels, self._size = sorted(levels), image_size
        identity = torch.eye(factor.shape[1], dtype=torch.float64)
        inverse = torch.linalg.solve_triangular(factor.double(), identity, upper=False).float()
        self.register_buffer("channels", channels.clone())
        self.register_buffer("mean", mean.clone())
        self.register_buffer("inverse", inverse)
        self.register_buffer("blur", blur_matrix(image_size, SIGMA))

    def forward(self, images: Batch) -> tuple[Tensor, Tensor]:
        features = [images.unpooled[level] for level in self._levels]  # (n, h, w, C), the finest first
        height, width = features[0].shape[1:3]
        laid = []
        for values in features:
            down, across = height // values.shape[1], width // values.shape[2]
            laid.append(values.repeat_interleave(down, 1).repeat_interleave(across, 2))
        kept = torch.cat(laid, -1).flatten(1, 2).index_select(2, self.get_buffer("channels"))  # (n, P, d)
        offsets = (kept - self.get_buffer("mean")).permute(1, 2, 0)  # (P, d, n)
        distances = (self.get_buffer("inverse") @ offsets).square().sum(1).sqrt().T  # (n, P)
        grids = distances.unflatten(1, (height, width))
        blur = self.get_buffer("blur")
        maps = blur @ upsample(grids, self._size, align_corners=False) @ blur.mT
        return maps, maps.flatten(1).amax(1)
