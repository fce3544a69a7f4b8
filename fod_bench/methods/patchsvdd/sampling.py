"""Which patches a training step sees. Every sample has a generator of its own, of (seed, epoch, number of the sample).

A sample is one image with four crops, each drawn by itself: for both patch sizes K a pair for the position loss and a pair for the
SVDD loss. Draws are made on the host, so that they are the same for every device. Shape letters: B samples, s the image's
side, N training images.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fod_bench.methods.patchsvdd.cost import CLASSES, PATCHES

Numbers = NDArray[np.int64]

DIRECTIONS: Numbers = np.array([(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)], np.int64)
"""Rows and columns by which the classes of relative positions point."""
NOISE = 0.02
"""Standard deviations of a patch's colour shift and of its noise, where an image's values span 1."""
_ORDER, _CROPS = 0, 1  # first word of a generator's seed: numpy takes one that is short as if zeros followed


class Pair(NamedTuple):
    """Upper left corners of two patches."""

    first: Numbers
    """(B, 2), row and column."""
    second: Numbers
    """(B, 2)."""


class Draws(NamedTuple):
    """What was drawn for the samples of a step, for one patch size K."""

    position: Pair
    label: Numbers
    """(B,), the class of the second patch's position."""
    shift: Tensor
    """(2, B, 3): by how much the colours of the first and second patches are moved."""
    noise: Tensor
    """(2, B, 3, K, K): added to their values."""
    svdd: Pair


class Patches(NamedTuple):
    """Patches of a step for one patch size K, each (B, 3, K, K); the number may differ between the two losses."""

    position: tuple[Tensor, Tensor]
    label: Tensor
    """(B,)."""
    svdd: tuple[Tensor, Tensor]


def order(seed: int, epoch: int, samples: int) -> Numbers:
    """This epoch's order of its samples (samples,), the same wherever and whenever it is asked for."""
    return np.random.default_rng([_ORDER, seed, epoch]).permutation(samples)


def draw(seed: int, epoch: int, samples: Numbers, image_size: int) -> dict[int, Draws]:
    """What samples (B,) of an epoch see, `{patch: draws}`."""
    highs = np.concatenate([_highs(image_size, patch) for patch in PATCHES])
    normals = sum(_normals(patch) for patch in PATCHES)
    whole = np.empty((len(samples), len(highs)), np.int64)
    real = torch.empty(len(samples), normals)
    normal = torch.Generator()  # draws normal numbers three times as fast as numpy's
    for row, sample in enumerate(samples.tolist()):
        generator = np.random.default_rng([_CROPS, seed, epoch, sample])
        whole[row] = generator.integers(0, highs)
        normal.manual_seed(int(generator.integers(2**63)))
        torch.randn(normals, generator=normal, out=real[row])
    real *= NOISE
    found, start, size = {}, 0, (image_size, image_size)
    for number, patch in enumerate(PATCHES):
        drawn = whole[:, 8 * number : 8 * (number + 1)]
        values = real[:, start : start + _normals(patch)].unflatten(1, (2, -1)).transpose(0, 1)  # (2, B, 3 + 3K²)
        start += _normals(patch)
        label = drawn[:, 2].copy()
        found[patch] = Draws(
            position_pair(drawn[:, :2], label, drawn[:, 3:5], patch, size),
            label,
            values[..., :3],
            values[..., 3:].unflatten(2, (3, patch, patch)),
            svdd_pair(drawn[:, 5:7], _jitter(drawn[:, 7], patch), patch, size),
        )
    return found


def _highs(image_size: int, patch: int) -> Numbers:
    """How many values each whole number of a sample can take, for one patch size."""
    places = image_size - patch + 1
    jitters = (2 * (patch // 32) + 1) ** 2 - 1
    return np.array([places, places, CLASSES, patch // 4, patch // 4, places, places, jitters])


def _normals(patch: int) -> int:
    """Normal numbers of a sample, for one patch size: colour shift and noise of two patches."""
    return 2 * 3 * (1 + patch**2)


def _jitter(number: Numbers, patch: int) -> Numbers:
    """Moves (B, 2) by up to K/32 pixels in both axes, of those that are not nothing the one of that number (B,)."""
    reach = patch // 32
    side = 2 * reach + 1
    number = number + (number >= side**2 // 2)  # the middle one is nothing
    return np.stack([number // side, number % side], -1) - reach


def position_pair(first: Numbers, label: Numbers, delta: Numbers, patch: int, size: tuple[int, int]) -> Pair:
    """The corner of a neighbouring patch: 3K/4 and `delta` pixels more in the direction of its class, within the image.

    Near a border the patch is moved back into the image and keeps its class.

    Args:
        first: (B, 2), corner of the patch.
        label: (B,), class of the neighbour's position, 0 to 7: see `DIRECTIONS`.
        delta: (B, 2), 0 to K/4 − 1; without effect along an axis in which the direction does not point.
        patch: K, the patches' side.
        size: the image's height and width.
    """
    return Pair(first, _within(first + DIRECTIONS[label] * (3 * patch // 4 + delta), patch, size))


def svdd_pair(first: Numbers, jitter: Numbers, patch: int, size: tuple[int, int]) -> Pair:
    """The corner of a patch that is `jitter` (B, 2) pixels from the first, within the image, where it may be the first itself."""
    return Pair(first, _within(first + jitter, patch, size))


def _within(corners: Numbers, patch: int, size: tuple[int, int]) -> Numbers:
    return np.clip(corners, 0, np.array(size) - patch)


def standardised(images: Tensor, mean: Tensor) -> Tensor:
    """Images (n, h, w, 3) of uint8 as the encoder takes them, (n, 3, h, w): less the mean image (…, h, w, 3), divided by 255."""
    return ((images.float() - mean) / 255).permute(0, 3, 1, 2).contiguous()


def mean_image(images: NDArray[np.uint8]) -> Tensor:
    """The mean (s, s, 3) of images (N, s, s, 3), in float32."""
    return torch.from_numpy(np.mean(images, axis=0, dtype=np.float64).astype(np.float32))


def cropped(images: Tensor, mean: Tensor, which: Tensor, corners: Numbers, patch: int) -> Tensor:
    """Patches (B, 3, K, K), less the mean image: of images (N, s, s, 3) those of numbers `which` (B,), at corners (B, 2)."""
    places = torch.from_numpy(corners).to(which.device)[..., None] + torch.arange(
        patch, device=which.device
    )  # (B, 2, K)
    rows, columns = places[:, 0, :, None], places[:, 1, None, :]
    return standardised(images[which[:, None, None], rows, columns], mean[rows, columns])


def perturbed(patches: Tensor, shift: Tensor, noise: Tensor) -> Tensor:
    """Patches (B, 3, K, K) with their colours moved by `shift` (B, 3) and `noise` (B, 3, K, K) added."""
    return patches + shift[..., None, None] + noise


def patches_of(images: Tensor, mean: Tensor, which: Tensor, draws: Draws, patch: int) -> Patches:
    """The patches that were drawn. Those of the position loss are perturbed, each by itself; those of the SVDD loss are not."""

    def pair(corners: Pair) -> list[Tensor]:
        return [cropped(images, mean, which, each, patch) for each in corners]

    shift, noise = draws.shift.to(images.device), draws.noise.to(images.device)
    first, second = (perturbed(clean, *by) for clean, *by in zip(pair(draws.position), shift, noise, strict=True))
    left, right = pair(draws.svdd)
    return Patches((first, second), torch.from_numpy(draws.label).to(images.device), (left, right))
