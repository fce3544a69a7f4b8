"""Greedy coreset (k-centre): of many points a few that cover them, each the farthest from all chosen before it.

Only the distance of every point to its nearest chosen one is kept, never those between points. And distances can only shrink, so a
block of points whose largest one, as last seen, is below another's need not be looked at again before that.
"""

from __future__ import annotations

import heapq
import math

import numpy as np
import torch
from torch import Tensor

from fod_bench.features.arrays import as_tensor
from fod_bench.records.checkpoints import State

BLOCK_ROWS = 1024
"""Points that are compared with the chosen ones at once,"""
_BLOCK_CHOSEN = 4096
"""with so many of those at most."""
_DOUBTFUL = 1e-5
"""Of a squared distance to the squared length: what is less may be rounding alone."""
_ROUNDING = 8
"""Points are equal when they differ by no more than so many units in the last place of their length."""


def farthest_from_mean(points: Tensor) -> int:
    """The start of the exact greedy rule, for points (R, D) around the origin: the first of those that are farthest from it.

    The rule begins with the largest root of Σᵢ‖x − xᵢ‖², which is R‖x − mean‖² and a constant.
    """
    return int(_half_squares(points, BLOCK_ROWS).argmax())


def mean_distances(points: Tensor, starts: Tensor) -> Tensor:
    """The start of the approximate greedy rule: each point's mean distance (R,) to the points at `starts` (S,)."""
    mode = "donot_use_mm_for_euclid_dist"  # a start is at distance 0 from itself
    return torch.cdist(points, points[starts.to(points.device)], compute_mode=mode).mean(1)


