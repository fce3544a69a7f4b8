"""Mean, nearest and coreset against their equations written down slowly, or a property that only the right one has."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fod_bench.errors import TrialError
from fod_bench.machine import memory
from fod_bench.methods.fod.references.coreset import greedy_coreset, near_origin
from fod_bench.methods.fod.references.nearest import nearest
from tests.helpers.reference_builders import TEST, TRAIN, built, chosen, features, fixed, rows
from tests.helpers.trial_builders import CPU


class TestMean:
    def test_is_the_mean_of_each_position(self) -> None:
        expected = np.zeros(TRAIN.shape[1:])
        for image in TRAIN:
            expected += image.astype(np.float64) / len(TRAIN)
        found = fixed("mean")
        assert found.shape == (3, 4, 1, 5)
        np.testing.assert_allclose(found[:, :, 0], expected, rtol=1e-6)

    def test_of_many_loses_nothing_to_rounding(self) -> None:
        many = np.full((4001, 1, 1, 1), 1e4 + 1 / 3, np.float32)
        many[0] = 3.0
        expected = (3.0 + 4000 * float(np.float32(1e4 + 1 / 3))) / 4001
        assert fixed("mean", many).item() == np.float32(expected)

    def test_reads_one_image_after_the_other(self) -> None:
        """A training set larger than the memory passes through, and gives the bits of numpy's mean over all at once."""
        at_once = []

        class Watched(np.ndarray):
            def __getitem__(self, key: Any) -> Any:
                found = super().__getitem__(key)
                at_once.append(1 if isinstance(key, int) else len(found))
                return np.asarray(found)

            def __array_ufunc__(self, *_: Any, **__: Any) -> Any:
                raise AssertionError("all images at once")

        found = fixed("mean", TRAIN.view(Watched))
        assert np.array_equal(found[:, :, 0], TRAIN.mean(0, dtype=np.float64).astype(np.float32))
        assert set(at_once) <= {1}


