"""The operator in PyTorch without an N×M tensor kept: the forward pass walks over blocks of query rows that fit the cache and
keeps row sums only; the backward pass recomputes each block. Memory is O(N·d) instead of O(heads·N·M).

It works on p = S/ε and t = T/ε: log(S + ε) = log ε + log1p(p), where log ε cancels in the divergence. It is as accurate, and
log1p is faster than log in PyTorch's CPU kernels, as exp2 is than exp. Letters as in the package, g heads and R rows of a block.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import Any

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
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, target_y: Tensor, target_x: Tensor
    ) -> tuple[Tensor, ...]:
        output = torch.empty_like(query, memory_format=torch.contiguous_format)
        divergence, entropy, top, inverse_sum = (query.new_empty(query.shape[:-1]) for _ in range(4))
        for head in _Head.all(query, key, value, target_y, target_x):
            for rows in head.blocks:
                attention, p, t, difference = head.buffers(rows, 4)
                logits = head.logits(rows, out=attention)
                highest = torch.amax(logits, -1, keepdim=True)
                logits.sub_(highest).exp2_()
                scale = logits.sum(-1, keepdim=True).reciprocal_()
                attention.mul_(scale)
                top[head.index][:, rows], inverse_sum[head.index][:, rows] = highest[..., 0], scale[..., 0]
                head.relative(rows, attention, p, t)
                torch.bmm(attention, head.value, out=output[head.index][:, rows])
                torch.sub(t, p, out=difference)  # (T − S)/ε
                p.log1p_()
                divergence[head.index][:, rows] = _row_dot(difference, t.log1p_().sub_(p)).mul_(EPSILON)
                entropy[head.index][:, rows] = _row_dot(p, attention).neg_().sub_(math.log(EPSILON))
        ctx.save_for_backward(query, key, value, target_y, target_x, top, inverse_sum)
        return output, divergence, divergence.clone(), entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, target_y, target_x, top, inverse_sum = ctx.saved_tensors
        output_gradient, to_target, to_attention, to_entropy = gradients
        query_gradient = torch.empty_like(query, memory_format=torch.contiguous_format)
        # transposed, (B, h, d, M): the products that add up here are faster with the long side last
        key_gradient, value_gradient = (query.new_zeros(tensor.mT.shape) for tensor in (key, value))
        y_gradient, x_gradient = torch.empty_like(target_y), torch.empty_like(target_x)
        for head in _Head.all(query, key, value, target_y, target_x):
            value_transposed = head.value.mT.contiguous()
            for rows in head.blocks:
                attention, p, t, log_p, log_ratio, inverse, spare = head.buffers(rows, 7)
                logits = head.logits(rows, out=attention).sub_(top[head.index][:, rows, None])
                logits.exp2_().mul_(inverse_sum[head.index][:, rows, None])
                head.relative(rows, attention, p, t)
                upstream = output_gradient[head.index][:, rows]
                value_gradient[head.index].baddbmm_(upstream.mT, attention)
                torch.log1p(p, out=log_p)
                torch.log1p(t, out=log_ratio).sub_(log_p)  # log(T + ε) − log(S + ε)
                p.add_(1.0)  # (S + ε)/ε
                torch.div(p, t.add_(1.0), out=inverse)  # (S + ε)/(T + ε)

                # dDiv/dT = log_ratio + (T − S)/(T + ε), and (T − S)/(T + ε) = 1 − inverse
                grid = torch.sub(log_ratio, inverse, out=t).unflatten(-1, head.grid)  # (g, R, H, W)
                y, x = head.target_y[:, rows], head.target_x[:, rows]
                weight = to_target[head.index][:, rows, None]
                y_sum = torch.mul(grid, x[:, :, None, :], out=spare.view_as(grid)).sum(-1)
                y_gradient[head.index][:, rows] = y_sum.add_(x.sum(-1, keepdim=True)).mul_(weight)
                x_sum = grid.mul_(y[:, :, :, None]).sum(-2)
                x_gradient[head.index][:, rows] = x_sum.add_(y.sum(-1, keepdim=True)).mul_(weight)

                # dDiv/dS = 1 − log_ratio − (T + ε)/(S + ε) and dEnt/dS = ε/(S + ε) − 1 − log(S + ε). Terms constant along a
                # row are dropped: the softmax's own gradient removes them.
                gradient = torch.bmm(upstream, value_transposed, out=t)
                log_ratio.add_(inverse.reciprocal_())
                gradient.addcmul_(log_ratio, to_attention[head.index][:, rows, None], value=-1.0)
                weight = to_entropy[head.index][:, rows, None]
                gradient.addcdiv_(weight, p).addcmul_(log_p, weight, value=-1.0)

                logits_gradient = torch.ops.aten._softmax_backward_data.out(
                    gradient, attention, -1, gradient.dtype, grad_input=spare
                )
                torch.bmm(logits_gradient, head.key, out=query_gradient[head.index][:, rows])
                key_gradient[head.index].baddbmm_(head.query[:, rows].mT, logits_gradient)
        query_gradient.mul_(query.shape[-1] ** -0.5)
        key_gradient.mul_(math.log(2.0))  # the query's factor for base 2 is in it
        return query_gradient, key_gradient.mT, value_gradient.mT, y_gradient, x_gradient


class _Head:
    """Some heads of one picture: what every block of their query rows needs."""

    def __init__(self, index: tuple[int, slice], rows: int, *tensors: Tensor) -> None:
        self.index = index
        query, self.key, self.value, self.target_y, self.target_x = (tensor[index] for tensor in tensors)
        # scaled once here, not N×M times: by 1/√d, and to base 2
        self.query = query * (query.shape[-1] ** -0.5 / math.log(2.0))
        self.grid = (self.target_y.shape[-1], self.target_x.shape[-1])
        self.blocks = [slice(row, min(row + rows, query.shape[1])) for row in range(0, query.shape[1], rows)]
        self._key_transposed = self.key.mT.contiguous()
        self._scaled_y = self.target_y / EPSILON

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

    def buffers(self, rows: slice, count: int) -> list[Tensor]:
        """Memory for a block: `count` tensors (g, R, M) with no particular content."""
        shape = (len(self.key), rows.stop - rows.start, self.key.shape[1])
        return [flat[: math.prod(shape)].view(shape) for flat in _WORKSPACE.take(count, math.prod(shape), self.key)]

    def logits(self, rows: slice, out: Tensor) -> Tensor:
        """Q·Kᵀ/√d of these rows, to base 2, (g, R, M)."""
        return torch.bmm(self.query[:, rows], self._key_transposed, out=out)

    def relative(self, rows: slice, attention: Tensor, p: Tensor, t: Tensor) -> None:
        """Fill S/ε and T/ε of these rows, each (g, R, M)."""
        torch.mul(attention, 1.0 / EPSILON, out=p)
        grid = t.unflatten(-1, self.grid)
        torch.mul(self._scaled_y[:, rows, :, None], self.target_x[:, rows, None, :], out=grid)


class _Workspace(threading.local):
    """Buffers that are used again for every block of every call. Given back in between, their memory would have to be paged
    in anew each time, which costs a sixth of a step on a CPU. A thread has its own."""

    def __init__(self) -> None:
        self._flat: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}

    def take(self, count: int, elements: int, like: Tensor) -> list[Tensor]:
        """`count` one-dimensional tensors of at least `elements` entries, of the type and device of `like`."""
        if like.device.type != "cpu":  # the device's own allocator keeps what it is given back
            return [like.new_empty(elements) for _ in range(count)]
        flat = self._flat.setdefault((like.device, like.dtype), [])
        if len(flat) < count or flat[0].numel() < elements:
            size = max(elements, flat[0].numel() if flat else 0)
            with torch.inference_mode(False):  # a tensor made in inference mode could not be written to in training
                flat[:] = [torch.empty(size, dtype=like.dtype) for _ in range(max(count, len(flat)))]
        return flat[:count]


_WORKSPACE = _Workspace()


def _row_dot(left: Tensor, right: Tensor) -> Tensor:
    """Σ over the last axis of left·right, each (g, R, M); overwrites `left`."""
    return left.mul_(right).sum(-1)
