"""The operator in PyTorch without an N×M tensor kept: the forward pass walks over blocks of query rows that fit the cache and
keeps row sums only; the backward pass recomputes each block. Memory is O(N·d) instead of O(heads·N·M).

It works on p = S/ε and t = T/ε: log(S + ε) = log ε + log1p(p), where log ε cancels in the divergence. It is as accurate, and
log1p is faster than log in PyTorch's CPU kernels, as exp2 is than exp. Letters as in the package, g heads and R rows of a block.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fod_bench.fod.correlation.result import EPSILON, Correlation

BLOCK_ELEMENTS = {"cpu": 1 << 17, "cuda": 1 << 25}
"""Entries of S worked on at once, on a CPU per thread: a thread's part of the few buffers then fits its share of the cache;
on a GPU they fill the device."""


def correlate_tiled(query: Tensor, key: Tensor, value: Tensor, target_y: Tensor, target_x: Tensor) -> Correlation:
    """See `fod_bench.fod.correlation.correlate`."""
    return Correlation(*_Correlate.apply(query, key, value, target_y, target_x))


class _Correlate(torch.autograd.Function):
    """What is small, (B, h, N, …), is corrected by factors and constants once after the blocks, not in each."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, target_y: Tensor, target_x: Tensor
    ) -> tuple[Tensor, ...]:
        output = torch.empty_like(query, memory_format=torch.contiguous_format)
        divergence, entropy = (query.new_empty(query.shape[:-1]) for _ in range(2))
        highest, inverse_sum = (query.new_empty(*query.shape[:-1], 1) for _ in range(2))
        for head in _Head.all(query, key, value, target_y, target_x):
            for given, made in head.blocks(output, divergence, entropy, highest, inverse_sum):
                output_rows, divergence_rows, entropy_rows, highest_rows, inverse_sum_rows = made
                attention, p, t, difference = head.buffers(given, 4)
                logits = head.logits(given, out=attention)
                torch.amax(logits, -1, keepdim=True, out=highest_rows)
                logits.sub_(highest_rows).exp2_()
                torch.sum(logits, -1, keepdim=True, out=inverse_sum_rows).reciprocal_()
                attention.mul_(inverse_sum_rows)
                head.relative(given, attention, p, t)
                torch.bmm(attention, head.value, out=output_rows)
                torch.sub(t, p, out=difference)  # (T − S)/ε
                p.log1p_()
                torch.sum(difference.mul_(t.log1p_().sub_(p)), -1, out=divergence_rows)
                torch.sum(p.mul_(attention), -1, out=entropy_rows)
        ctx.save_for_backward(query, key, value, target_y, target_x, highest, inverse_sum)
        divergence.mul_(EPSILON)
        return output, divergence, divergence.clone(), entropy.neg_().sub_(math.log(EPSILON))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, target_y, target_x, highest, inverse_sum = ctx.saved_tensors
        upstream, to_target, to_attention, to_entropy = gradients[0], *(part[..., None] for part in gradients[1:])
        query_gradient = torch.empty_like(query, memory_format=torch.contiguous_format)
        # transposed, (B, h, d, M): the products that add up here are faster with the long side last
        key_gradient, value_gradient = (query.new_zeros(tensor.mT.shape) for tensor in (key, value))
        y_gradient, x_gradient = torch.empty_like(target_y), torch.empty_like(target_x)
        kept = (highest, inverse_sum, upstream, to_attention, to_entropy)
        for head in _Head.all(query, key, value, target_y, target_x):
            value_transposed = head.value.mT.contiguous()
            key_sum, value_sum = key_gradient[head.index], value_gradient[head.index]
            for given, others in head.blocks(*kept, query_gradient, y_gradient, x_gradient):
                highest_rows, inverse_sum_rows, upstream_rows, weight, entropy_weight, query_rows, y_rows, x_rows = (
                    others
                )
                attention, p, t, log_p, log_ratio, inverse, spare = head.buffers(given, 7)
                logits = head.logits(given, out=attention)
                logits.sub_(highest_rows).exp2_().mul_(inverse_sum_rows)
                head.relative(given, attention, p, t)
                value_sum.baddbmm_(upstream_rows.mT, attention)
                torch.log1p(p, out=log_p)
                torch.log1p(t, out=log_ratio).sub_(log_p)  # log(T + ε) − log(S + ε)
                p.add_(1.0)  # (S + ε)/ε
                torch.div(p, t.add_(1.0), out=inverse)  # (S + ε)/(T + ε)

                # dDiv/dT = log_ratio + (T − S)/(T + ε), and (T − S)/(T + ε) = 1 − inverse; the 1 is added below
                grid = torch.sub(log_ratio, inverse, out=t).unflatten(-1, head.grid)  # (g, R, H, W)
                torch.sum(torch.mul(grid, given.x[:, :, None, :], out=spare.view_as(grid)), -1, out=y_rows)
                torch.sum(grid.mul_(given.y[:, :, :, None]), -2, out=x_rows)

                # dDiv/dS = 1 − log_ratio − (T + ε)/(S + ε) and dEnt/dS = ε/(S + ε) − 1 − log(S + ε). Terms constant along a
                # row are dropped: the softmax's own gradient removes them.
                gradient = torch.bmm(upstream_rows, value_transposed, out=t)
                gradient.addcmul_(log_ratio.add_(inverse.reciprocal_()), weight, value=-1.0)
                gradient.addcdiv_(entropy_weight, p).addcmul_(log_p, entropy_weight, value=-1.0)
                logits_gradient = torch.ops.aten._softmax_backward_data.out(
                    gradient, attention, -1, gradient.dtype, grad_input=spare
                )
                torch.bmm(logits_gradient, head.key, out=query_rows)
                key_sum.baddbmm_(given.query.mT, logits_gradient)
        query_gradient.mul_(query.shape[-1] ** -0.5)
        key_gradient.mul_(math.log(2.0))  # the queries' factor for base 2 is in it
        y_gradient.add_(target_x.sum(-1, keepdim=True)).mul_(to_target)
        x_gradient.add_(target_y.sum(-1, keepdim=True)).mul_(to_target)
        return query_gradient, key_gradient.mT, value_gradient.mT, y_gradient, x_gradient


