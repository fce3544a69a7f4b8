"""Which patches are drawn, and what is cut out of the images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fod_bench.methods.patchsvdd import sampling
from fod_bench.methods.patchsvdd.cost import PATCHES
from fod_bench.methods.patchsvdd.sampling import (
    DIRECTIONS,
    NOISE,
    draw,
    mean_image,
    order,
    patches_of,
    standardised,
)

SIZE = 100


def test_corners_by_the_definition() -> None:
    """Every sample's pairs, checked one by one: inside the image, in the direction of the class, no further than allowed."""
    drawn = draw(3, 1, np.arange(400), SIZE)
    for patch in PATCHES:
        last, near, reach = SIZE - patch, 3 * patch // 4, patch // 32
        labels, seen, jitters = set(), set(), set()
        for first, second, label in zip(*drawn[patch].position, drawn[patch].label.tolist(), strict=True):
            labels.add(label)
            for axis in (0, 1):
                assert 0 <= first[axis] <= last
                seen.add(int(first[axis]))
                moved, way = int(second[axis] - first[axis]), int(DIRECTIONS[label][axis])
                if way == 0:
                    assert moved == 0
                elif second[axis] in (0, last):
                    assert 0 <= moved * way < patch, "cut off at the border"
                else:
                    assert near <= moved * way < patch
        for first, second in zip(*drawn[patch].svdd, strict=True):
            assert (abs(second - first) <= reach).all() and (second >= 0).all() and (second <= last).all()
            if (first >= reach).all() and (first <= last - reach).all():
                jitters.add(tuple((second - first).tolist()))
        assert labels == set(range(8))
        assert {0, last} <= seen, "corners reach both borders"
        assert jitters == {(row, column) for row in range(-reach, reach + 1) for column in range(-reach, reach + 1)} - {
            (0, 0)
        }


def test_a_sample_depends_on_seed_epoch_and_number_alone() -> None:
    alone, among = draw(5, 2, np.array([17]), SIZE), draw(5, 2, np.array([3, 17, 4]), SIZE)
    others = [draw(*key, np.array([number]), SIZE) for *key, number in ((6, 2, 17), (5, 3, 17), (5, 2, 18))]
    for patch in PATCHES:
        assert np.array_equal(alone[patch].position.second[0], among[patch].position.second[1])
        assert np.array_equal(alone[patch].svdd.first[0], among[patch].svdd.first[1])
        assert torch.equal(alone[patch].noise[:, 0], among[patch].noise[:, 1])
        assert torch.equal(alone[patch].shift[:, 0], among[patch].shift[:, 1])
        assert all(not torch.equal(alone[patch].noise, other[patch].noise) for other in others)
    assert not torch.equal(alone[64].noise[0], alone[64].noise[1]), "both patches of a pair have noise of their own"


def test_every_epoch_has_an_order_of_its_own() -> None:
    """Also from another generator than its sample 0, though numpy fills a short seed with zeros."""
    orders = [order(seed, epoch, 50) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(each) == list(range(50)) for each in orders)
    assert all(not np.array_equal(orders[0], each) for each in orders[1:])
    assert np.array_equal(order(1, 1, 50), orders[3])
    of_sample = np.random.default_rng([sampling._CROPS, 1, 1, 0]).permutation(50)
    assert not np.array_equal(order(1, 1, 50), of_sample)


def test_noise_has_the_published_spread() -> None:
    drawn = draw(0, 0, np.arange(200), SIZE)
    for patch in PATCHES:
        for values in (drawn[patch].noise, drawn[patch].shift):
            assert values.std().item() == pytest.approx(NOISE, rel=0.1)
            assert values.mean().item() == pytest.approx(0.0, abs=0.003)


def test_patches_one_by_one() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8)
    mean = images.astype(np.float64).mean(0)
    drawn, which = draw(1, 0, np.arange(6), SIZE), np.array([4, 0, 2, 2, 1, 3])
    for patch in PATCHES:
        draws = drawn[patch]
        found = patches_of(torch.from_numpy(images), mean_image(images), torch.from_numpy(which), draws, patch)

        def cut(sample: int, corner: np.ndarray, patch: int = patch) -> np.ndarray:
            rows, columns = (slice(start, start + patch) for start in corner)
            return ((images[which[sample], rows, columns] - mean[rows, columns]) / 255).transpose(2, 0, 1)

        for sample in range(6):
            for number in (0, 1):
                expected = cut(sample, draws.position[number][sample])
                for channel in range(3):
                    expected[channel] += float(draws.shift[number, sample, channel])
                expected += draws.noise[number, sample].numpy()
                np.testing.assert_allclose(found.position[number][sample], expected, atol=1e-6)
                np.testing.assert_allclose(
                    found.svdd[number][sample], cut(sample, draws.svdd[number][sample]), atol=1e-6
                )
        assert found.label.tolist() == draws.label.tolist()


def test_the_mean_image_is_not_rounded() -> None:
    images = np.zeros((3, 64, 64, 3), np.uint8)
    images[0] = 1
    found = standardised(torch.from_numpy(images), mean_image(images))
    torch.testing.assert_close(found[0], torch.full((3, 64, 64), (1 - 1 / 3) / 255))
