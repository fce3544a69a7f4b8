"""From an image to its map: the gradient of the score by the image in one of three ways, brought to one channel and smoothed.

Every image is treated by itself. Shape letters: n images, h×w their pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional

from fod_bench.methods.maps import gaussian

Scores = Callable[[Tensor], Tensor]
"""Scores (n,) of images (n, 3, h, w) in [0, 1], each of its own image only."""

_UPPER = 0.99


def gradients(scores: Scores, images: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of scores by their images (n, 3, h, w), and the scores (n,).

    Works under `no_grad` and `inference_mode` too: neither holds inside, and tensors made under the latter are copied.
    """
    with torch.inference_mode(False), torch.enable_grad():
        given = images.detach().clone().requires_grad_()
        found = scores(given)
        (gradient,) = torch.autograd.grad(found.sum(), given)
        return gradient, found.detach()


def to_one_channel(gradient: Tensor, scaled: bool) -> Tensor:
    """Sum of absolute values over the channels of (n, 3, h, w); scaled from its minimum to its 99th percentile and cut to
    [0, 1], zero where these are equal. (n, h, w)."""
    values = gradient.abs().sum(1)
    if not scaled:
        return values
    ordered = values.flatten(1).sort(1).values  # (n, h w)
    place = _UPPER * (ordered.shape[1] - 1)
    below = int(place)
    low, high = ordered[:, below], ordered[:, min(below + 1, ordered.shape[1] - 1)]
    return _scaled(values, ordered[:, 0], low + (place - below) * (high - low)).clamp(0, 1)


def between_extremes(maps: Tensor) -> Tensor:
    """Absolute values of maps (n, h, w), each scaled from its minimum to its maximum; zero where these are equal."""
    values = maps.abs()
    return _scaled(values, values.amin((1, 2)), values.amax((1, 2)))


def _scaled(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Maps (n, h, w) from `low` (n,) to `high` (n,); 0 where there is nothing between."""
    low, span = low[:, None, None], (high - low)[:, None, None]
    return torch.where(span > 0, (values - low) / torch.where(span > 0, span, 1), 0)


def noise_deviation(images: Tensor, noise: float) -> Tensor:
    """Standard deviation (n,) of SmoothGrad's noise on images (n, 3, h, w): (noise / (max − min))², as the published code has it.
    Zero for an image of one value, for which that is not a number."""
    values = images.flatten(1)
    span = values.amax(1) - values.amin(1)
    return torch.where(span > 0, noise / torch.where(span > 0, span, 1), 0).square()


def noise_draws(shape: torch.Size, samples: int) -> Iterable[Tensor]:
    """Standard normal noise of an image's `shape` (3, h, w), draw after draw. A draw depends on its number alone and is made on a
    CPU, so every image gets the same noise, in whatever batch, training or place it is scored."""
    for number in range(samples):
        yield torch.randn(shape, generator=torch.Generator().manual_seed(number))


def smooth_grad(scores: Scores, images: Tensor, noise: float, draws: Iterable[Tensor], scaled: bool) -> Tensor:
    """SmoothGrad (Smilkov et al., 2017): mean over draws of the one-channel gradients of noisy images, which are not clipped;
    (n, h, w). Each draw's gradient is brought to one channel, and scaled, before the mean.

    Args:
        draws: standard normal noise, each (3, h, w).
    """
    deviation = noise_deviation(images, noise)[:, None, None, None]
    sums, count = torch.zeros_like(images[:, 0]), 0
    for draw in draws:
        gradient, _ = gradients(scores, images + deviation * draw.to(images))
        sums, count = sums + to_one_channel(gradient, scaled), count + 1
    return sums / count


def smoothed(maps: Tensor, sigma: float, opening: bool) -> Tensor:
    """Maps (n, h, w) after a Gaussian of `sigma` pixels and, where wanted, the opening."""
    blurred = gaussian(maps, sigma)
    return opened(blurred) if opening else blurred


def opened(maps: Tensor) -> Tensor:
    """Grey-scale opening of maps (n, h, w) by the 3×3 cross; pixels outside an image count for nothing.

    The published code opens every thresholded map by this cross. Thresholds commute with opening, so one opening of the map is the
    same for all of them.
    """
    return _dilated(-_dilated(-maps))


def _dilated(maps: Tensor) -> Tensor:
    """Maximum over each pixel and its four neighbours."""
    lines = maps[:, None]
    down = functional.max_pool2d(lines, (3, 1), 1, (1, 0))
    across = functional.max_pool2d(lines, (1, 3), 1, (0, 1))
    return torch.maximum(down, across)[:, 0]
