"""The memory of normal patches, and how far others are from it.

Shape letters: M memory rows of D numbers, Q patches of an image, k neighbours.
"""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK_ROWS = 8192
"""Memory rows that patches are compared with at once."""
_BLOCK_ELEMENTS = {"cpu": 1 << 20, "cuda": 1 << 26}
"""Distances held at once: on a CPU such as stay in its cache."""


class Memory:
    """Memory rows, in which nearest neighbours are found by matrix products, in blocks."""

    def __init__(self, rows: Tensor) -> None:
        """Of rows (M, D), at least one, on the device of the patches to come."""
        # Distances are taken from the mean, since far from the origin their small differences would be rounded away.
        self._centre = rows.mean(0)
        self._rows = rows - self._centre
        self._lengths = self._rows.square().sum(1).mul_(-0.5)  # (M,)

    def __len__(self) -> int:
        return len(self._rows)

    def nearest(self, patches: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The k = min(count, M) nearest rows of patches (Q, D).

        Returns:
            (Q, k) squared distances, and (Q, k) int64 numbers of the rows, both from the nearest on.
        """
        queries = patches - self._centre
        numbers = self._closest(queries, min(count, len(self)))
        # which are nearest is told by products, how far they are by differences: products cannot tell small ones from 0
        near = self._rows[numbers]  # (Q, k, D)
        return near.sub_(queries[:, None]).square_().sum(-1), numbers

    def image_score(self, patches: Tensor, b: int) -> Tensor:
        """Eq. 7: the image's score from its patches (Q, D), a scalar.

        The largest distance s* of a patch to its nearest row m*, times 1 − exp s* / Σ exp d over the distances d of that patch to
        the b rows that are nearest to m*, which is one of them. With b = 1 there is no weight.
        """
        squared, numbers = self.nearest(patches, 1)
        at = squared[:, 0].argmax()
        score, nearest = squared[at, 0].sqrt(), numbers[at, 0]
        b = min(b, len(self))
        if b == 1:
            return score
        around = self._closest(self._rows[nearest][None], b)[0]  # (b,)
        distances = (self._rows[around] - (patches[at] - self._centre)).square().sum(1).sqrt()  # (b,)
        # a softmax, whose exponents are taken from the largest distance
        largest = distances.max()
        return score * (1 - (score - largest).exp() / (distances - largest).exp().sum())

    def _closest(self, queries: Tensor, count: int) -> Tensor:
        """Numbers (Q, count) of the rows nearest to patches (Q, D) around the rows' mean."""
        # ‖q − m‖² = ‖q‖² − 2 (q·m − ‖m‖²/2), so the nearest has the largest bracket
        width = min(len(self), _BLOCK_ROWS)
        height = max(1, _BLOCK_ELEMENTS.get(queries.device.type, 1 << 20) // width)
        return torch.cat([self._closest_of_block(block, count) for block in queries.split(height)])

    def _closest_of_block(self, queries: Tensor, count: int) -> Tensor:
        best = queries.new_empty(len(queries), 0)  # (Q, k), brackets so far
        numbers = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
        for start in range(0, len(self), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            closeness = torch.addmm(self._lengths[block], queries, self._rows[block].T)  # (Q, R)
            if count == 1:
                found, places = closeness.max(1, keepdim=True)
            else:
                found, places = closeness.topk(min(count, closeness.shape[1]))
            best, numbers = torch.cat([best, found], 1), torch.cat([numbers, places + start], 1)
            if start:  # merged, and in order again
                best, kept = best.topk(min(count, best.shape[1]))
                numbers = numbers.gather(1, kept)
        return numbers
