"""The shared greedy coreset against its rule written down slowly; kept and gone on with; ties and equal points."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fod_bench.methods.coreset import GreedyCoreset, farthest_from_mean, mean_distances
from fod_bench.records.checkpoints import State

torch.set_num_threads(1)


def slow_exact(points: NDArray[np.float64], count: int) -> list[int]:
    """The official code's exact rule: every distance, and a start by the norm of a point's distances to all."""
    distances = [[math.dist(x, y) for y in points] for x in points]
    nearest = [math.hypot(*row) for row in distances]
    picks: list[int] = []
    for _ in range(count):
        picks.append(max(range(len(points)), key=nearest.__getitem__))  # the first of equals
        nearest = [min(*pair) for pair in zip(nearest, distances[picks[-1]], strict=True)]
    return picks


def slow_approximate(points: NDArray[np.float64], starts: list[int], count: int) -> list[int]:
    """Its approximate rule: the mean of the distances to the starts stays in the minimum, and no start is picked by being one."""
    nearest = [sum(math.dist(x, points[at]) for at in starts) / len(starts) for x in points]
    picks: list[int] = []
    for _ in range(count):
        picks.append(max(range(len(points)), key=nearest.__getitem__))
        nearest = [min(known, math.dist(x, points[picks[-1]])) for known, x in zip(nearest, points, strict=True)]
    return picks


def cloud(rows: int = 90, seed: int = 0) -> NDArray[np.float64]:
    """Points around the origin, some far out."""
    rng = np.random.default_rng(seed)
    made = rng.normal(size=(rows, 4)) * rng.choice([0.2, 1, 5], (rows, 1))
    return made - made.mean(0)


def picks(points: Any, count: int, start: Any, **options: Any) -> list[int]:
    made = GreedyCoreset(torch.as_tensor(points), count, start, **options)
    made.advance(count)
    return made.picks.tolist()


@pytest.mark.parametrize("block_rows", [1, 7, 64, 1024])
@pytest.mark.parametrize("repeats", [True, False])
def test_the_exact_rule_is_the_slow_one(block_rows: int, repeats: bool) -> None:
    points = cloud()
    start = farthest_from_mean(torch.from_numpy(points))
    assert picks(points, 40, start, block_rows=block_rows, repeats=repeats) == slow_exact(points, 40)


@pytest.mark.parametrize("block_rows", [1, 7, 1024])
def test_the_approximate_rule_is_the_slow_one(block_rows: int) -> None:
    points, starts = cloud(seed=1), [3, 50, 51, 7, 88]
    caps = mean_distances(torch.from_numpy(points), torch.tensor(starts))
    expected = slow_approximate(points, starts, 60)
    assert picks(points, 60, caps, block_rows=block_rows, repeats=False) == expected
    uncapped = picks(points, 60, expected[0], block_rows=block_rows)
    assert uncapped != expected, "the starts' mean caps distances to the end"


def test_of_equally_far_points_the_first_is_taken() -> None:
    square = [[1.0, 1], [1, -1], [-1, 1], [-1, -1], [0, 0]]
    assert picks(square, 4, farthest_from_mean(torch.tensor(square)), block_rows=2) == [0, 3, 1, 2]
    assert slow_exact(np.array(square), 4) == [0, 3, 1, 2]


class TestEqualPoints:
    @pytest.mark.parametrize("block_rows", [1, 3, 1024])
    def test_are_chosen_once_and_the_selection_ends(self, block_rows: int) -> None:
        points = torch.from_numpy(np.repeat(cloud(6, seed=2), 4, 0)).float()
        made = GreedyCoreset(points, 20, 0, repeats=False, block_rows=block_rows)
        made.advance(20)
        assert made.exhausted and made.radius == 0
        assert sorted(at // 4 for at in made.picks.tolist()) == list(range(6))

    def test_are_chosen_where_they_count(self) -> None:
        points = torch.from_numpy(np.repeat(cloud(6, seed=2), 4, 0)).float()
        assert sorted(picks(points, 24, 0, repeats=True)) == list(range(24))

    def test_all_the_same_leave_one(self) -> None:
        points = torch.zeros(50, 3)
        made = GreedyCoreset(points, 20, mean_distances(points, torch.arange(10)), repeats=False, block_rows=8)
        made.advance(20)
        assert made.picks.tolist() == [0] and made.exhausted

    def test_small_distances_of_long_points_are_not_none(self) -> None:
        """Products of float32 cannot tell these apart."""
        points = torch.tensor([[1000.0, 0], [1000.0, 0.01], [1000.0, 0.01], [-1000.0, 0]])
        assert sorted(picks(points, 4, 0, repeats=False)) in ([0, 1, 3], [0, 2, 3])


class TestKept:
    @pytest.mark.parametrize("after", [0, 1, 13, 39, 40])
    def test_goes_on_to_the_bit(self, after: int) -> None:
        points = torch.from_numpy(cloud(200, seed=3)).float()
        caps = mean_distances(points, torch.arange(10))
        whole, first, second = (GreedyCoreset(points, 40, caps, repeats=False, block_rows=16) for _ in range(3))
        whole.advance(40)
        first.advance(after)
        kept = first.state()
        first.advance(40)  # what was kept is not touched
        second.load_state(kept)
        second.advance(40)
        assert second.picks.tolist() == whole.picks.tolist()
        assert {name: array.tobytes() for name, array in second.state().items()} == {
            name: array.tobytes() for name, array in whole.state().items()
        }

    @pytest.mark.parametrize(
        "change",
        [
            lambda state: state.pop("least"),
            lambda state: state.pop("picks"),
            lambda state: state.update(least=state["least"][:-1]),
            lambda state: state.update(picks=state["picks"] + 10**6),
            lambda state: state.update(picks=np.arange(41)),
            lambda state: state.update(more=state["picks"]),
        ],
    )
    def test_of_others_is_refused_and_nothing_changed(self, change: Any) -> None:
        points = torch.from_numpy(cloud(200, seed=3)).float()
        made = GreedyCoreset(points, 40, 0)
        made.advance(5)
        state: State = made.state()
        change(state)
        before = made.state()
        with pytest.raises(ValueError, match=r"picks are not among 200|not of a selection of 40 among 200"):
            made.load_state(state)
        assert all(np.array_equal(before[name], array) for name, array in made.state().items())
