"""Losses and maps against slow, obvious forms of their equations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, grey_opening
from torch import Tensor, nn

from fod_bench.features.weights import resolve_weights
from fod_bench.methods.mkd import saliency
from fod_bench.methods.mkd.loss import differences, total
from fod_bench.methods.mkd.method import MkdDetector, make_cloner
from fod_bench.methods.mkd.network import Cloner, make_source, normalised
from fod_bench.methods.mkd.settings import MkdSettings

torch.set_num_threads(1)

CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_differences_are_those_of_a_loop() -> None:
    cloned = {4: random(3, 5, 4, 6) - 0.5, 8: random(3, 7, 2, 3, seed=1) - 0.5}
    source = {4: random(3, 5, 4, 6, seed=2), 8: random(3, 7, 2, 3, seed=3)}
    cloned[8][2] = 0.0  # its direction is none: the cosine is 0
    expected = np.zeros((2, 3))
    for level in (4, 8):
        for image in range(3):
            given, wanted = (maps[level][image].flatten().tolist() for maps in (cloned, source))
            product = sum(a * b for a, b in zip(given, wanted, strict=True))
            norms = [max(math.sqrt(sum(a * a for a in values)), 1e-8) for values in (given, wanted)]
            expected[0, image] += 1 - product / (norms[0] * norms[1])
            expected[1, image] += sum((a - b) ** 2 for a, b in zip(given, wanted, strict=True)) / len(given)
    found = differences(cloned, source, (4, 8))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(total(found, 0.3).numpy(), expected[0] + 0.3 * expected[1], rtol=1e-12)
    np.testing.assert_allclose(differences(cloned, source, [8])[0, 2], 1)


def test_one_channel_is_scaled_to_the_99th_percentile_of_each_image() -> None:
    gradient = random(2, 3, 9, 13, seed=4) - 0.5
    gradient[1] *= 1e-6
    for scaled in (True, False):
        found = saliency.to_one_channel(gradient, scaled)
        for image in range(2):
            values = np.abs(gradient[image].numpy()).sum(0)
            if scaled:
                low, high = values.min(), np.percentile(values, 99)
                values = np.clip((values - low) / (high - low), 0, 1)
            np.testing.assert_allclose(found[image].numpy(), values, rtol=1e-9, atol=1e-12)


def test_maps_of_one_value_become_zero() -> None:
    flat = torch.full((1, 3, 5, 5), 0.25)
    assert saliency.to_one_channel(flat, scaled=True).eq(0).all()
    assert saliency.between_extremes(flat[:, 0]).eq(0).all()


def test_one_bright_pixel_is_above_the_percentile() -> None:
    """Of 10×10 pixels one is bright: the percentile lies at 0.99 · 99 = 98.01, a hundredth of the way to it."""
    gradient = torch.zeros(1, 3, 10, 10)
    gradient[0, 1, 3, 4] = -2.0
    expected = torch.zeros(1, 10, 10)
    expected[0, 3, 4] = 1.0
    assert torch.equal(saliency.to_one_channel(gradient, scaled=True), expected)


def test_between_extremes_takes_absolute_values_first() -> None:
    maps = random(2, 4, 7) - 0.5
    values = maps.abs().numpy()
    for found, each in zip(saliency.between_extremes(maps).numpy(), values, strict=True):
        np.testing.assert_allclose(found, (each - each.min()) / (each.max() - each.min()), rtol=1e-12)


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 1), (2, 2), (11, 8)])
def test_opening_is_scipys_and_that_of_every_threshold(shape: tuple[int, int]) -> None:
    maps = random(2, *shape, seed=5)
    found = saliency.opened(maps).numpy()
    for image, each in zip(maps.numpy(), found, strict=True):
        padded = np.pad(image, 2, constant_values=np.inf)  # outside nothing is eroded, and nothing dilated
        eroded = np.full_like(padded, -np.inf)
        for y, x in np.ndindex(shape):
            eroded[y + 2, x + 2] = padded[y + 1 : y + 4, x + 1 : x + 4][CROSS].min()
        expected = [
            [eroded[y + 1 : y + 4, x + 1 : x + 4][CROSS].max() for x in range(shape[1])] for y in range(shape[0])
        ]
        np.testing.assert_array_equal(each, expected)
        if min(shape) > 1:
            np.testing.assert_array_equal(each, grey_opening(image, footprint=CROSS))
        thresholded = saliency.opened(torch.from_numpy((image >= 0.4).astype(np.float64))[None])[0]
        np.testing.assert_array_equal(each >= 0.4, thresholded.numpy() > 0.5)


def test_smoothing_comes_before_opening() -> None:
    maps = random(1, 16, 12, seed=6)
    blurred = gaussian_filter(maps[0].numpy(), 1.5)
    np.testing.assert_allclose(saliency.smoothed(maps, 1.5, opening=False)[0].numpy(), blurred, rtol=1e-9)
    expected = grey_opening(blurred, footprint=CROSS)
    np.testing.assert_allclose(saliency.smoothed(maps, 1.5, opening=True)[0].numpy(), expected, rtol=1e-9)


def test_noise_is_the_square_of_what_the_image_spans_and_is_not_clipped() -> None:
    images = torch.stack([random(3, 4, 4), torch.zeros(3, 4, 4, dtype=torch.float64)])
    span = float(images[0].max() - images[0].min())
    torch.testing.assert_close(
        saliency.noise_deviation(images, 0.05), torch.tensor([(0.05 / span) ** 2, 0.0], dtype=torch.float64)
    )
    seen = []

    def scores(given: Tensor) -> Tensor:
        seen.append(given.detach().clone())
        return (given * given).sum((1, 2, 3))

    draws = [random(3, 4, 4, seed=number) - 3 for number in range(3)]
    deviation = saliency.noise_deviation(images, 1.0)
    found = saliency.smooth_grad(scores, images, 1.0, draws, scaled=False)
    assert min(float(given.min()) for given in seen) < 0
    expected = torch.zeros(4, 4, dtype=torch.float64)
    for draw in draws:
        expected += (2 * (images[0] + deviation[0] * draw)).abs().sum(0) / 3
    torch.testing.assert_close(found[0], expected)
    assert found[1].eq(0).all()


def test_draws_differ_and_are_the_same_every_time() -> None:
    first, second = (list(saliency.noise_draws(torch.Size([3, 8, 8]), 3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[1])


def detector(**keys: object) -> MkdDetector:
    """Untrained, in float64."""
    settings = MkdSettings.complete(
        {"backbone": "resnet18", "weights": "random", "image_size": 32, "levels": [4, 8], **keys}
    )
    source = make_source(resolve_weights("resnet18", "random", 0, download=False), settings.levels, 32)
    return MkdDetector(settings.training(), make_cloner(settings.training()).double(), source.double())


@pytest.mark.parametrize("normalisation", ["imagenet", "none"])
def test_gradients_are_by_the_image_in_unit_range_through_both_networks(normalisation: str) -> None:
    made, images, step = detector(input_normalisation=normalisation), random(2, 3, 32, 32, seed=7), 1e-5
    found, scores = saliency.gradients(made.scores, images)
    with torch.no_grad():
        torch.testing.assert_close(scores, made.scores(images))
        for channel, y, x in ((0, 0, 0), (1, 13, 20), (2, 31, 5)):
            up, down = images.clone(), images.clone()
            up[0, channel, y, x] += step
            down[0, channel, y, x] -= step
            slope = (made.scores(up) - made.scores(down)) / (2 * step)
            assert float(slope[0]) == pytest.approx(float(found[0, channel, y, x]), rel=1e-4)
            assert float(slope[1]) == 0


def test_the_first_layer_is_imagenets() -> None:
    image = torch.tensor([0.5, 0.25, 1.0])[None, :, None, None]
    found = normalised(image, "imagenet").flatten().tolist()
    assert found == pytest.approx([(0.5 - 0.485) / 0.229, (0.25 - 0.456) / 0.224, (1 - 0.406) / 0.225])
    assert normalised(image, "none") is image


def test_guided_backpropagation_is_plain_but_for_the_cloners_relus() -> None:
    """The rule by hooks on the ReLUs: what comes back is cut where it is negative; the plain ReLU has cut by its output."""
    made, images = detector(localisation="gbp"), random(2, 3, 32, 32, seed=8)
    found, scores = saliency.gradients(lambda given: made.scores(given, guided=True), images)
    hooks = [
        module.register_full_backward_hook(lambda _module, into, _out: (into[0].clamp_min(0),))
        for module in made.cloner.modules()
        if isinstance(module, nn.ReLU)
    ]
    expected, same = saliency.gradients(made.scores, images)
    for hook in hooks:
        hook.remove()
    plain, _ = saliency.gradients(made.scores, images)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(scores, same)
    assert not torch.allclose(found, plain)
    grey = saliency.to_one_channel(expected, scaled=True)
    torch.testing.assert_close(made.maps(images)[0], saliency.smoothed(saliency.between_extremes(grey), 1.0, True))


def test_maps_that_are_not_scaled_keep_what_images_differ_by() -> None:
    images = random(2, 3, 32, 32, seed=9)
    for localisation in ("gradients", "gbp", "smooth_grad"):
        keys = {"localisation": localisation, "smooth_grad_samples": 2, "opening": False, "map_sigma": 1e-3}
        if localisation != "smooth_grad":
            keys.pop("smooth_grad_samples")
        made = detector(map_normalisation="none", **keys)
        found, _ = made.maps(images)
        torch.testing.assert_close(found, made.saliency(images)[0])
        assert not torch.allclose(found.amax((1, 2)), torch.ones(2, dtype=torch.float64), rtol=1e-2)


def test_a_linear_cloner_compares_what_is_negative_and_goes_on_from_its_relu() -> None:
    cloner = Cloner([[4, 5], [4, 6], [3, 3, 7]], (4, 8), linear=True).eval()
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    kinds = [type(layer).__name__[:4] for layer in cloner.features]
    block = ["Conv", "Batc", "ReLU", "Conv"]
    assert kinds == [
        *block, "ReLU", "MaxP", *block, "MaxP", "ReLU", *block[:3], *block, "MaxP",
    ]  # fmt: skip
    found = cloner(image)
    assert found[4].min() < 0 and found[8].min() < 0
    rest = cloner.features[kinds.index("MaxP", 6) + 2 :]
    torch.testing.assert_close(rest(found[4].clamp_min(0)), found[8])
    assert Cloner([[4, 5], [4, 6]], (4,), linear=False).eval()(image)[4].min() >= 0
