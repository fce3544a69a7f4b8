"""The operator's passes block by block of query rows that fit the cache, with PyTorch's matrix products, on any device.

The products are here; what is done to the entries of a block is the implementation's. Letters as in the package, g heads and R rows
of a block.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from fod_bench.methods.fod.correlation.frame import Gradients, RowGradients, RowSums
from fod_bench.methods.fod.correlation.inputs import Inputs
from fod_bench.methods.fod.correlation.workspace import workspace
from fod_bench.methods.fod.crew import CREW


class Targets(NamedTuple):
    """The target's factors of some heads of one image."""

    y: Tensor
    """(g, N, H)."""
    x: Tensor
    """(g, N, W)."""


Forward = Callable[[slice, Tensor], Tensor]
"""From rows of the heads and their logits to base 2, (g, R, M), to their attention, which may stand in the same memory."""
Backward = Callable[[slice, Tensor, Tensor], tuple[Tensor, Tensor]]
"""From rows, their logits and the gradient of S from S·V, (g, R, M) each, to the attention and the gradient of the logits, which
may stand in the same memory."""


class Arithmetic(Protocol):
    """What is done to the entries of a block, which has rows of one head, or all rows of several."""

    def block_elements(self, device: torch.device) -> int:
        """Entries of S worked on at once by a thread."""
        ...

    def forward(self, target: Targets, sums: RowSums) -> Forward:
        """What some heads' blocks go through in the forward pass; `sums` are filled."""
        ...

    def backward(self, target: Targets, rows: RowGradients) -> Backward:
        """What some heads' blocks go through in the backward pass; sums in `rows` are filled."""
        ...


class InBlocks:
    """See `fod_bench.methods.fod.correlation.frame.Passes`."""

    def __init__(self, arithmetic: Arithmetic) -> None:
        self._arithmetic = arithmetic

    def forward(self, inputs: Inputs, output: Tensor, sums: RowSums) -> None:
        def work(head: Head) -> None:
            attend = self._arithmetic.forward(head.target, RowSums(*(part[head.index] for part in sums)))
            for rows, block, made in head.blocks(output[head.index]):
                torch.bmm(attend(rows, head.logits(block)), head.value, out=made)

        each_head(work, self._arithmetic, inputs)

    def backward(self, inputs: Inputs, upstream: Tensor, rows: RowGradients, gradients: Gradients) -> None:
        def work(head: Head) -> None:
            query_gradient, key_sum, value_sum = (part[head.index] for part in gradients)
            through = self._arithmetic.backward(head.target, RowGradients(*(part[head.index] for part in rows)))
            for at, block, above, made in head.blocks(upstream[head.index].contiguous(), query_gradient):
                logits, gradient = head.logits(block), head.buffer(block, "gradient")
                torch.bmm(above, head.value.mT, out=gradient)
                attention, gradient = through(at, logits, gradient)
                more = float(at.start > 0)  # the first block's products are not added to anything
                torch.baddbmm(value_sum, attention.mT, above, beta=more, out=value_sum)
                torch.baddbmm(made, gradient, head.key, beta=0.0, alpha=head.scale, out=made)
                torch.baddbmm(key_sum, gradient.mT, block, beta=more, alpha=head.scale, out=key_sum)

        each_head(work, self._arithmetic, inputs)


class Head:
    """Some heads of one image: what every block of their query rows needs."""

    def __init__(self, index: tuple[int, slice], rows: int, inputs: Inputs) -> None:
        self.index = index
        self._rows = rows
        # the heads lie side by side in memory; copied apart once they are multiplied faster
        self._query, self.key, self.value, y, x = (tensor[index].contiguous() for tensor in inputs)
        self.target = Targets(y, x)
        self.scale = self.key.shape[-1] ** -0.5
        self._key_transposed = self.key.mT
        self._buffers: dict[str, Tensor] = {}

    @staticmethod
    def parts(budget: int, threads: int, query: Tensor, key: Tensor) -> list[tuple[tuple[int, slice], int]]:
        """Cut the work up so that a block has at most `budget` entries of S, or one row, and each thread a part of the heads: an
        image and heads of it, and the rows of a block."""
        images, heads, tokens, _ = query.shape
        rows = max(1, min(tokens, budget // key.shape[-2]))
        group = max(1, min(budget // (rows * key.shape[-2]), -(-heads // threads)))
        return [
            ((image, slice(head, head + group)), rows) for image in range(images) for head in range(0, heads, group)
        ]

    def blocks(self, *tensors: Tensor) -> Iterator[tuple[Any, ...]]:
        """For every block of query rows: which they are, and their part of the query and of each tensor (g, N, …).

        A tensor is cut up in one call: a slice for each block would cost as much as a pass over it.
        """
        starts = range(0, self._query.shape[1], self._rows)
        parts = zip(*(tensor.split(self._rows, 1) for tensor in (self._query, *tensors)), strict=True)
        for start, cut in zip(starts, parts, strict=True):
            yield slice(start, start + self._rows), *cut

    def logits(self, block: Tensor) -> Tensor:
        """Q·Kᵀ/√d of query rows (g, R, d), to base 2, (g, R, M), in a buffer of this thread."""
        logits, factor = self.buffer(block, "logits"), self.scale / math.log(2.0)
        return torch.baddbmm(logits, block, self._key_transposed, beta=0.0, alpha=factor, out=logits)

    def buffer(self, block: Tensor, name: str) -> Tensor:
        """One of this thread's buffers (g, R, M) for query rows (g, R, d)."""
        whole = self._buffers.get(name)
        if whole is None:
            shape = len(block), self._rows, self.key.shape[1]
            (whole,) = workspace(shape, self.key.dtype, self.key.device, name)
            self._buffers[name] = whole
        return whole if block.shape[1] == self._rows else whole[:, : block.shape[1]]


def each_head(work: Callable[[Head], None], arithmetic: Arithmetic, inputs: Inputs) -> None:
    """Do the work of all heads. On a CPU as many threads as PyTorch has take whole heads each, and nothing has to be waited for
    within one."""
    device = inputs.query.device
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    parts = Head.parts(arithmetic.block_elements(device), threads, inputs.query, inputs.key)

    def work_on(part: tuple[tuple[int, slice], int]) -> None:
        work(Head(*part, inputs))

    CREW.map(work_on, parts, threads)
