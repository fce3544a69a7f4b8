"""DRAEM's equations, each against a slow and obvious twin, and what its networks are."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from fod_bench.methods.draem.losses import focal_loss, ssim_loss
from fod_bench.methods.draem.method import image_scores, learning_rate
from fod_bench.methods.draem.network import Networks, build
from fod_bench.methods.draem.noise import perlin, rotated, rotated_image


def ssim_twin(x: np.ndarray, y: np.ndarray, value_range: float) -> float:
    """Window by window of one channel (H, W); pixels outside are zeros."""
    weights = [math.exp(-((i - 5) ** 2) / (2 * 1.5**2)) for i in range(11)]
    total = sum(weights)
    c1, c2 = (0.01 * value_range) ** 2, (0.03 * value_range) ** 2
    height, width = x.shape
    found = []
    for row in range(height):
        for column in range(width):
            sums = np.zeros(5)
            for i in range(11):
                for j in range(11):
                    r, c = row + i - 5, column + j - 5
                    if 0 <= r < height and 0 <= c < width:
                        a, b = x[r, c], y[r, c]
                        sums += weights[i] * weights[j] / total**2 * np.array([a, b, a * a, b * b, a * b])
            mx, my, xx, yy, xy = sums
            similar = (2 * mx * my + c1) * (2 * (xy - mx * my) + c2)
            found.append(similar / ((mx**2 + my**2 + c1) * (xx - mx**2 + yy - my**2 + c2)))
    return 1 - float(np.mean(found))


@pytest.mark.parametrize(
    ("low", "high", "value_range"), [(0.0, 1.0, 1), (-0.6, 1.0, 2), (0.0, 200.0, 255), (-0.6, 200.0, 256)]
)
def test_ssim_with_each_of_its_ranges(low: float, high: float, value_range: float) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 13, 7))  # smaller than the window along one axis
    x[0, 0], x[-1, -1] = low, high
    found = ssim_loss(torch.from_numpy(x)[None, None], torch.from_numpy(y)[None, None])
    assert found.item() == pytest.approx(ssim_twin(x, y, value_range), rel=1e-6)


def test_ssims_range_is_that_of_the_whole_batch_of_reconstructions_alone() -> None:
    x, y = torch.rand(2, 2, 1, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain = ssim_loss(x, y)
    wide = y.clone()
    wide[0, 0, 3, 3] = 150.0  # in the images: the range stays 1
    expected = np.mean([ssim_twin(x[i, 0].numpy(), wide[i, 0].numpy(), 1) for i in range(2)])
    assert ssim_loss(x, wide).item() == pytest.approx(expected, rel=1e-6)
    wide = x.clone()
    wide[0, 0, 3, 3] = -0.6  # in one reconstruction: the range of the other is 2 as well
    expected = np.mean([ssim_twin(wide[i, 0].numpy(), y[i, 0].numpy(), 2) for i in range(2)])
    assert ssim_loss(wide, y).item() == pytest.approx(expected, rel=1e-6)
    assert plain.item() == pytest.approx(np.mean([ssim_twin(x[i, 0].numpy(), y[i, 0].numpy(), 1) for i in range(2)]))


def test_focal_loss_pixel_by_pixel() -> None:
    rng = np.random.default_rng(1)
    logits, mask = rng.normal(size=(2, 2, 5, 4)), rng.integers(0, 2, (2, 1, 5, 4))
    found = []
    for n in range(2):
        for row in range(5):
            for column in range(4):
                e = np.exp(logits[n, :, row, column])
                p = e / e.sum()
                own = mask[n, 0, row, column]
                q = sum(p[c] * (1 - 1e-5 if c == own else 1e-5) for c in range(2)) + 1e-5
                found.append(-((1 - q) ** 2) * math.log(q))
    loss = focal_loss(torch.softmax(torch.from_numpy(logits), 1), torch.from_numpy(mask))
    assert loss.item() == pytest.approx(np.mean(found), rel=1e-9)


def perlin_twin(height: int, width: int, turns: np.ndarray, y: int, x: int) -> float:
    rows, columns = turns.shape[0] - 1, turns.shape[1] - 1
    i, j = y // (height // rows), x // (width // columns)
    fy, fx = y * rows / height - i, x * columns / width - j

    def product(down: int, right: int) -> float:
        angle = 2 * math.pi * turns[i + down, j + right]
        return math.cos(angle) * (fy - down) + math.sin(angle) * (fx - right)

    def fade(t: float) -> float:
        return 6 * t**5 - 15 * t**4 + 10 * t**3

    a = product(0, 0) + fade(fy) * (product(1, 0) - product(0, 0))
    b = product(0, 1) + fade(fy) * (product(1, 1) - product(0, 1))
    return math.sqrt(2) * (a + fade(fx) * (b - a))


@pytest.mark.parametrize("cells", [(1, 1), (2, 8), (32, 4), (32, 32)])
def test_perlin_noise_pixel_by_pixel(cells: tuple[int, int]) -> None:
    turns = np.random.default_rng(2).random((cells[0] + 1, cells[1] + 1))
    expected = [[perlin_twin(32, 64, turns, y, x) for x in range(64)] for y in range(32)]
    np.testing.assert_allclose(perlin(32, 64, turns), expected, atol=1e-12)


@pytest.mark.parametrize("degrees", [0.0, 90.0, -37.0, 45.0])
def test_rotation_pixel_by_pixel(degrees: float) -> None:
    values = np.random.default_rng(3).random((7, 10))
    padded = np.pad(values, 20)  # zeros all around
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    expected = np.zeros_like(values)
    for row in range(7):
        for column in range(10):
            dy, dx = row - 3.0, column - 4.5
            x, y = 4.5 + cos * dx + sin * dy, 3.0 - sin * dx + cos * dy
            r, c = math.floor(y + 1e-12), math.floor(x + 1e-12)
            fy, fx = y - r, x - c
            corners = padded[r + 20 : r + 22, c + 20 : c + 22]
            expected[row, column] = np.array([1 - fy, fy]) @ corners @ np.array([1 - fx, fx])
    np.testing.assert_allclose(rotated(values, degrees), expected, atol=1e-9)


def test_an_image_turned_by_nothing_is_itself_and_a_quarter_turn_is_one() -> None:
    image = np.random.default_rng(4).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert (rotated_image(image, 0.0) == image).all()
    assert (rotated_image(image, 90.0) == np.rot90(image, -1)).all()  # x' = y, y' = -x
    assert (rotated_image(image, 45.0)[0, 0] == 0).all(), "black outside"


def test_the_published_networks_have_97422725_parameters() -> None:
    with torch.device("meta"):
        networks = Networks(128)
    counts = [sum(p.numel() for p in network.parameters()) for network in (networks.rec, networks.dis)]
    assert counts == [69_048_579, 28_374_146] and sum(counts) == 97_422_725


def test_initial_weights_are_the_seeds_own() -> None:
    global_state = torch.get_rng_state()
    networks, other = build(16, 5), build(16, 6)
    assert torch.equal(torch.get_rng_state(), global_state)
    assert all(torch.equal(a, b) for a, b in zip(networks.parameters(), build(16, 5).parameters(), strict=True))
    assert not torch.equal(next(networks.parameters()), next(other.parameters()))
    kernels = torch.cat([m.weight.flatten() for m in networks.modules() if isinstance(m, nn.Conv2d)]).detach()
    scales = torch.cat([m.weight for m in networks.modules() if isinstance(m, nn.BatchNorm2d)]).detach()
    assert kernels.std().item() == pytest.approx(0.02, rel=0.01) and abs(kernels.mean().item()) < 1e-4
    assert scales.std().item() == pytest.approx(0.02, rel=0.1) and scales.mean().item() == pytest.approx(1, abs=2e-3)
    for module in networks.modules():
        if isinstance(module, nn.Conv2d):
            bound = (9 * module.in_channels) ** -0.5
            assert module.bias is not None and 0 < module.bias.abs().max() <= bound
        if isinstance(module, nn.BatchNorm2d):
            assert module.bias.abs().max() == 0 and module.running_var is not None and (module.running_var == 1).all()


def test_the_segmentation_trains_the_reconstructive_network_too_and_sees_the_reconstruction_first() -> None:
    networks = build(2, 0)
    seen: list[torch.Tensor] = []
    networks.dis.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    images = torch.rand(2, 3, 32, 64)
    reconstruction, logits = networks(images)
    assert torch.equal(seen[0], torch.cat((reconstruction, images), 1))
    logits.sum().backward()
    assert all(p.grad is not None for p in networks.rec.parameters())


def test_milestones_that_are_no_whole_number_are_rounded_down_and_few_epochs_have_none() -> None:
    assert [learning_rate(1.0, e, 7) for e in range(7)] == pytest.approx([1, 1, 1, 1, 1, 0.2, 0.04])
    assert [learning_rate(1.0, e, 4) for e in range(4)] == [1, 1, 1, 1]


def test_zeros_outside_count_in_the_image_score() -> None:
    maps = torch.zeros(2, 64, 64)
    maps[0, :10, :10] = 1
    maps[1] = 1
    assert image_scores(maps).tolist() == pytest.approx([100 / 441, 1.0])
    assert image_scores(torch.ones(1, 32, 32)).item() == pytest.approx(1.0), "one image, barely larger than the window"
