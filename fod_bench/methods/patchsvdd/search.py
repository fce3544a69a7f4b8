"""Distances to the nearest of many embeddings: by matrix products, then once more directly for the nearest few.

‖a − b‖² = ‖a‖² + ‖b‖² − 2ab loses its digits where a and b are near each other. So the products only say which rows can be the
nearest; their distances are computed from a − b. Shape letters: q queries, b rows of the bank, D the embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor

GROUP = 32
"""Rows of the bank that are looked at together."""
KEPT = 8
"""Groups whose rows are compared directly: those with the smallest products."""
_QUERIES = 256
_BLOCK = {"cpu": 64 * GROUP, "cuda": 4096 * GROUP}
"""Queries and rows of one product: small enough for a processor's cache, large enough for a GPU. Groups are the same in any."""


class Bank:
    """The embeddings that others are compared with. They are kept less their mean, which makes the products more exact."""

    def __init__(self, rows: Tensor, centre: Tensor) -> None:
        """`rows`: (b, D), at least one, less their mean `centre` (D,)."""
        self.centre = centre
        self._count = len(rows)
        missing = -len(rows) % GROUP
        # The last group is filled with its last row, which changes no minimum.
        rows = torch.cat([rows, rows[-1:].expand(missing, -1)]) if missing else rows
        self._table = torch.cat([rows, rows.square().sum(1, keepdim=True)], 1)  # (b, D + 1): a row and ‖b‖²

    @classmethod
    def of(cls, embeddings: Tensor) -> Bank:
        """Of embeddings (b, D)."""
        centre = embeddings.double().mean(0).float()
        return cls(embeddings - centre, centre)

    @property
    def rows(self) -> Tensor:
        """(b, D), less their mean."""
        return self._table[: self._count, :-1]

    def spread(self) -> float:
        """Standard deviation over the rows, mean over the D dimensions, as a part of the embeddings' own size (the root of the
        mean square of their centre)."""
        return float(self.rows.std(0, correction=0).mean() / self.centre.square().mean().sqrt().clamp(min=1e-12))

    def nearest(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Of queries (q, D) the distance to the nearest row (q,), and that row's number (q,).

        Exact but for this: should rows of more than eight groups be as near as the nearest, within the rounding of a product in
        float32, then the nearest of eight groups is taken, and is as near as the nearest within that rounding.
        """
        found = [self._nearest(block - self.centre) for block in queries.split(_QUERIES)]
        distances, numbers = zip(*found, strict=True)
        return torch.cat(distances), torch.cat(numbers)

    def _nearest(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        factors = torch.cat([-2 * queries, queries.new_ones(len(queries), 1)], 1)
        # ‖b‖² − 2ab, the least of each group: less than the distance's square by ‖a‖², which is the same for all rows
        blocks = self._table.split(_BLOCK.get(self._table.device.type, _BLOCK["cpu"]))
        lows = [(factors @ block.T).unflatten(1, (-1, GROUP)).amin(2) for block in blocks]
        low = torch.cat(lows, 1)  # (q, groups)
        chosen = low.topk(min(KEPT, low.shape[1]), largest=False).indices.sort(1).values  # (q, kept)
        members = self._table.unflatten(0, (-1, GROUP))[chosen][..., :-1]  # (q, kept, GROUP, D)
        distances = torch.linalg.vector_norm(members - queries[:, None, None], dim=3).flatten(1)  # (q, kept · GROUP)
        least, place = distances.min(1)
        group = chosen.gather(1, place[:, None] // GROUP)[:, 0]
        return least, (group * GROUP + place % GROUP).clamp(max=self._count - 1)
