"""The operator as its equations are written. Autograd keeps every N×M tensor: for tests, and to see what the others save."""

from __future__ import annotations

import torch
from torch import Tensor

from fod_bench.methods.fod.correlation.result import EPSILON, Correlation


def correlate_plain(query: Tensor, key: Tensor, value: Tensor, target_y: Tensor, target_x: Tensor) -> Correlation:
    """See `fod_bench.methods.fod.correlation.correlate`."""
    attention = torch.softmax(query @ key.mT / query.shape[-1] ** 0.5, -1)  # (B, h, N, M)
    target = (target_y[..., :, None] * target_x[..., None, :]).flatten(-2)  # (B, h, N, M)
    return Correlation(
        attention @ value,
        _divergence(target, attention.detach()),
        _divergence(target.detach(), attention),
        -(attention * torch.log(attention + EPSILON)).sum(-1),
    )


def _divergence(target: Tensor, attention: Tensor) -> Tensor:
    """Eq. 6 per row: KL(T, S) + KL(S, T), each (B, h, N)."""
    log_target, log_attention = torch.log(target + EPSILON), torch.log(attention + EPSILON)
    forward = (target * (log_target - log_attention)).sum(-1)
    return forward + (attention * (log_attention - log_target)).sum(-1)
