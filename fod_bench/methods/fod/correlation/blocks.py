"""The operator without an N×M tensor kept, block by block of query rows: the frame that its implementations on a CPU share.

The forward pass walks over blocks of rows that fit the cache and keeps row sums only; the backward pass recomputes each block.
Memory is O(N·d) instead of O(heads·N·M). The matrix products are here; what is done to the entries of a block is the
implementation's. Letters as in the package, g heads and R rows of a block.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fod_bench.methods.fod.correlation.result import EPSILON, Correlation
from fod_bench.methods.fod.crew import CREW


class Targets(NamedTuple):
    """The target's factors of some heads of one image."""

    y: Tensor
    """(g, N, H)."""
    x: Tensor
    """(g, N, W)."""


class RowSums(NamedTuple):
    """What the forward pass leaves of each row, of some heads of one image; all to be filled."""

    divergence: Tensor
    """(g, N): Σ_j (t − p)·(log(1 + t) − log(1 + p))."""
    entropy: Tensor
    """(g, N): Σ_j S·log(1 + p)."""
    highest: Tensor
    """(g, N, 1), the highest logit."""
    inverse_sum: Tensor
    """(g, N, 1), the inverse of the softmax's sum."""


class RowGradients(NamedTuple):
    """What reaches the rows of some heads of one image in the backward pass, and what it leaves there."""

    highest: Tensor
    """(g, N, 1), as the forward pass left it."""
    inverse_sum: Tensor
    """(g, N, 1), likewise."""
    to_attention: Tensor
    """(g, N, 1), gradient of the divergence, for what reaches the attention."""
    to_entropy: Tensor
    """(g, N, 1), gradient of the entropy."""
    y: Tensor
    """(g, N, H), to be filled: with u = log(1 + t) − log(1 + p) − (1 + p)/(1 + t), which is dDiv/dT less 1, Σ over x of u·x."""
    x: Tensor
    """(g, N, W), likewise, Σ over y of u·y."""


Forward = Callable[[slice, Tensor], Tensor]
"""From rows of the heads and their logits to base 2, (g, R, M), to their attention, which may stand in the same memory."""
Backward = Callable[[slice, Tensor, Tensor], tuple[Tensor, Tensor]]
"""From rows, their logits and the gradient of S from S·V, (g, R, M) each, to the attention and the gradient of the logits, which
may stand in the same memory."""


class Arithmetic(Protocol):
    """What is done to the entries of a block: with p = S/ε and t = T/ε, since log(S + ε) = log ε + log(1 + p).

    Log ε cancels in the divergence. A block has rows of one head, or all rows of several.
    """

    def block_elements(self, device: torch.device) -> int:
        """Entries of S worked on at once by a thread."""
        ...

    def forward(self, target: Targets, sums: RowSums) -> Forward:
        """What some heads' blocks go through in the forward pass; `sums` are filled."""
        ...

    def backward(self, target: Targets, rows: RowGradients) -> Backward:
        """What some heads' blocks go through in the backward pass; sums in `rows` are filled."""
        ...


def correlate_in_blocks(
    arithmetic: Arithmetic, query: Tensor, key: Tensor, value: Tensor, target_y: Tensor, target_x: Tensor
) -> Correlation:
    """See `fod_bench.methods.fod.correlation.correlate`."""
    return Correlation(*_Correlate.apply(arithmetic, query, key, value, target_y, target_x))


