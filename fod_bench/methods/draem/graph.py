"""DRAEM as one graph of plain operations, from images to map and score."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fod_bench.methods.base import Batch
from fod_bench.methods.draem.network import Networks

POOLED = 21
"""Pixels of a side of the square whose largest mean is the image's score."""


class DraemGraph(nn.Module):
    """See `fod_bench.methods.base.Exportable`."""

    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.networks = networks.eval()

    def forward(self, images: Batch) -> tuple[Tensor, Tensor]:
        assert images.images is not None
        _, logits = self.networks(images.images.permute(0, 3, 1, 2).float() / 255)
        maps = torch.softmax(logits, 1)[:, 1]
        return maps, image_scores(maps)


def image_scores(maps: Tensor) -> Tensor:
    """Of maps (n, H, W) the largest mean over 21×21 pixels, (n,). Pixels outside of the image count as zeros."""
    pooled = functional.avg_pool2d(maps[:, None], POOLED, stride=1, padding=POOLED // 2)
    return pooled.amax((1, 2, 3))