class _Rows(NamedTuple):
    """What a block is computed from, of some heads of one picture."""

    query: Tensor
    """(g, R, d), scaled."""
    y: Tensor
    """(g, R, H), the target's factor."""
    scaled_y: Tensor
    """The same, divided by ε."""
    x: Tensor
    """(g, R, W)."""


class _Head:
    """Some heads of one picture: what every block of their query rows needs."""

    def __init__(self, index: tuple[int, slice], rows: int, *tensors: Tensor) -> None:
        self.index = index
        self._rows = rows
        query, self.key, self.value, y, x = (tensor[index] for tensor in tensors)
        self.grid = (y.shape[-1], x.shape[-1])
        # scaled once here, not N×M times: by 1/√d, and to base 2
        self._given = (query * (query.shape[-1] ** -0.5 / math.log(2.0)), y, y / EPSILON, x)
        self._key_transposed = self.key.mT.contiguous()

    @classmethod
    def all(cls, query: Tensor, key: Tensor, *others: Tensor) -> Iterator[_Head]:
        """Cut the work up so that a block stays below the device's block size."""
        pictures, heads, tokens, _ = query.shape
        on_cpu = query.device.type == "cpu"
        budget = BLOCK_ELEMENTS["cpu"] * torch.get_num_threads() if on_cpu else BLOCK_ELEMENTS["cuda"]
        rows = max(1, min(tokens, budget // key.shape[-2]))
        group = max(1, budget // (rows * key.shape[-2]))
        for picture in range(pictures):
            for head in range(0, heads, group):
                yield cls((picture, slice(head, head + group)), rows, query, key, *others)

    def blocks(self, *tensors: Tensor) -> Iterator[tuple[_Rows, tuple[Tensor, ...]]]:
        """For every block of query rows: what it is computed from, and its part of each tensor (B, h, N, …).

        A tensor is cut up in one call: a slice for each block would cost as much as a pass over it.
        """
        given = zip(*(tensor.split(self._rows, 1) for tensor in self._given), strict=True)
        others = zip(*(tensor[self.index].split(self._rows, 1) for tensor in tensors), strict=True)
        for rows, parts in zip(given, others, strict=True):
            yield _Rows(*rows), parts

    def buffers(self, given: _Rows, count: int) -> list[Tensor]:
        """Memory for a block: `count` tensors (g, R, M) with no particular content."""
        return _WORKSPACE.take(count, (*given.query.shape[:2], self.key.shape[1]), self.key)

    def logits(self, given: _Rows, out: Tensor) -> Tensor:
        """Q·Kᵀ/√d of these rows, to base 2, (g, R, M)."""
        return torch.bmm(given.query, self._key_transposed, out=out)

    def relative(self, given: _Rows, attention: Tensor, p: Tensor, t: Tensor) -> None:
        """Fill S/ε and T/ε of these rows, each (g, R, M)."""
        torch.mul(attention, 1.0 / EPSILON, out=p)
        torch.mul(given.scaled_y[:, :, :, None], given.x[:, :, None, :], out=t.unflatten(-1, self.grid))


class _Workspace(threading.local):
    """Buffers that are used again for every block of every call. Given back in between, their memory would have to be paged
    in anew each time, which costs a sixth of a step on a CPU. A thread has its own."""

    def __init__(self) -> None:
        self._flat: dict[torch.dtype, list[Tensor]] = {}
        self._cut: tuple[Any, list[Tensor]] = (None, [])

    def take(self, count: int, shape: tuple[int, int, int], like: Tensor) -> list[Tensor]:
        """`count` tensors of this shape, of the type and device of `like`."""
        if like.device.type != "cpu":  # the device's own allocator keeps what it is given back
            return [like.new_empty(shape) for _ in range(count)]
        asked = (like.dtype, count, shape)
        if self._cut[0] != asked:
            elements = math.prod(shape)
            self._cut = asked, [flat[:elements].view(shape) for flat in self._take_flat(count, elements, like.dtype)]
        return self._cut[1]

    def _take_flat(self, count: int, elements: int, dtype: torch.dtype) -> list[Tensor]:
        flat = self._flat.setdefault(dtype, [])
        if len(flat) < count or flat[0].numel() < elements:
            size = max(elements, flat[0].numel() if flat else 0)
            with torch.inference_mode(False):  # a tensor made in inference mode could not be written to in training
                flat[:] = [torch.empty(size, dtype=dtype) for _ in range(max(count, len(flat)))]
        return flat[:count]


_WORKSPACE = _Workspace()
