"""Scores, maps and image scores against twins in numpy and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from benchmarks import plain_fod
from fod_bench.methods.fod.network import BranchStatistics, NetworkOutput, View
from fod_bench.methods.fod.rules import rules
from fod_bench.methods.fod.score import PatchScores, image_scores, patch_scores, upsample, upsample_smoothed
from tests.helpers.trial_builders import VIEWS, features, network


def divergence(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> np.ndarray:
    """Eq. 6 of (S, T) pairs, one per layer, by loops: (B, N)."""
    layers = []
    for attention, target in pairs:
        s, t = attention.detach().numpy(), target.detach().numpy()  # (B, h, N, N)
        found = np.zeros(s.shape[:3])
        for index in np.ndindex(*s.shape[:3]):
            log_ratio = np.log(t[index] + 1e-4) - np.log(s[index] + 1e-4)
            found[index] = np.sum(t[index] * log_ratio) + np.sum(s[index] * -log_ratio)
        layers.append(found.mean(1))
    return np.mean(layers, axis=0)


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values)
    return powers / powers.sum(1, keepdims=True)


def twin(view: View) -> dict[str, np.ndarray]:
    """Every rule's score of the patches of two images, each (B, N)."""
    given, reference = features()
    output, intra, inter = plain_fod.forward(network(view), given, reference)
    x, y = given.numpy(), output.detach().numpy()
    rec = np.zeros(x.shape[:2])
    for image, patch in np.ndindex(*rec.shape):
        a, b = x[image, patch], y[image, patch]
        rec[image, patch] = np.mean((a - b) ** 2) + 1 - a @ b / np.sqrt((a @ a) * (b @ b))
    scores = {"rec": rec}
    if view == "patch":
        return scores
    if view == "intra":
        weight = softmax(-divergence(intra))
        return scores | {"div": weight, "rec_div": rec * weight}
    near = softmax(-divergence(inter))
    weight = near.max(1, keepdims=True) - near
    div = weight if view == "inter" else weight * softmax(-divergence(intra))
    return scores | {"div": div, "rec_div": rec * weight, "rec_div_printed": printed(rec, divergence(inter))}


def printed(rec: np.ndarray, inter: np.ndarray) -> np.ndarray:
    """Eq. 12 as the paper prints it, patch by patch: s_i = rec_i · (1 − Softmax(−Div_i))."""
    scores = np.zeros(rec.shape)
    for image, patch in np.ndindex(*rec.shape):
        share = np.exp(-inter[image, patch]) / sum(np.exp(-other) for other in inter[image])
        scores[image, patch] = rec[image, patch] * (1 - share)
    return scores


def score_parts(view: View) -> PatchScores:
    given, reference = features()
    with torch.inference_mode():
        return patch_scores(network(view)(given, reference), given)


@pytest.mark.parametrize("view", VIEWS)
def test_every_rule_of_every_view(view: View) -> None:
    expected, parts = twin(view), score_parts(view)
    assert set(rules(view)) == set(expected)
    for rule in rules(view):
        np.testing.assert_allclose(parts.score(rule).numpy(), expected[rule], rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("view", VIEWS)
def test_the_last_rule_is_the_views_own(view: View) -> None:
    assert rules(view)[-1] == ("rec" if view == "patch" else "rec_div")


@pytest.mark.parametrize("view", ["patch", "intra"])
def test_eq_12_as_printed_needs_the_inter_branch(view: View) -> None:
    assert "rec_div_printed" not in rules(view)
    with pytest.raises(ValueError, match="'rec_div_printed' needs the inter-image divergence"):
        score_parts(view).score("rec_div_printed")


def test_the_two_weights_of_eq_12_differ_by_a_factor_of_each_whole_map() -> None:
    """The code's weight is the printed one less 1 − max(w): each image's own constant, which changes order between images."""
    parts = score_parts("full")
    assert parts.inter_divergence is not None
    largest = torch.softmax(-parts.inter_divergence, -1).amax(-1, keepdim=True)  # (2, 1)
    difference = parts.score("rec_div_printed") - parts.score("rec_div")
    torch.testing.assert_close(difference, parts.reconstruction * (1 - largest))
    assert largest[0] != largest[1]


def test_a_view_without_divergence_refuses_its_rules() -> None:
    for rule in ("div", "rec_div"):
        with pytest.raises(ValueError, match=f"the rule '{rule}' needs a divergence"):
            score_parts("patch").score(rule)  # type: ignore[arg-type]


def test_far_apart_divergences_give_finite_weights_in_order() -> None:
    divergences = torch.tensor([[1.0, 2000.0, 1e30]])
    statistics = BranchStatistics(divergences, divergences, divergences)
    given = torch.ones(1, 3, 5)
    parts = patch_scores(NetworkOutput(given, statistics, statistics), given)
    assert parts.intra_weight is not None and parts.inter_weight is not None
    assert torch.equal(parts.intra_weight, torch.tensor([[1.0, 0.0, 0.0]]))
    assert torch.equal(parts.inter_weight, torch.tensor([[0.0, 1.0, 1.0]]))
    torch.testing.assert_close(parts.score("rec"), torch.zeros(1, 3))


@pytest.mark.parametrize(("height", "width", "size"), [(4, 4, 32), (3, 5, 16), (1, 1, 8), (8, 8, 8)])
def test_upsampling_is_bilinear_with_aligned_corners(height: int, width: int, size: int) -> None:
    grid = np.random.default_rng(0).normal(size=(2, height, width))
    expected = np.zeros((2, size, size))
    for row, column in np.ndindex(size, size):
        y, x = row * (height - 1) / (size - 1), column * (width - 1) / (size - 1)
        top, left = min(int(y), max(height - 2, 0)), min(int(x), max(width - 2, 0))
        bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
        upper = grid[:, top, left] * (1 - (x - left)) + grid[:, top, right] * (x - left)
        lower = grid[:, bottom, left] * (1 - (x - left)) + grid[:, bottom, right] * (x - left)
        expected[:, row, column] = upper * (1 - (y - top)) + lower * (y - top)
    np.testing.assert_allclose(upsample(torch.from_numpy(grid), size).numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("height", "width", "size"), [(4, 4, 32), (3, 5, 16), (1, 1, 8), (5, 5, 5), (32, 32, 256)])
def test_smoothing_is_scipys_on_the_upsampled_map(height: int, width: int, size: int) -> None:
    grids = torch.from_numpy(np.random.default_rng(0).normal(size=(3, height, width)).astype(np.float32))
    expected = np.stack([gaussian_filter(image.numpy(), 4.0) for image in upsample(grids.double(), size)])
    smoothed = upsample_smoothed(grids, size)
    assert smoothed.dtype == torch.float32
    np.testing.assert_allclose(smoothed.numpy(), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(image_scores(smoothed).numpy(), expected.max((1, 2)), rtol=1e-5)


def test_the_mean_of_smoothed_levels_is_the_smoothed_mean() -> None:
    """The image score of several levels, by SciPy from the mean of their maps."""
    rng = np.random.default_rng(1)
    levels = [torch.from_numpy(rng.normal(size=(3, side, side)).astype(np.float32)) for side in (16, 8, 4)]
    mean = torch.stack([upsample(level, 64) for level in levels]).mean(0)
    expected = [gaussian_filter(image.double().numpy(), 4.0).max() for image in mean]
    smoothed = torch.stack([upsample_smoothed(level, 64) for level in levels]).mean(0)
    np.testing.assert_allclose(image_scores(smoothed).numpy(), expected, rtol=1e-5)
