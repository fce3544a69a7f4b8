"""What the operator gives, and the constant of its logarithms: shared by its implementations."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

EPSILON = 1e-4
"""Added inside every logarithm; part of the method, as in the authors' code."""


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
    """(B, h, N): Ent(S). The numba implementation leaves it out, as NaN, where no gradients are recorded."""