class _Correlate(torch.autograd.Function):
    """What is small, (B, h, N, …), is corrected by factors and constants once after the blocks, not in each."""

    @staticmethod
    def forward(ctx: Any, arithmetic: Arithmetic, *inputs: Tensor) -> tuple[Tensor, ...]:
        query = inputs[0]
        output = torch.empty_like(query)  # in memory as the query, which is a view of the heads side by side
        divergence, entropy = (query.new_empty(query.shape[:-1]) for _ in range(2))
        highest, inverse_sum = (query.new_empty(*query.shape[:-1], 1) for _ in range(2))

        def work(head: Head) -> None:
            sums = RowSums(*(part[head.index] for part in (divergence, entropy, highest, inverse_sum)))
            attend = arithmetic.forward(head.target, sums)
            for rows, block, made in head.blocks(output[head.index]):
                torch.bmm(attend(rows, head.logits(block)), head.value, out=made)

        each_head(work, arithmetic, *inputs)
        ctx.arithmetic = arithmetic
        ctx.save_for_backward(*inputs, highest, inverse_sum)
        divergence.mul_(EPSILON)
        return output, divergence, divergence.clone(), entropy.neg_().sub_(math.log(EPSILON))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, highest, inverse_sum = ctx.saved_tensors
        target_y, target_x = inputs[3:]
        upstream, to_attention, to_entropy = gradients[0], *(part[..., None].contiguous() for part in gradients[2:])
        query_gradient, key_gradient, value_gradient = (torch.empty_like(tensor) for tensor in inputs[:3])
        y_gradient, x_gradient = (
            torch.empty_like(factor, memory_format=torch.contiguous_format) for factor in (target_y, target_x)
        )
        of_rows = (highest, inverse_sum, to_attention, to_entropy, y_gradient, x_gradient)

        def work(head: Head) -> None:
            key_sum, value_sum = key_gradient[head.index], value_gradient[head.index]
            through = ctx.arithmetic.backward(head.target, RowGradients(*(part[head.index] for part in of_rows)))
            for rows, block, above, made in head.blocks(upstream[head.index].contiguous(), query_gradient[head.index]):
                logits, gradient = head.logits(block), head.buffer(block, "gradient")
                torch.bmm(above, head.value.mT, out=gradient)
                attention, gradient = through(rows, logits, gradient)
                more = float(rows.start > 0)  # the first block's products are not added to anything
                torch.baddbmm(value_sum, attention.mT, above, beta=more, out=value_sum)
                torch.baddbmm(made, gradient, head.key, beta=0.0, alpha=head.scale, out=made)
                torch.baddbmm(key_sum, gradient.mT, block, beta=more, alpha=head.scale, out=key_sum)

        each_head(work, ctx.arithmetic, *inputs)
        y_gradient.add_(target_x.sum(-1, keepdim=True)).mul_(gradients[1][..., None])
        x_gradient.add_(target_y.sum(-1, keepdim=True)).mul_(gradients[1][..., None])
        return None, query_gradient, key_gradient, value_gradient, y_gradient, x_gradient


class Head:
    """Some heads of one image: what every block of their query rows needs."""

    def __init__(self, index: tuple[int, slice], rows: int, *tensors: Tensor) -> None:
        self.index = index
        self._rows = rows
        # the heads lie side by side in memory; copied apart once they are multiplied faster
        self._query, self.key, self.value, y, x = (tensor[index].contiguous() for tensor in tensors)
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
            (whole,) = workspace((len(block), self._rows, self.key.shape[1]), self.key, name)
            self._buffers[name] = whole
        return whole if block.shape[1] == self._rows else whole[:, : block.shape[1]]


def each_head(work: Callable[[Head], None], arithmetic: Arithmetic, *inputs: Tensor) -> None:
    """Do the work of all heads. On a CPU as many threads as PyTorch has take whole heads each, and nothing has to be waited for
    within one."""
    device = inputs[0].device
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    parts = Head.parts(arithmetic.block_elements(device), threads, *inputs[:2])

    def work_on(part: tuple[tuple[int, slice], int]) -> None:
        work(Head(*part, *inputs))

    if threads == 1:
        for part in parts:
            work_on(part)
    else:
        CREW.map(work_on, parts, threads)


class _Workspace(threading.local):
    """A thread's buffers. Given back in between, their memory would have to be paged in anew each time, which costs a sixth of a
    step on a CPU."""

    def __init__(self) -> None:
        self._flat: dict[tuple[str, torch.dtype], Tensor] = {}
        self._cut: dict[tuple[str, torch.dtype, tuple[int, ...]], Tensor] = {}

    def take(self, shape: tuple[int, ...], dtype: torch.dtype, name: str) -> Tensor:
        cut = self._cut.get((name, dtype, shape))
        if cut is None:
            elements, flat = math.prod(shape), self._flat.get((name, dtype))
            with torch.inference_mode(False):  # a tensor made in inference mode could not be written to in training
                if flat is None or flat.numel() < elements:
                    self._cut.clear()
                    flat = self._flat[name, dtype] = torch.empty(elements, dtype=dtype)
                cut = self._cut[name, dtype, shape] = flat[:elements].view(shape)
        return cut


_WORKSPACE = _Workspace()


def workspace(shape: tuple[int, ...], like: Tensor, *names: str) -> list[Tensor]:
    """A buffer of this thread for each name, of the type and device of `like`, with no particular content."""
    if like.device.type != "cpu":  # the device's own allocator keeps what it is given back
        return [like.new_empty(shape) for _ in names]
    return [_WORKSPACE.take(shape, like.dtype, name) for name in names]
