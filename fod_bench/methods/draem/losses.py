"""DRAEM's losses as the authors' code has them: squared error and SSIM of the reconstruction, focal loss of the segmentation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_WINDOW, _SIGMA = 11, 1.5
_K1, _K2 = 0.01, 0.03
_SMOOTH = 1e-5


class Losses(NamedTuple):
    """Each a scalar."""

    total: Tensor
    """What a step descends: the sum of the other three."""
    l2: Tensor
    ssim: Tensor
    focal: Tensor


def losses(reconstruction: Tensor, logits: Tensor, clean: Tensor, mask: Tensor) -> Losses:
    """Losses of a batch: the reconstruction of the augmented images and the clean ones, (n, 3, H, W); logits (n, 2, H, W);
    mask (n, 1, H, W) of 0 and 1."""
    l2 = functional.mse_loss(reconstruction, clean)
    ssim = ssim_loss(reconstruction, clean)
    focal = focal_loss(torch.softmax(logits, 1), mask)
    return Losses(l2 + ssim + focal, l2, ssim, focal)


def ssim_loss(reconstruction: Tensor, images: Tensor) -> Tensor:
    """One minus the mean structural similarity of two batches (n, C, H, W), with a Gaussian window and zero padding.

    The range L of the values is guessed from the whole batch of reconstructions, as in the authors' code: from -1 or 0, by whether
    a value is below -0.5, to 255 or 1, by whether one is above 128.
    """
    x, y = reconstruction.flatten(0, 1), images.flatten(0, 1)  # (n·C, H, W)
    mean_x, mean_y, xx, yy, xy = _blurred(torch.stack((x, y, x * x, y * y, x * y)))
    with torch.no_grad():
        high = torch.where(x.max() > 128, 255.0, 1.0)
        low = torch.where(x.min() < -0.5, -1.0, 0.0)
        c1, c2 = ((k * (high - low)).square().to(x.dtype) for k in (_K1, _K2))
    variances = (xx - mean_x.square()) + (yy - mean_y.square())
    covariance = xy - mean_x * mean_y
    upper = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    lower = (mean_x.square() + mean_y.square() + c1) * (variances + c2)
    return 1 - (upper / lower).mean()


def _blurred(maps: Tensor) -> Tensor:
    """Maps (…, H, W) under the Gaussian window, zeros around them.

    As products with a banded matrix along each axis, which are faster than convolutions of a single channel.
    """
    rows, columns = (_window(length, maps) for length in maps.shape[-2:])
    return rows @ maps @ columns


def _window(length: int, like: Tensor) -> Tensor:
    """The normalised window of 11 values around each of an axis, (length, length); symmetric."""
    reach = _WINDOW // 2
    positions = torch.arange(max(length, _WINDOW), dtype=like.dtype, device=like.device)
    distances = positions[:, None] - positions
    window = torch.exp(-distances.square() / (2 * _SIGMA**2)) * (distances.abs() <= reach)
    whole = window[reach, :_WINDOW].sum()  # a row that the window lies in
    return window[:length, :length] / whole


def focal_loss(probabilities: Tensor, mask: Tensor) -> Tensor:
    """Focal loss with γ = 2 and equal weights: mean over pixels of -(1 - q)² log q, q the probability of a pixel's own class.

    Args:
        probabilities: (n, 2, H, W), after the softmax.
        mask: (n, 1, H, W) of 0 and 1.
    """
    own = mask.to(probabilities.dtype).clamp(_SMOOTH, 1 - _SMOOTH)  # labels are smoothed
    other = (1 - mask.to(probabilities.dtype)).clamp(_SMOOTH, 1 - _SMOOTH)
    q = other[:, 0] * probabilities[:, 0] + own[:, 0] * probabilities[:, 1] + _SMOOTH  # (n, H, W)
    return -((1 - q).square() * q.log()).mean()
