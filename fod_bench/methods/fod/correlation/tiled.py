"""The operator in PyTorch, on any device: a block's entries are worked on by one call after the other, in place in a few buffers.

log1p is as accurate as log and faster in PyTorch's CPU kernels, as exp2 is than exp. Letters as in the package and in `blocks.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fod_bench.methods.fod.correlation.blocks import Backward, Forward, InBlocks, Targets
from fod_bench.methods.fod.correlation.frame import RowGradients, RowSums, correlate_by
from fod_bench.methods.fod.correlation.result import EPSILON, Correlation
from fod_bench.methods.fod.correlation.workspace import workspace

BLOCK_ELEMENTS = {"cpu": 1 << 17, "cuda": 1 << 25}
"""Entries of S worked on at once, on a CPU per thread: a thread's few buffers then fit its share of the cache; on a GPU they
fill the device."""


def correlate_tiled(query: Tensor, key: Tensor, value: Tensor, target_y: Tensor, target_x: Tensor) -> Correlation:
    """See `fod_bench.methods.fod.correlation.correlate`."""
    return correlate_by(InBlocks(_Tiled()), query, key, value, target_y, target_x)


class _Tiled:
    """See `fod_bench.methods.fod.correlation.blocks.Arithmetic`."""

    def block_elements(self, device: torch.device) -> int:
        return BLOCK_ELEMENTS["cpu" if device.type == "cpu" else "cuda"]

    def forward(self, target: Targets, sums: RowSums) -> Forward:
        def attend(rows: slice, logits: Tensor) -> Tensor:
            p, t, difference = _buffers(logits, "p", "t", "difference")
            divergence, entropy, highest, inverse_sum = (part[:, rows] for part in sums)
            torch.amax(logits, -1, keepdim=True, out=highest)
            attention = logits.sub_(highest).exp2_()
            torch.sum(attention, -1, keepdim=True, out=inverse_sum).reciprocal_()
            attention.mul_(inverse_sum)
            _relative(target.y[:, rows], target.x[:, rows], attention, p, t)
            torch.sub(t, p, out=difference)
            p.log1p_()
            torch.sum(difference.mul_(t.log1p_().sub_(p)), -1, out=divergence)
            torch.sum(p.mul_(attention), -1, out=entropy)
            return attention

        return attend

    def backward(self, target: Targets, rows: RowGradients) -> Backward:
        def through(at: slice, logits: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
            names = "p", "t", "difference", "log_ratio", "inverse", "spare"
            p, t, log_p, log_ratio, inverse, spare = _buffers(logits, *names)
            of, y, x = RowGradients(*(part[:, at] for part in rows)), target.y[:, at], target.x[:, at]
            attention = logits.sub_(of.highest).exp2_().mul_(of.inverse_sum)
            _relative(y, x, attention, p, t)
            torch.log1p(p, out=log_p)
            torch.log1p(t, out=log_ratio).sub_(log_p)  # log(T + ε) − log(S + ε)
            p.add_(1.0)  # (S + ε)/ε
            torch.div(p, t.add_(1.0), out=inverse)  # (S + ε)/(T + ε)

            # dDiv/dT = log_ratio + (T − S)/(T + ε), and (T − S)/(T + ε) = 1 − inverse
            grid = torch.sub(log_ratio, inverse, out=t).unflatten(-1, (y.shape[-1], x.shape[-1]))  # (g, R, H, W)
            torch.sum(torch.mul(grid, x[:, :, None, :], out=spare.view_as(grid)), -1, out=of.y)
            torch.sum(grid.mul_(y[:, :, :, None]), -2, out=of.x)

            # dDiv/dS = 1 − log_ratio − (T + ε)/(S + ε) and dEnt/dS = ε/(S + ε) − 1 − log(S + ε). Terms constant along a row
            # are dropped: the softmax's own gradient removes them.
            gradient.addcmul_(log_ratio.add_(inverse.reciprocal_()), of.to_attention, value=-1.0)
            gradient.addcdiv_(of.to_entropy, p).addcmul_(log_p, of.to_entropy, value=-1.0)
            logits_gradient = torch.ops.aten._softmax_backward_data.out(
                gradient, attention, -1, gradient.dtype, grad_input=spare
            )
            return attention, logits_gradient

        return through


def _buffers(like: Tensor, *names: str) -> list[Tensor]:
    return workspace(like.shape, like.dtype, like.device, *names)


def _relative(y: Tensor, x: Tensor, attention: Tensor, p: Tensor, t: Tensor) -> None:
    """Fill S/ε and T/ε, each (g, R, M), from the target's factors (g, R, H) and (g, R, W)."""
    torch.mul(attention, 1.0 / EPSILON, out=p)
    grid = t.unflatten(-1, (y.shape[-1], x.shape[-1]))
    torch.mul((y / EPSILON)[:, :, :, None], x[:, :, None, :], out=grid)