class GreedyCoreset:
    """A selection being made. It can be kept between any two picks and gone on with to the bit."""

    def __init__(
        self, points: Tensor, count: int, start: int | Tensor, *, repeats: bool = True, block_rows: int = BLOCK_ROWS
    ) -> None:
        """Nothing is picked yet.

        Args:
            points: (R, D), around the origin: far from it the differences of distances would be rounded away.
            count: how many are to be picked, R at most.
            start: the first pick; or (R,), what each point's distance begins with. The first pick is then the largest of those,
                and they cap the distances for good.
            repeats: whether a point that equals a chosen one can be chosen too. Otherwise the selection ends, `exhausted`,
                where no others are left.
        """
        self.picks = torch.empty(0, dtype=torch.int64)
        """(k,), places of what is chosen so far, in order; on the CPU."""
        self._count, self._repeats, self._block_rows = count, repeats, block_rows
        self._points = points
        self._known = points.new_empty(count, points.shape[1])  # (count, D), the points chosen so far
        # Of ‖x − c‖²/2 = ‖x‖²/2 + ‖c‖²/2 − x·c the first part is the point's own; the rest is kept as its least over all c.
        lengths = _half_squares(points, block_rows)  # (R,)
        self._least = torch.full_like(lengths, torch.inf)
        if isinstance(start, Tensor):
            torch.sub(start.square().mul_(0.5), lengths, out=self._least)
        parts = (array.split(block_rows) for array in (points, lengths, self._least))
        self._blocks = [_Block(*part) for part in zip(*parts, strict=True)]
        self._next = start if isinstance(start, int) else int(start.argmax())
        self._heap = [(-block.largest, number) for number, block in enumerate(self._blocks)]
        heapq.heapify(self._heap)

    @property
    def exhausted(self) -> bool:
        """Whether every point is chosen, or equals a chosen one where those do not count."""
        return self._heap[0][0] == math.inf

    @property
    def radius(self) -> float:
        """The largest distance of a point to its nearest chosen one; 0 where all are chosen."""
        return math.sqrt(max(0.0, -2.0 * self._heap[0][0]))

    def advance(self, until: int) -> None:
        """Pick until so many are chosen, or as many as there can be; of equally far points the first is taken."""
        until = min(until, self._count)
        made, picks = len(self.picks), list[int]()
        while made < until and not self.exhausted:
            picks.append(self._next)
            self._known[made] = self._points[self._next]
            made += 1
            self._blocks[self._next // self._block_rows].take(self._next % self._block_rows)
            self._find_next(made)
        self.picks = torch.cat([self.picks, torch.tensor(picks, dtype=torch.int64)])

    def _find_next(self, made: int) -> None:
        """The farthest point from the first `made` chosen ones: the heap's first block when it has been compared with them all."""
        chosen = self._known[:made]
        while True:
            at = self._heap[0][1]
            block = self._blocks[at]
            if block.compared < made:
                block.compare(chosen)
            elif not self._repeats and block.farthest_equals_one(chosen):
                block.take(block.farthest)
                block.find_farthest()
            else:
                break
            heapq.heapreplace(self._heap, (-block.largest, at))
        self._next = at * self._block_rows + block.farthest

    def state(self) -> State:
        """What going on needs beside the points: `picks` (k,) and, unless none is made, the blocks' distances."""
        state: State = {"picks": self.picks.numpy().copy()}
        if len(self.picks):
            state["least"] = self._least.cpu().numpy().copy()
            state["compared"] = np.array([block.compared for block in self._blocks])
            state["farthest"] = np.array([block.farthest for block in self._blocks])
            state["largest"] = np.array([block.largest for block in self._blocks])
        return state

    def load_state(self, state: State) -> None:
        """Go on from a state of a selection among the same points. Raises ValueError, with nothing changed, if it cannot be one."""
        rows, blocks = len(self._points), len(self._blocks)
        made = len(state["picks"]) if state.get("picks") is not None and state["picks"].ndim == 1 else -1
        kept = {"least": rows, "compared": blocks, "farthest": blocks, "largest": blocks} if made else {}
        expected = {"picks": (made,)} | {name: (length,) for name, length in kept.items()}
        if made < 0 or made > self._count or {name: array.shape for name, array in state.items()} != expected:
            raise ValueError(f"the state is not of a selection of {self._count} among {rows} points")
        picks = state["picks"].astype(np.int64)
        if made and not (picks.min() >= 0 and picks.max() < rows):
            raise ValueError(f"the state's picks are not among {rows} points")
        if not made:
            return
        self.picks = torch.from_numpy(picks)
        self._known[:made] = self._points[self.picks.to(self._points.device)]
        self._least.copy_(as_tensor(state["least"]))
        for number, block in enumerate(self._blocks):
            block.compared, block.farthest = int(state["compared"][number]), int(state["farthest"][number])
            block.largest = float(state["largest"][number])
        self._heap = [(-block.largest, number) for number, block in enumerate(self._blocks)]
        heapq.heapify(self._heap)
        self._find_next(made)


def _half_squares(points: Tensor, block_rows: int) -> Tensor:
    """‖x‖²/2 of points (R, D): (R,). Without a second copy of them, or pieces of one between what stays."""
    lengths = points.new_empty(len(points))
    for part, found in zip(points.split(block_rows), lengths.split(block_rows), strict=True):
        torch.sum(part.square(), 1, out=found)
    return lengths.mul_(0.5)


class _Block:
    """Some of the points, and how far each is from the nearest of the chosen ones that it was compared with."""

    def __init__(self, points: Tensor, lengths: Tensor, least: Tensor) -> None:
        """With views of the selection's arrays: points (rows, D), ‖x‖²/2 and the rest of the least distance, both (rows,)."""
        self.points, self._lengths, self._least = points, lengths, least
        self.compared = 0
        """Chosen points, the first ones, that were compared with."""
        self.farthest = 0
        """The point that is farthest from them,"""
        self.largest = math.inf
        """and half its squared distance."""

    def take(self, row: int) -> None:
        """This one is chosen, once, even where all others are its equals."""
        self._least[row] = -torch.inf

    def compare(self, chosen: Tensor) -> None:
        """Compare with those of the chosen points (k, D) that are new."""
        for new in chosen[self.compared :].split(_BLOCK_CHOSEN):
            distance = torch.addmm(new.square().sum(1).mul_(0.5), self.points, new.T, alpha=-1)  # (rows, new)
            torch.minimum(self._least, distance.amin(1), out=self._least)
        self.compared = len(chosen)
        self.find_farthest()

    def find_farthest(self) -> None:
        largest, row = torch.add(self._lengths, self._least).max(0)
        self.largest, self.farthest = float(largest), int(row)

    def farthest_equals_one(self, chosen: Tensor) -> bool:
        """Whether the farthest point is, but for rounding, one of the chosen ones (k, D): differences tell what products cannot."""
        if self.largest == -math.inf or self.largest > _DOUBTFUL * float(self._lengths[self.farthest]):
            return False
        point = self.points[self.farthest]
        nearest = (chosen - point).square_().sum(1).min().sqrt()
        return bool(nearest <= _ROUNDING * torch.finfo(point.dtype).eps * point.norm())
