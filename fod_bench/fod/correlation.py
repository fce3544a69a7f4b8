"""The fused correlation operator: attention, its divergence from an RBF target, and its entropy, without an N×N tensor kept.

One I2Correlation branch needs from its attention matrix S and its target matrix T (both N×M, rows summing to one):

    output      S·V                                                        Eq. 4 and 9
    divergence  Σ_j (T − S)·(log(T + ε) − log(S + ε))   per row            Eq. 6, both directions of the KL divergence at once
    entropy     −Σ_j S·log(S + ε)                       per row            Eq. 7

T is never built from its exponential: normalised rows of the RBF kernel (Eq. 5) are an outer product of a row over the
grid's y and a row over its x, so N×(H+W) numbers stand for N×M. The forward pass walks over blocks of query rows that fit
the cache and keeps row sums only; the backward pass recomputes each block. Memory is O(N·d) instead of O(heads·N·M).

Shape letters: B pictures, h heads, N query patches, M = H·W reference patches, d channels of one head.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

EPSILON = 1e-4
"""Added inside every logarithm; part of the method, as in the authors' code."""

_BLOCK_ELEMENTS = {"cpu": 1 << 17, "cuda": 1 << 25}
"""Entries of S worked on at once: on a CPU one block's few buffers fit a core's cache, on a GPU they fill the device."""


class Correlation(NamedTuple):
    """What one branch's attention gives. Every part is differentiable.

    The two divergences are the same numbers; they differ in where a gradient flows, which is the stop-gradient of Eq. 13.
    """

    output: Tensor
    """(B, h, N, d): S·V."""
    target_divergence: Tensor
    """(B, h, N): Div(T, sg[S]); its gradient reaches the target's factors only."""
    attention_divergence: Tensor
    """(B, h, N): Div(sg[T], S); its gradient reaches query and key only."""
    entropy: Tensor
    """(B, h, N): Ent(S)."""


def correlate(query: Tensor, key: Tensor, value: Tensor, target_y: Tensor, target_x: Tensor) -> Correlation:
    """Attention with scale 1/√d, its divergence from the target and its entropy.

    Args:
        query: (B, h, N, d).
        key, value: (B, h, M, d), M = H·W, in row-major order of the grid.
        target_y: (B, h, N, H), the target's factor over the grid's rows; every row sums to one.
        target_x: (B, h, N, W), its factor over the grid's columns; every row sums to one.

    Raises:
        ValueError: M is not H·W.
    """
    if key.shape[-2] != target_y.shape[-1] * target_x.shape[-1]:
        raise ValueError(
            f"{key.shape[-2]} reference patches do not form the target's {target_y.shape[-1]}×{target_x.shape[-1]} grid"
        )
    return Correlation(*_Correlate.apply(query, key, value, target_y, target_x))


