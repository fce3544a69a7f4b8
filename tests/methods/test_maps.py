"""Maps of the image's size: the blur against scipy's, the upsampling against its equation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from fod_bench.methods.maps import gaussian, upsample


def maps(*shape: int) -> NDArray[np.float64]:
    return np.random.default_rng(0).normal(size=shape)


# The radius of sigma 4 is 16: shorter sides are mirrored over and over.
@pytest.mark.parametrize("shape", [(64, 64), (16, 16), (17, 33), (40, 23), (5, 7), (3, 64), (1, 9), (1, 1)])
@pytest.mark.parametrize("sigma", [4.0, 1.5])
def test_the_blur_is_scipys_map_by_map(shape: tuple[int, int], sigma: float) -> None:
    given = maps(3, *shape)
    expected = np.stack([gaussian_filter(each, sigma) for each in given])
    np.testing.assert_allclose(gaussian(torch.from_numpy(given), sigma).numpy(), expected, atol=1e-13)


def test_the_blur_in_single_precision_is_as_close_as_that_allows() -> None:
    given = maps(2, 64, 48).astype(np.float32)
    blurred = gaussian(torch.from_numpy(given), 4.0)
    assert blurred.dtype == torch.float32
    np.testing.assert_allclose(
        blurred.numpy(), np.stack([gaussian_filter(each.astype(float), 4.0) for each in given]), atol=1e-6
    )


def test_the_blur_can_be_had_in_and_out_of_inference() -> None:
    given = torch.from_numpy(maps(1, 11, 13))
    with torch.inference_mode():
        first = gaussian(given, 2.0)
    again = given.clone().requires_grad_()
    gaussian(again, 2.0).sum().backward()
    assert again.grad is not None and torch.equal(first, gaussian(given, 2.0))


def bilinear(grid: NDArray[np.float64], size: int, corners: bool) -> NDArray[np.float64]:
    """The equation, pixel by pixel: with aligned corners the first and last patches lie on the first and last pixels; without,
    patches and pixels are squares that cover the same area."""
    made = np.empty((size, size))
    for y in range(size):
        for x in range(size):
            weights = []
            for pixel, length in ((y, grid.shape[0]), (x, grid.shape[1])):
                place = pixel * (length - 1) / (size - 1) if corners else (pixel + 0.5) * length / size - 0.5
                place = min(max(place, 0.0), length - 1)
                low = int(place)
                weights.append((low, min(low + 1, length - 1), place - low))
            (top, bottom, down), (left, right, across) = weights
            upper = grid[top, left] * (1 - across) + grid[top, right] * across
            lower = grid[bottom, left] * (1 - across) + grid[bottom, right] * across
            made[y, x] = upper * (1 - down) + lower * down
    return made


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (1, 2), (12, 9)])
def test_upsampling_is_bilinear(shape: tuple[int, int], corners: bool) -> None:
    given = maps(2, *shape)
    made = upsample(torch.from_numpy(given), 12, align_corners=corners)
    np.testing.assert_allclose(made.numpy(), np.stack([bilinear(each, 12, corners) for each in given]), atol=1e-12)
