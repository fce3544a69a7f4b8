"""One coupling block of a flow, with its gradients written out.

N rows of C numbers, of which x1 = the first C − C//2 and x2 = the last c = C//2; conditions of P numbers; a = C − C//2 + P.

    r = 0.1 · (W₂ · relu(W₁ · [x1, condition] + b₁) + b₂)          (2c), its halves r₁ and t
    s = clamp · tanh(r₁)
    y = [x1, x2 · exp(s) + t]
    z = rotation · (y · g + offset),  g = 0.1 · softplus(scale), softplus of β = ½, i.e. 2 · ln(1 + exp(scale / 2))
    ln |det ∂z/∂x| = Σ s + Σ ln g

Dinh et al., Density estimation using Real NVP, ICLR 2017, as `AllInOneBlock` of FrEIA 0.2 has it with `permute_soft`. The gradients
are written out because the condition needs none, which is more than half of the gradient of the first product's input.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

SHRINK = 0.1
"""Factor of what the block's network gives, s and t alike, and of the softplus of `scale`."""
BETA = 0.5
"""Of the softplus of `scale`."""


def gains(scale: Tensor) -> Tensor:
    """g of `scale`, both (C,)."""
    return functional.softplus(scale, beta=BETA).mul(SHRINK)


class _Coupling(torch.autograd.Function):
    """See `couple`."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        condition: Tensor,
        scale: Tensor,
        offset: Tensor,
        rotation: Tensor,
        hidden_weight: Tensor,
        hidden_bias: Tensor,
        output_weight: Tensor,
        output_bias: Tensor,
        clamp: float,
    ) -> tuple[Tensor, Tensor]:
        half = rows.shape[1] // 2
        kept, moved = rows.split((rows.shape[1] - half, half), 1)  # x1, x2
        seen = torch.cat((kept, condition), 1)  # (N, a)
        hidden = torch.addmm(hidden_bias, seen, hidden_weight.T).relu_()  # (N, 2a)
        bend, shift = torch.addmm(output_bias, hidden, output_weight.T).mul_(SHRINK).split(half, 1)  # (N, c) each
        bend = bend.tanh()
        stretch = bend.mul(clamp)  # s
        log_jacobian = stretch.sum(1)
        stretch = stretch.exp_()
        changed = torch.cat((kept, torch.addcmul(shift, moved, stretch)), 1)  # y (N, C)
        gain = gains(scale)
        log_jacobian += gain.log().sum()
        ctx.clamp = clamp
        ctx.save_for_backward(
            seen, hidden, bend, stretch, moved, changed, gain, scale, rotation, hidden_weight, output_weight
        )
        return torch.addcmul(offset, changed, gain) @ rotation.T, log_jacobian

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor, grad_jacobian: Tensor) -> tuple[Tensor | None, ...]:
        """Of rows, scale, offset and the network's weights; the condition and the rotation have none."""
        seen, hidden, bend, stretch, moved, changed, gain, scale, rotation, hidden_weight, output_weight = (
            ctx.saved_tensors
        )
        first = changed.shape[1] - moved.shape[1]
        turned = grad_out @ rotation  # of y · g + offset (N, C)
        grad_gain = torch.mul(turned, changed).sum(0) + grad_jacobian.sum() / gain
        grad_scale = grad_gain * torch.sigmoid(BETA * scale) * SHRINK
        grad_offset = turned.sum(0)
        grad_changed = turned.mul_(gain)  # of y (N, C)
        grad_moved = grad_changed[:, first:] * stretch  # of x2 (N, c)
        grad_stretch = torch.addcmul(grad_jacobian[:, None], grad_moved, moved)  # of s
        grad_bend = grad_stretch.mul_(bend.square().mul_(-ctx.clamp).add_(ctx.clamp))
        grad_raw = torch.cat((grad_bend, grad_changed[:, first:]), 1).mul_(SHRINK)  # (N, 2c)
        grad_hidden = (grad_raw @ output_weight).mul_(hidden > 0)  # (N, 2a)
        grad_rows = None
        if ctx.needs_input_grad[0]:
            grad_kept = torch.addmm(grad_changed[:, :first], grad_hidden, hidden_weight[:, :first])
            grad_rows = torch.cat((grad_kept, grad_moved), 1)
        return (
            grad_rows,
            None,
            grad_scale,
            grad_offset,
            None,
            grad_hidden.T @ seen,
            grad_hidden.sum(0),
            grad_raw.T @ hidden,
            grad_raw.sum(0),
            None,
        )


def couple(
    rows: Tensor,
    condition: Tensor,
    scale: Tensor,
    offset: Tensor,
    rotation: Tensor,
    hidden: tuple[Tensor, Tensor],
    output: tuple[Tensor, Tensor],
    clamp: float,
) -> tuple[Tensor, Tensor]:
    """z (N, C) and the log-determinants (N,) of rows (N, C) under conditions (N, P): see the equations above.

    Args:
        scale, offset: (C,).
        rotation: (C, C), orthogonal with determinant 1; not learned.
        hidden: W₁ (2a, a) and b₁ (2a,).
        output: W₂ (2c, 2a) and b₂ (2c,).
    """
    made: tuple[Tensor, Tensor] = _Coupling.apply(rows, condition, scale, offset, rotation, *hidden, *output, clamp)
    return made
