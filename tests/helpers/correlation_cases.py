"""Calls of the correlation operator, its equations as written, and their values and gradients to compare."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks import plain_fod
from fod_bench.methods.fod.correlation import IMPLEMENTATIONS, Correlation, correlate
from fod_bench.methods.fod.target import kernel_widths, target_factors
from tests.helpers.trial_builders import DEVICE

HERE = [name for name in IMPLEMENTATIONS if name != "numba" or DEVICE.type == "cpu"]
"""Implementations that there are on the device of the tests; the first is the plain one."""
TOLERANCE = 3e-6
"""Largest error of an entry in float32, as a share of its tensor's largest entry, or of 1 where that is smaller."""
NAMES = (*Correlation._fields, *(f"gradient of {name}" for name in ("query", "key", "value", "target_y", "target_x")))


class Case(NamedTuple):
    """A call of the operator."""

    images: int
    heads: int
    queries: int
    height: int
    width: int
    depth: int
    spread: float
    """Of query and key: 0.01 makes nearly uniform correlations, 30 nearly one-hot ones."""
    sigma: float
    """The target's kernel width before the sigmoid: −20 gives the smallest there is."""
    seed: int

    def inputs(self) -> list[Tensor]:
        """Query, key, value and the target's factors, float64."""
        generator = torch.Generator().manual_seed(self.seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(self.images, self.heads, *shape, generator=generator, dtype=torch.float64)

        references = self.height * self.width
        query, key = (self.spread * normal(count, self.depth) for count in (self.queries, references))
        y, x = target_factors(kernel_widths(self.sigma + normal(references, 2).clamp(-2, 2)), self.height, self.width)
        at = torch.randint(references, (self.queries,), generator=generator)  # M need not be N
        return [query, key, normal(references, self.depth), y[:, :, at], x[:, :, at]]


def outcome(inputs: list[Tensor], function=correlate) -> list[Tensor]:
    """Values, then gradients of Σ w·value with weights that differ from entry to entry."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    parts = function(*leaves)
    generator = torch.Generator().manual_seed(5)
    weights = [torch.randn(part.shape, generator=generator, dtype=torch.float64).to(part) for part in parts]
    total = sum((weight * part).sum() for weight, part in zip(weights, parts, strict=True))
    return [part.detach().double().cpu() for part in (*parts, *torch.autograd.grad(total, leaves))]


def written_down(query: Tensor, key: Tensor, value: Tensor, target_y: Tensor, target_x: Tensor) -> Correlation:
    attention = torch.softmax(query @ key.mT / query.shape[-1] ** 0.5, -1)
    target = (target_y[..., :, None] * target_x[..., None, :]).flatten(-2)
    return Correlation(
        attention @ value,
        plain_fod.divergence(target, attention.detach()),
        plain_fod.divergence(target.detach(), attention),
        plain_fod.entropy(attention),
    )


def compare(found: list[Tensor], truth: list[Tensor], tolerance: float) -> None:
    for name, actual, expected in zip(NAMES, found, truth, strict=True):
        allowed = tolerance * max(1.0, float(expected.abs().max()))
        assert float((actual - expected).abs().max()) <= allowed, name
