"""Anomaly scores per patch (Eq. 12 and its single-view forms), and maps and image scores made of them."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor
from torch.nn import functional

from fod_bench.methods import maps
from fod_bench.methods.fod.network import NetworkOutput
from fod_bench.methods.fod.rules import Rule
from fod_bench.methods.fod.train import reconstruction_error

SMOOTHING_SIGMA = 4.0
"""Standard deviation, in pixels, of the Gaussian blur before the maximum that is the image score."""


class PatchScores(NamedTuple):
    """Parts of the anomaly score, each (B, N); the parts of a branch the view lacks are None."""

    reconstruction: Tensor
    intra_divergence: Tensor | None = None
    inter_divergence: Tensor | None = None

    @property
    def intra_weight(self) -> Tensor | None:
        """softmax over patches of −Div^g: an anomaly's intra-correlation stays close to the target."""
        return None if self.intra_divergence is None else torch.softmax(-self.intra_divergence, -1)

    @property
    def inter_weight(self) -> Tensor | None:
        """max(w) − w, w = softmax over patches of −Div^e: an anomaly correlates with no reference."""
        if self.inter_divergence is None:
            return None
        weight = torch.softmax(-self.inter_divergence, -1)
        return weight.amax(-1, keepdim=True) - weight

    def score(self, rule: Rule) -> Tensor:
        """Anomaly score of every patch (B, N), larger is more anomalous.

        `rec`: reconstruction error. `div`: the branch's weight; with both branches their product. `rec_div`: Eq. 12,
        the error times the inter-weight, or times the intra-weight where there is no inter-branch. `rec_div_printed`: the error
        times 1 − w, w = softmax over patches of −Div^e, which is the weight as the paper prints Eq. 12.

        Raises:
            ValueError: the rule needs a divergence that the view does not have.
        """
        if rule == "rec":
            return self.reconstruction
        if rule == "rec_div_printed":
            if self.inter_divergence is None:
                raise ValueError(f"the rule {rule!r} needs the inter-image divergence, which the view does not have")
            return self.reconstruction * (1 - torch.softmax(-self.inter_divergence, -1))
        weights = [weight for weight in (self.intra_weight, self.inter_weight) if weight is not None]
        if not weights:
            raise ValueError(f"the rule {rule!r} needs a divergence, which the view 'patch' does not have")
        if rule == "rec_div":
            return self.reconstruction * weights[-1]
        return torch.stack(weights).prod(0)


def patch_scores(output: NetworkOutput, features: Tensor) -> PatchScores:
    """Score parts of `features` (B, N, C) from the network's output."""
    intra = None if output.intra is None else output.intra.target_divergence
    inter = None if output.inter is None else output.inter.target_divergence
    return PatchScores(reconstruction_error(output.reconstruction, features), intra, inter)


def upsample(level_map: Tensor, size: int) -> Tensor:
    """Bilinear (aligned corners) from (n, H, W) to (n, size, size)."""
    return maps.upsample(level_map, size, align_corners=True)


def upsample_smoothed(level_map: Tensor, size: int) -> Tensor:
    """`upsample`, then a Gaussian blur of `SMOOTHING_SIGMA` pixels with reflected borders: (n, H, W) to (n, size, size).

    Both are linear along each axis, so together they are one small matrix per axis; and the blur of a mean over levels is the mean
    of the levels' blurs.
    """
    like = level_map.device, level_map.dtype
    rows, columns = (smoothing_matrix(length, size, *like) for length in level_map.shape[1:])
    return rows @ level_map @ columns.mT


def image_scores(smoothed: Tensor) -> Tensor:
    """Maximum of each smoothed map (n, s, s): (n,)."""
    return smoothed.flatten(1).amax(1)


@lru_cache(maxsize=16)
def smoothing_matrix(length: int, size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Upsampling and blur of one axis (size, length), from float64. Kept where it is used, or each call would wait for it."""
    with torch.inference_mode(False):  # kept for later calls, which may be in another mode
        grid = torch.eye(length, dtype=torch.float64)[None]  # (1, length, length), a row for each patch
        upsampled = functional.interpolate(grid, size=size, mode="linear", align_corners=True)[0]  # (length, size)
        matrix = gaussian_filter1d(upsampled.numpy(), SMOOTHING_SIGMA, axis=1).T.copy()
        return torch.from_numpy(matrix).to(device, dtype)
