"""Products of bfloat16 factors on a CPU, against equations in float32 whose factors are rounded one product after the other."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks import plain_fod
from fod_bench.methods.fod.correlation import VARIABLE, Correlation, numba
from fod_bench.methods.fod.correlation.frame import correlate_by
from fod_bench.methods.fod.correlation.numba import WholeHeads, product_address
from fod_bench.methods.fod.network import Branch, FODNetwork, NetworkShape
from fod_bench.methods.fod.precision import matrix_products
from fod_bench.methods.fod.train import LevelTrainer, Losses, LossWeights, build_network
from tests.helpers.correlation_cases import Case, outcome, written_down
from tests.helpers.trial_builders import CPU

SHAPE = NetworkShape(16, 16, 24, 128, 8, 2, "full")
"""Heads of 16 channels: their scale is a power of two, so that it may come before a rounding or after it."""


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(left, right)
        return rounded(left) @ rounded(right)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        left, right = ctx.saved_tensors
        return rounded(gradient) @ rounded(right).mT, rounded(left).mT @ rounded(gradient)


def rounded(factor: Tensor) -> Tensor:
    return factor.bfloat16().float()


def product(left: Tensor, right: Tensor) -> Tensor:
    made: Tensor = _Product.apply(left, right)
    return made


def correlate_rounded(query: Tensor, key: Tensor, value: Tensor, target_y: Tensor, target_x: Tensor) -> Correlation:
    attention = torch.softmax(product(query, key.mT) / query.shape[-1] ** 0.5, -1)
    target = (target_y[..., :, None] * target_x[..., None, :]).flatten(-2)
    return Correlation(
        product(attention, value),
        plain_fod.divergence(target, attention.detach()),
        plain_fod.divergence(target.detach(), attention),
        plain_fod.entropy(attention),
    )


def distance(found: list[Tensor], truth: list[Tensor]) -> float:
    """Largest of the tensors' distances, each as a share of what it should be."""
    return max(float((one - other).norm() / other.norm()) for one, other in zip(found, truth, strict=True))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["plain", "tiled", "numba"])
def test_the_operator_rounds_factors_and_nothing_else(monkeypatch: pytest.MonkeyPatch, name: str, threads: int) -> None:
    monkeypatch.setenv(VARIABLE, name)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    inputs = [tensor.float() for tensor in Case(1, 2, 60, 8, 16, 16, 1.0, 0.0, 6).inputs()]
    expected = outcome(inputs, correlate_rounded)
    with matrix_products("bfloat16", CPU):
        found = outcome(inputs)
    assert distance(found, expected) < 0.2 * distance(outcome(inputs, written_down), expected)


@pytest.mark.parametrize("elements", [1000, 1 << 18], ids=["a short last block", "one block"])
@pytest.mark.parametrize("images", [1, 2])
def test_whole_heads_round_factors_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, images: int, elements: int
) -> None:
    product = product_address("bfloat16")
    if product is None:
        pytest.skip("PyTorch brings no MKL here")
    monkeypatch.setattr(numba, "BLOCK_ELEMENTS", elements)
    inputs = [tensor.float() for tensor in Case(images, 2, 60, 8, 16, 16, 1.0, 0.0, 6).inputs()]
    expected = outcome(inputs, correlate_rounded)
    found = outcome(inputs, partial(correlate_by, WholeHeads("bfloat16", product)))
    assert distance(found, expected) < 0.2 * distance(outcome(inputs, written_down), expected)


def test_a_training_rounds_factors_and_nothing_else() -> None:
    torch.manual_seed(0)
    features, reference = torch.randn(4, 1, 256, 24), torch.randn(1, 256, 24)

    def trained(precision: str, network: FODNetwork) -> list[Losses]:
        trainer = LevelTrainer(network, LossWeights(), 1e-3, precision)  # type: ignore[arg-type]
        return [trainer.step(image, reference) for image in features]

    twin = build_network(SHAPE, 0)
    for module in twin.modules():
        if isinstance(module, nn.Linear):
            module.forward = lambda given, layer=module: product(given, layer.weight.mT) + layer.bias  # type: ignore[method-assign]
        elif isinstance(module, Branch):
            module.correlate = correlate_rounded
    expected = torch.tensor(trained("float32", twin)).double()
    found = torch.tensor(trained("bfloat16", build_network(SHAPE, 0))).double()
    unrounded = torch.tensor(trained("float32", build_network(SHAPE, 0))).double()
    assert float((found - expected).abs().max()) < 0.2 * float((unrounded - expected).abs().max())


def test_a_block_of_float32_inside_is_float32() -> None:
    left, right = torch.randn(2, 64, 64)
    with matrix_products("bfloat16", CPU):
        coarse = left @ right
        with matrix_products("float32", CPU):
            fine = left @ right
    torch.testing.assert_close(coarse, rounded(left) @ rounded(right))
    torch.testing.assert_close(fine, left @ right)
