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


class Rows(NamedTuple):
    """What a block is computed from, of some heads of one image."""

    query: Tensor
    """(g, R, d), scaled by 1/√d and to base 2."""
    y: Tensor
    """(g, R, H), the target's factor."""
    scaled_y: Tensor
    """The same, divided by ε."""
    x: Tensor
    """(g, R, W)."""


class RowGradients(NamedTuple):
    """What reaches a block in the backward pass, and what it leaves there."""

    highest: Tensor
    """(g, R, 1), as the forward pass left it."""
    inverse_sum: Tensor
    """(g, R, 1), likewise."""
    upstream: Tensor
    """(g, R, d), gradient of S·V."""
    to_attention: Tensor
    """(g, R, 1), gradient of the divergence, for what reaches the attention."""
    to_entropy: Tensor
    """(g, R, 1), gradient of the entropy."""
    query: Tensor
    """(g, R, d), to be filled."""
    y: Tensor
    """(g, R, H), to be filled: Σ over x of the gradient with respect to T/ε, before the constant; see `Arithmetic.backward`."""
    x: Tensor
    """(g, R, W), likewise, Σ over y."""


class Arithmetic(Protocol):
    """What is done to the entries of a block: with p = S/ε and t = T/ε, since log(S + ε) = log ε + log(1 + p).

    Log ε cancels in the divergence.
    """

    def block_elements(self, device: torch.device) -> int:
        """Entries of S worked on at once by a thread."""
        ...

    def forward(
        self, given: Rows, logits: Tensor, divergence: Tensor, entropy: Tensor, highest: Tensor, inverse_sum: Tensor
    ) -> Tensor:
        """The attention (g, R, M), which may stand in the memory of the logits to base 2.

        Filled: Σ_j (t − p)·(log(1 + t) − log(1 + p)) and Σ_j S·log(1 + p), (g, R) each; the highest logit and the inverse of the
        softmax's sum, (g, R, 1) each.
        """
        ...

    def backward(self, given: Rows, rows: RowGradients, logits: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The attention, and the gradient of the logits, each (g, R, M), which may stand in the memory of the two given.

        `gradient` is that of S from S·V. With u = log(1 + t) − log(1 + p) − (1 + p)/(1 + t), `rows.y` gets Σ u·x and `rows.x` gets
        Σ u·y: dDiv/dT less 1.
        """
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
        output = torch.empty_like(query, memory_format=torch.contiguous_format)
        divergence, entropy = (query.new_empty(query.shape[:-1]) for _ in range(2))
        highest, inverse_sum = (query.new_empty(*query.shape[:-1], 1) for _ in range(2))

        def work(head: Head) -> None:
            for given, made in head.blocks(output, divergence, entropy, highest, inverse_sum):
                logits = head.logits(given)
                attention = arithmetic.forward(given, logits, *made[1:])
                torch.bmm(attention, head.value, out=made[0])

        each_head(work, arithmetic, *inputs)
        ctx.arithmetic = arithmetic
        ctx.save_for_backward(*inputs, highest, inverse_sum)
        divergence.mul_(EPSILON)
        return output, divergence, divergence.clone(), entropy.neg_().sub_(math.log(EPSILON))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, highest, inverse_sum = ctx.saved_tensors
        query, key, value, target_y, target_x = inputs
        upstream, to_target, to_attention, to_entropy = (
            gradients[0],
            *(part[..., None].contiguous() for part in gradients[1:]),
        )
        query_gradient = torch.empty_like(query, memory_format=torch.contiguous_format)
        # transposed, (B, h, d, M): the products that add up here are faster with the long side last
        key_gradient, value_gradient = (query.new_zeros(tensor.mT.shape) for tensor in (key, value))
        y_gradient, x_gradient = (
            torch.empty_like(factor, memory_format=torch.contiguous_format) for factor in (target_y, target_x)
        )
        of_rows = (highest, inverse_sum, upstream, to_attention, to_entropy, query_gradient, y_gradient, x_gradient)

        def work(head: Head) -> None:
            value_transposed = head.value.mT.contiguous()
            key_sum, value_sum = key_gradient[head.index], value_gradient[head.index]
            for given, others in head.blocks(*of_rows):
                rows = RowGradients(*others)
                logits = head.logits(given)
                (gradient,) = workspace(logits.shape, logits, "gradient")
                torch.bmm(rows.upstream, value_transposed, out=gradient)
                attention, gradient = ctx.arithmetic.backward(given, rows, logits, gradient)
                value_sum.baddbmm_(rows.upstream.mT, attention)
                torch.bmm(gradient, head.key, out=rows.query)
                key_sum.baddbmm_(given.query.mT, gradient)

        each_head(work, ctx.arithmetic, *inputs)
        query_gradient.mul_(query.shape[-1] ** -0.5)
        key_gradient.mul_(math.log(2.0))  # the queries' factor for base 2 is in it
        y_gradient.add_(target_x.sum(-1, keepdim=True)).mul_(to_target)
        x_gradient.add_(target_y.sum(-1, keepdim=True)).mul_(to_target)
        return None, query_gradient, key_gradient.mT, value_gradient.mT, y_gradient, x_gradient


class Head:
    """Some heads of one image: what every block of their query rows needs."""

    def __init__(self, index: tuple[int, slice], rows: int, *tensors: Tensor) -> None:
        self.index = index
        self._rows = rows
        query, self.key, self.value, y, x = (tensor[index] for tensor in tensors)
        # scaled once here, not N×M times
        query = (query * (query.shape[-1] ** -0.5 / math.log(2.0))).contiguous()
        self._given = (query, y.contiguous(), (y / EPSILON).contiguous(), x.contiguous())
        self._key_transposed = self.key.mT.contiguous()

    @classmethod
    def all(cls, budget: int, threads: int, query: Tensor, key: Tensor, *others: Tensor) -> Iterator[Head]:
        """Cut the work up so that a block has at most `budget` entries of S, or one row, and each thread a part of the heads."""
        images, heads, tokens, _ = query.shape
        rows = max(1, min(tokens, budget // key.shape[-2]))
        group = max(1, min(budget // (rows * key.shape[-2]), -(-heads // threads)))
        for image in range(images):
            for head in range(0, heads, group):
                yield cls((image, slice(head, head + group)), rows, query, key, *others)

    def blocks(self, *tensors: Tensor) -> Iterator[tuple[Rows, tuple[Tensor, ...]]]:
        """For every block of query rows: what it is computed from, and its part of each tensor (B, h, N, …).

        A tensor is cut up in one call: a slice for each block would cost as much as a pass over it.
        """
        given = zip(*(tensor.split(self._rows, 1) for tensor in self._given), strict=True)
        others = zip(*(tensor[self.index].split(self._rows, 1) for tensor in tensors), strict=True)
        for rows, parts in zip(given, others, strict=True):
            yield Rows(*rows), parts

    def logits(self, given: Rows) -> Tensor:
        """Q·Kᵀ/√d of these rows, to base 2, (g, R, M), in a buffer of this thread."""
        (logits,) = workspace((*given.query.shape[:2], self.key.shape[1]), self.key, "logits")
        return torch.bmm(given.query, self._key_transposed, out=logits)


def each_head(work: Callable[[Head], None], arithmetic: Arithmetic, *inputs: Tensor) -> None:
    """Do the work of all heads. On a CPU as many threads as PyTorch has take whole heads each, and nothing has to be waited for
    within one."""
    device = inputs[0].device
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    heads = Head.all(arithmetic.block_elements(device), threads, *inputs)
    if threads == 1:
        for head in heads:
            work(head)
    else:
        CREW.map(work, heads, threads)


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