class _Correlate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, target_y: Tensor, target_x: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(query, key, value, target_y, target_x)
        output = torch.empty_like(query, memory_format=torch.contiguous_format)
        divergence = query.new_empty(query.shape[:-1])
        entropy = query.new_empty(query.shape[:-1])
        for head, rows in _blocks(query, key):
            attention, attention_eps, target_eps = _block(query, key, target_y, target_x, head, rows)
            torch.bmm(attention, value[head], out=output[head][:, rows])
            log_ratio = torch.div(target_eps, attention_eps).log_()  # log(T + ε) − log(S + ε)
            target_eps.sub_(attention_eps)  # T − S
            divergence[head][:, rows] = _row_dot(target_eps, log_ratio)
            entropy[head][:, rows] = _row_dot(attention, attention_eps.log_()).neg_()
        return output, divergence, divergence.clone(), entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, target_y, target_x = ctx.saved_tensors
        output_gradient, to_target, to_attention, to_entropy = gradients
        scale = query.shape[-1] ** -0.5
        height, width = target_y.shape[-1], target_x.shape[-1]
        query_gradient, key_gradient, value_gradient = (
            torch.zeros_like(tensor, memory_format=torch.contiguous_format) for tensor in (query, key, value)
        )
        y_gradient, x_gradient = torch.empty_like(target_y), torch.empty_like(target_x)
        for head, rows in _blocks(query, key):
            attention, attention_eps, target_eps = _block(query, key, target_y, target_x, head, rows)
            upstream = output_gradient[head][:, rows]
            value_gradient[head].baddbmm_(attention.mT, upstream)
            ratio = target_eps / attention_eps
            log_ratio = ratio.log()

            # dDiv/dT = log(T+ε) − log(S+ε) + (T−S)/(T+ε), and (T−S)/(T+ε) = 1 − (S+ε)/(T+ε)
            gradient = torch.reciprocal(ratio, out=target_eps).neg_().add_(log_ratio).add_(1.0)
            gradient.mul_(to_target[head][:, rows, None])
            grid = gradient.unflatten(-1, (height, width))  # (g, R, H, W)
            y_gradient[head][:, rows] = torch.matmul(grid, target_x[head][:, rows, :, None]).squeeze(-1)
            x_gradient[head][:, rows] = torch.matmul(target_y[head][:, rows, None, :], grid).squeeze(-2)

            # dDiv/dS = −log_ratio − (T+ε)/(S+ε) + 1 and dEnt/dS = −log(S+ε) − 1 + ε/(S+ε). Terms constant along a row
            # are dropped: the softmax's own gradient removes them.
            gradient = torch.bmm(upstream, value[head].mT, out=target_eps)
            gradient.addcmul_(ratio.add_(log_ratio), to_attention[head][:, rows, None], value=-1.0)
            weight = to_entropy[head][:, rows, None]
            gradient.addcdiv_(weight.mul(EPSILON), attention_eps)
            gradient.addcmul_(attention_eps.log_(), weight, value=-1.0)

            logits_gradient = torch.ops.aten._softmax_backward_data(gradient, attention, -1, gradient.dtype)
            logits_gradient.mul_(scale)
            torch.bmm(logits_gradient, key[head], out=query_gradient[head][:, rows])
            key_gradient[head].baddbmm_(logits_gradient.mT, query[head][:, rows])
        return query_gradient, key_gradient, value_gradient, y_gradient, x_gradient


def _block(
    query: Tensor, key: Tensor, target_y: Tensor, target_x: Tensor, head: tuple[int, slice], rows: slice
) -> tuple[Tensor, Tensor, Tensor]:
    """S, S + ε and T + ε of some heads' rows, each (g, R, M)."""
    logits = torch.bmm(query[head][:, rows], key[head].mT)
    attention = torch.softmax(logits.mul_(query.shape[-1] ** -0.5), -1)
    attention_eps = torch.add(attention, EPSILON, out=logits)
    target_eps = torch.mul(target_y[head][:, rows, :, None], target_x[head][:, rows, None, :]).flatten(-2).add_(EPSILON)
    return attention, attention_eps, target_eps


def _blocks(query: Tensor, key: Tensor) -> Iterator[tuple[tuple[int, slice], slice]]:
    """Cut the work into ((picture, heads), query rows) that stay below the device's block size."""
    pictures, heads, tokens, _ = query.shape
    budget = _BLOCK_ELEMENTS["cpu" if query.device.type == "cpu" else "cuda"]
    rows = max(1, min(tokens, budget // key.shape[-2]))
    group = max(1, budget // (rows * key.shape[-2]))
    for picture in range(pictures):
        for head in range(0, heads, group):
            for row in range(0, tokens, rows):
                yield (picture, slice(head, head + group)), slice(row, row + rows)


def _row_dot(left: Tensor, right: Tensor) -> Tensor:
    """Σ over the last axis of left·right, each (g, R, M); overwrites `left`."""
    return left.mul_(right).sum(-1)
