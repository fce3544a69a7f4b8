"""From a grid of patch scores to a map of the image's size: what several methods have in common."""

from __future__ import annotations

from functools import lru_cache

import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor
from torch.nn import functional


def upsample(grids: Tensor, size: int, *, align_corners: bool) -> Tensor:
    """Bilinear from (n, H, W) to (n, size, size)."""
    return functional.interpolate(grids[:, None], size=(size, size), mode="bilinear", align_corners=align_corners)[:, 0]


def gaussian(maps: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of maps (n, h, w), each by itself: `scipy.ndimage.gaussian_filter` with its defaults, i.e. a radius of
    int(4 sigma + 0.5) pixels and borders mirrored with the edge repeated."""
    rows, columns = (_blur(length, sigma, maps.device, maps.dtype) for length in maps.shape[1:])
    return rows @ maps @ columns.mT


def blur_matrix(length: int, sigma: float) -> Tensor:
    """The blur of one axis by `gaussian` as a matrix (length, length) of float32."""
    return _blur(length, sigma, torch.device("cpu"), torch.float32).clone()


@lru_cache(maxsize=16)
def _blur(length: int, sigma: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The blur of one axis (length, length), from float64. Kept where it is used, or each call would wait for it."""
    with torch.inference_mode(False):  # kept for later calls, which may be in another mode
        matrix = gaussian_filter1d(torch.eye(length, dtype=torch.float64).numpy(), sigma, axis=0)
        return torch.from_numpy(matrix).to(device, dtype)
