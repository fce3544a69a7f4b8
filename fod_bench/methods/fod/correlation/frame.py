"""The operator without an N×M tensor kept, as autograd sees it: the frame that its implementations on a CPU share.

The forward pass keeps row sums only; the backward pass recomputes each row. Memory is O(N·d) instead of O(heads·N·M). How the rows
are passed over is the implementation's. Letters as in the package.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fod_bench.methods.fod.correlation.inputs import Inputs
from fod_bench.methods.fod.correlation.result import EPSILON, Correlation
from fod_bench.methods.fod.precision import current_precision


class RowSums(NamedTuple):
    """What the forward pass leaves of each row, of all heads or some; all to be filled."""

    divergence: Tensor
    """(…, N): Σ_j (t − p)·(log(1 + t) − log(1 + p))."""
    entropy: Tensor
    """(…, N): Σ_j S·log(1 + p); NaN where it is not wanted."""
    highest: Tensor
    """(…, N, 1), the highest logit as its product left it."""
    inverse_sum: Tensor
    """(…, N, 1), the inverse of the softmax's sum."""


class RowGradients(NamedTuple):
    """What reaches the rows of all heads or some in the backward pass, and what it leaves there."""

    highest: Tensor
    """(…, N, 1), as the forward pass left it."""
    inverse_sum: Tensor
    """(…, N, 1), likewise."""
    to_attention: Tensor
    """(…, N, 1), gradient of the divergence, for what reaches the attention."""
    to_entropy: Tensor
    """(…, N, 1), gradient of the entropy."""
    y: Tensor
    """(…, N, H), to be filled: with u = log(1 + t) − log(1 + p) − (1 + p)/(1 + t), which is dDiv/dT less 1, Σ over x of u·x."""
    x: Tensor
    """(…, N, W), likewise, Σ over y of u·y."""


class Gradients(NamedTuple):
    """Of the query, (B, h, N, d), and of key and value, (B, h, M, d); all to be filled."""

    query: Tensor
    key: Tensor
    value: Tensor


class Passes(Protocol):
    """Both passes over all heads, with p = S/ε and t = T/ε, since log(S + ε) = log ε + log(1 + p).

    Log ε cancels in the divergence. Products are made in the precision that was under way in the forward pass.
    """

    def forward(self, inputs: Inputs, output: Tensor, sums: RowSums) -> None:
        """Fill the output, S·V, (B, h, N, d), and the sums."""
        ...

    def backward(self, inputs: Inputs, upstream: Tensor, rows: RowGradients, gradients: Gradients) -> None:
        """Fill the gradients, and the sums in `rows`, from the output's gradient `upstream`, (B, h, N, d)."""
        ...


def correlate_by(passes: Passes, *tensors: Tensor) -> Correlation:
    """See `fod_bench.methods.fod.correlation.correlate`, which has made sure that the shapes go together."""
    return Correlation(*_Correlate.apply(passes, *tensors))


def _to_be_filled(like: Tensor) -> Tensor:
    """As large as this one, (B, h, …, d), in memory the heads side by side, as the network has them: a row is one piece."""
    images, heads, count, depth = like.shape
    return like.new_empty(images, count, heads, depth).transpose(1, 2)


class _Correlate(torch.autograd.Function):
    """What is small, (B, h, N, …), is corrected by factors and constants once after the passes, not in each row."""

    @staticmethod
    def forward(ctx: Any, passes: Passes, *tensors: Tensor) -> tuple[Tensor, ...]:
        inputs = Inputs(*tensors)
        query = inputs.query
        output = _to_be_filled(query)
        divergence, entropy = (query.new_empty(query.shape[:-1]) for _ in range(2))
        highest, inverse_sum = (query.new_empty(*query.shape[:-1], 1) for _ in range(2))
        passes.forward(inputs, output, RowSums(divergence, entropy, highest, inverse_sum))
        ctx.passes, ctx.precision = passes, current_precision()
        ctx.save_for_backward(*inputs, highest, inverse_sum)
        divergence.mul_(EPSILON)
        return output, divergence, divergence.clone(), entropy.neg_().sub_(math.log(EPSILON))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        if current_precision() != ctx.precision:
            raise RuntimeError(
                f"the forward pass multiplied in {ctx.precision} and the backward pass would in {current_precision()}: "
                "both belong into one block of `matrix_products`"
            )
        *tensors, highest, inverse_sum = ctx.saved_tensors
        inputs = Inputs(*tensors)
        to_attention, to_entropy = (part[..., None].contiguous() for part in upstream[2:])
        made = Gradients(*(_to_be_filled(tensor) for tensor in inputs[:3]))
        y, x = (torch.empty_like(factor, memory_format=torch.contiguous_format) for factor in inputs[3:])
        rows = RowGradients(highest, inverse_sum, to_attention, to_entropy, y, x)
        ctx.passes.backward(inputs, upstream[0], rows, made)
        y.add_(inputs.target_x.sum(-1, keepdim=True)).mul_(upstream[1][..., None])
        x.add_(inputs.target_y.sum(-1, keepdim=True)).mul_(upstream[1][..., None])
        return None, *made, y, x