def slow_nearest(images: NDArray[np.float32], side: int, exclude_self: bool) -> NDArray[np.int64]:
    """Eqs. 14 and 15, one feature against the other."""
    count, height, width, _ = TRAIN.shape
    found = np.zeros(images.shape[:3], np.int64)
    for q, i, j in itertools.product(range(len(images)), range(height), range(width)):
        around = [
            (k, y, x)
            for k in range(count)
            for y in range(i - side // 2, i + side // 2 + 1)
            for x in range(j - side // 2, j + side // 2 + 1)
            if 0 <= y < height and 0 <= x < width and not (exclude_self and k == q)
        ]
        k, y, x = min(around, key=lambda at: math.dist(images[q, i, j], TRAIN[at]))
        found[q, i, j] = (k * height + y) * width + x
    return found


class TestNearest:
    @pytest.mark.parametrize("side", [1, 3, 5, 9])
    def test_follows_equations_14_and_15(self, side: int) -> None:
        found = nearest(torch.from_numpy(TEST.copy()), torch.from_numpy(TRAIN.copy()), side)
        assert np.array_equal(found, slow_nearest(TEST, side, exclude_self=False))

    @pytest.mark.parametrize("exclude_self", [True, False])
    def test_of_the_training_images(self, exclude_self: bool) -> None:
        found = chosen({"kind": "nearest", "exclude_self": exclude_self})
        assert np.array_equal(found.train, slow_nearest(TRAIN, 3, exclude_self))
        assert np.array_equal(found.test, slow_nearest(TEST, 3, exclude_self=False))
        own = found.train // 12 == np.arange(6)[:, None, None]
        assert own.all() if not exclude_self else not own.any()
        assert found.table is None, "the training features are not kept twice"

    def test_small_differences_far_from_the_origin_count(self) -> None:
        moved = TRAIN * np.float32(0.01) + np.float32(100)
        found = nearest(torch.from_numpy(moved[:2]), torch.from_numpy(moved), 3)
        expected = nearest(torch.from_numpy(moved[:2]).double(), torch.from_numpy(moved).double(), 3)
        assert torch.equal(found, expected)

    def test_in_blocks_it_is_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = chosen("nearest")
        monkeypatch.setattr("fod_bench.methods.fod.references.nearest._BLOCK_ELEMENTS", 130)  # two images at a time
        blocked = chosen("nearest")
        assert np.array_equal(blocked.train, whole.train) and np.array_equal(blocked.test, whole.test)

    def test_a_lone_image_cannot_find_another(self) -> None:
        with pytest.raises(TrialError, match=r"needs two training images.*`exclude_self: false` would do"):
            built("nearest", TRAIN[:1])
        alone = chosen({"kind": "nearest", "exclude_self": False}, TRAIN[:1])
        assert np.array_equal(alone.train[0], np.arange(12).reshape(3, 4))


def slow_greedy(points: NDArray[np.float64], count: int, first: int) -> list[int]:
    """Eq. 17, with all distances."""
    picked = [first]
    while len(picked) < count:
        left = [at for at in range(len(points)) if at not in picked]
        picked.append(max(left, key=lambda at: min(math.dist(points[at], points[other]) for other in picked)))
    return picked


def radius(points: NDArray[np.float64], picked: list[int]) -> float:
    """The value of Eq. 16: how far any point is from its nearest picked one."""
    return max(min(math.dist(point, points[other]) for other in picked) for point in points)


class TestCoreset:
    @pytest.mark.parametrize(("count", "first"), [(1, 0), (7, 3), (40, 39)])
    def test_each_is_the_farthest_from_those_before(self, count: int, first: int) -> None:
        points = np.random.default_rng(3).normal(size=(40, 3))
        found, largest = greedy_coreset(torch.from_numpy(points), count, first)
        assert found.tolist() == slow_greedy(points, count, first)
        assert largest == pytest.approx(radius(points, found.tolist()), abs=1e-7)

    @pytest.mark.parametrize("rows_of_a_block", [1, 7, 39])
    def test_in_blocks_it_is_the_same(self, monkeypatch: pytest.MonkeyPatch, rows_of_a_block: int) -> None:
        """Some of them with one far-off point each, some with none, so that blocks are looked at in any order."""
        points = np.random.default_rng(3).normal(size=(40, 3)) * np.random.default_rng(4).choice([0.1, 1, 9], (40, 1))
        monkeypatch.setattr("fod_bench.methods.fod.references.coreset._BLOCK_ROWS", rows_of_a_block)
        found, largest = greedy_coreset(torch.from_numpy(points), 25, 11)
        assert found.tolist() == slow_greedy(points, 25, 11)
        assert largest == pytest.approx(radius(points, found.tolist()))

    def test_is_at_most_twice_as_far_as_the_best_of_all_subsets(self) -> None:
        points = np.random.default_rng(4).normal(size=(11, 2))
        best = min(radius(points, list(subset)) for subset in itertools.combinations(range(11), 3))
        for first in range(11):
            _, largest = greedy_coreset(torch.from_numpy(points), 3, first)
            assert best <= largest + 1e-9 <= 2 * best

    def test_equal_points_are_chosen_once_each(self) -> None:
        found, largest = greedy_coreset(torch.zeros(5, 2), 5, 2)
        assert sorted(found.tolist()) == list(range(5)) and found[0] == 2 and largest == 0

    @pytest.mark.parametrize("layout", ["selection", "origin"])
    @pytest.mark.parametrize("count", [1, 2])
    def test_is_made_of_different_training_features(self, layout: str, count: int) -> None:
        found = fixed({"kind": "coreset", "layout": layout, "per_position": count})
        assert found.shape == (3, 4, count, 5)
        assert len(rows(found)) == 12 * count and rows(found) <= rows(TRAIN)
        facts = built({"kind": "coreset", "layout": layout, "per_position": count}).facts
        flat = TRAIN.reshape(-1, 5).astype(float)
        places = [at for at, feature in enumerate(TRAIN.reshape(-1, 5)) if feature.tobytes() in rows(found)]
        assert facts["radius"]["8"] == pytest.approx(radius(flat, places), rel=1e-5)

    def test_a_larger_one_begins_with_the_smaller(self) -> None:
        small, large = fixed("coreset"), fixed({"kind": "coreset", "per_position": 3})
        assert np.array_equal(large[:, :, 0], small[:, :, 0])
        assert rows(fixed({"kind": "coreset", "seed": 1})) != rows(small)
        assert np.array_equal(fixed("coreset"), small)

    def test_the_order_of_selection_fills_the_grid_row_by_row(self) -> None:
        flat = TRAIN.reshape(-1, 5)
        first = fixed("coreset")[0, 0, 0]
        start = next(at for at, feature in enumerate(flat) if np.array_equal(feature, first))
        expected = flat[slow_greedy(flat.astype(float), 12, start)]
        assert np.array_equal(fixed("coreset").reshape(12, 5), expected)

    def test_origins_move_as_little_as_possible(self) -> None:
        rng = np.random.default_rng(5)
        for origins in (rng.integers(0, 6, 6), np.repeat(np.arange(3), 2), np.arange(6)[::-1]):
            found = near_origin(origins, 2, 3)

            def moved(order: Any, origins: NDArray[np.int64] = origins) -> int:
                pairs = ((divmod(cell, 3), divmod(int(origins[at]), 3)) for cell, at in enumerate(order))
                return sum((y - v) ** 2 + (x - u) ** 2 for (y, x), (v, u) in pairs)

            assert sorted(found) == list(range(6))
            assert moved(found) == min(moved(order) for order in itertools.permutations(range(6)))

    def test_on_the_grid_they_lie_near_their_origins(self) -> None:
        train = features(6, 2, 3, 5, seed=14)
        origin = {train[at].tobytes(): np.array(at[1:]) for at in np.ndindex(6, 2, 3)}
        cells = list(np.ndindex(2, 3))

        def moved(layout: str) -> tuple[int, int]:
            """Of the features on the grid: how far they were moved, and how far the best order would move them."""
            grid = fixed({"kind": "coreset", "layout": layout}, train)
            places = [origin[grid[y, x, 0].tobytes()] for y, x in cells]
            costs = [[int(((place - cell) ** 2).sum()) for cell in cells] for place in places]
            orders = itertools.permutations(range(6))
            return sum(costs[at][at] for at in range(6)), min(
                sum(costs[at][cell] for at, cell in enumerate(order)) for order in orders
            )

        near, best = moved("origin")
        assert near == best < moved("selection")[0]

    def test_a_projection_keeps_distances_and_takes_less_memory(self) -> None:
        wide = features(8, 2, 2, 400, seed=7)
        plain, projected = (fixed({"kind": "coreset", "projection": to}, wide) for to in ("none", 64))
        assert rows(projected) <= rows(wide) and rows(projected) != rows(plain), "64 of 400 dimensions are not all"
        # three tight groups: any projection that keeps distances takes one feature of each first
        centres = 50 * np.random.default_rng(8).normal(size=(4, 400))
        grouped = (centres[np.arange(32) % 4] + np.random.default_rng(9).normal(size=(32, 400))).astype(np.float32)
        found = fixed({"kind": "coreset", "projection": 16}, grouped.reshape(8, 2, 2, 400)).reshape(4, 400)
        nearest_centre = ((found[:, None] - centres) ** 2).sum(-1).argmin(1)
        assert sorted(nearest_centre) == [0, 1, 2, 3]
        assert np.array_equal(
            fixed({"kind": "coreset", "projection": 5}), fixed({"kind": "coreset", "projection": "none"})
        )

    def test_what_does_not_fit_is_refused_with_the_number_before_it_starts(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        huge = np.broadcast_to(np.float32(0), (20_000, 64, 64, 320))  # 81.9 million features
        monkeypatch.setattr("fod_bench.methods.fod.references.coreset.available_memory", lambda device: 8 * 2**30)
        with pytest.raises(
            TrialError, match=r"level 8 needs 39\.7 GiB for 81920000 features in 128 dim.*8\.0 GiB are there"
        ):
            built("coreset", huge, huge[:1])

    def test_more_features_than_images_have_are_refused(self) -> None:
        with pytest.raises(TrialError, match="there are 6, so set `per_position` to 6 at most"):
            built({"kind": "coreset", "per_position": 7})
        assert rows(fixed({"kind": "coreset", "per_position": 6})) == rows(TRAIN)


def test_the_memory_of_a_container_counts_where_it_is_less(tmp_path: Path) -> None:
    machine = memory.available_memory(CPU)
    assert machine is not None and 2**20 < machine < 2**50
    for name, text in (("max", "1000\n"), ("current", "700\n"), ("stat", "anon 500\ninactive_file 150\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert memory._container(tmp_path) == 450
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._container(tmp_path) is None and memory._container(tmp_path / "none") is None
