"""CFLOW as one graph of plain operations, from features to map and score."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fod_bench.methods.base import Batch
from fod_bench.methods.cflow.coupling import SHRINK, gains
from fod_bench.methods.cflow.network import Coupling, Flow, log_likelihood, position_code
from fod_bench.methods.maps import upsample


class CflowGraph(nn.Module):
    """See `fod_bench.methods.base.Exportable`. What likelihoods are compared with is part of it."""

    def __init__(self, flows: Mapping[int, Flow], peaks: Mapping[int, float], largest: float, image_size: int) -> None:
        """Of the levels that are scored: flows, the largest likelihoods of the test set, and its largest sum over the levels."""
        super().__init__()
        self._levels, self._largest, self._size = sorted(flows), largest, image_size
        self._peaks = [peaks[level] for level in self._levels]
        self.flows = nn.ModuleList(copy.deepcopy(flows[level]) for level in self._levels)
        for level in self._levels:
            side = image_size // level
            code = position_code(flows[level].shape.condition, side, side, torch.device("cpu"))
            self.register_buffer(f"code_{level}", code.clone())

    def forward(self, images: Batch) -> tuple[Tensor, Tensor]:
        total = None
        for level, flow, peak in zip(self._levels, self.flows, self._peaks, strict=True):
            features = images.unpooled[level]  # (n, H, W, C)
            count, height, width, _ = features.shape
            rows, condition = features.flatten(0, 2), self.get_buffer(f"code_{level}").repeat(count, 1)
            log_jacobian = torch.zeros_like(rows[:, 0])
            for block in flow.blocks:  # type: ignore[union-attr]
                rows, added = _couple(block, rows, condition)
                log_jacobian = log_jacobian + added
            grid = log_likelihood(rows, log_jacobian).view(count, height, width)
            likely = upsample((grid - peak).exp(), self._size, align_corners=True)
            total = likely if total is None else total + likely
        assert total is not None
        maps = self._largest - total
        return maps, maps.flatten(1).amax(1)


def _couple(block: Coupling, rows: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
    """`couple`, whose equations stand there, without gradients of its own."""
    half = rows.shape[1] // 2
    kept, moved = rows.split((rows.shape[1] - half, half), 1)
    hidden = block.hidden(torch.cat((kept, condition), 1)).relu()
    bend, shift = (block.output(hidden) * SHRINK).split(half, 1)
    stretch = block.clamp * bend.tanh()
    gain = gains(block.scale)
    changed = torch.cat((kept, moved * stretch.exp() + shift), 1)
    return (changed * gain + block.offset) @ block.rotation.T, stretch.sum(1) + gain.log().sum()
