"""What the operator is given, and whether it goes together: shared by its implementations, of which the compiled ones do not look
whether they read and write within a tensor."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Inputs(NamedTuple):
    """See `fod_bench.methods.fod.correlation.correlate`."""

    query: Tensor
    key: Tensor
    value: Tensor
    target_y: Tensor
    target_x: Tensor

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            ValueError: shapes do not go together, or there is nothing to correlate.
        """
        images, heads, queries, depth = self.query.shape
        height, width = self.target_y.shape[-1], self.target_x.shape[-1]
        references = height * width
        shapes = {
            "key": (images, heads, references, depth),
            "value": (images, heads, references, depth),
            "target_y": (images, heads, queries, height),
            "target_x": (images, heads, queries, width),
        }
        for name, shape in shapes.items():
            found = tuple(getattr(self, name).shape)
            if found != shape:
                raise ValueError(
                    f"{name} is {found}; with a query {tuple(self.query.shape)} and a target over "
                    f"{height}×{width} references it would be {shape}"
                )
        if not queries * references * depth:
            raise ValueError(f"nothing to correlate: {queries} queries and {references} references of {depth} channels")
