"""The flow of CFLOW-AD: its determinant against the Jacobian itself, its gradients against autograd's, its rotations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import plain_cflow
from fod_bench.methods.cflow.network import (
    Flow,
    FlowShape,
    build_flow,
    log_likelihood,
    losses,
    position_code,
    random_rotation,
)
from fod_bench.methods.cflow.score import anomaly_maps, likely
from fod_bench.methods.cflow.settings import learned_numbers, row_operations
from fod_bench.methods.cflow.train import LevelTrainer, Rates

CPU = torch.device("cpu")
CLAMP = plain_cflow.CLAMP


def flow(channels: int = 5, condition: int = 4, blocks: int = 3) -> Flow:
    """In float64, its parameters moved away from where they begin, its rotations exact in that precision."""
    made = build_flow(FlowShape(channels, condition, blocks, CLAMP), 0, 8).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        for rotation in made.buffers():
            left, _, right = torch.linalg.svd(rotation)
            rotation.copy_(left @ right)
    return made


def rows(count: int = 6, channels: int = 5, condition: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    made = (torch.randn(count, size, generator=generator, dtype=torch.float64) for size in (channels, condition))
    return next(made), next(made)


def twin(given: Flow) -> plain_cflow.Flow:
    """The plain flow of the same parameters."""
    shape = given.shape
    made = plain_cflow.Flow(shape.channels, shape.condition, shape.blocks).double()
    with torch.no_grad():
        for block, plain in zip(given.blocks, made.blocks, strict=True):
            first, _, second = plain.subnet.layers
            pairs = [(plain.scale, block.scale), (plain.offset, block.offset), (plain.rotation, block.rotation)]
            pairs += [(first.weight, block.hidden.weight), (first.bias, block.hidden.bias)]
            pairs += [(second.weight, block.output.weight), (second.bias, block.output.bias)]
            for target, source in pairs:
                target.copy_(source.reshape(target.shape))
    return made


@pytest.mark.parametrize("channels", [2, 3, 5, 8])
def test_the_log_determinant_is_that_of_the_jacobian(channels: int) -> None:
    made, (given, condition) = flow(channels), rows(4, channels)
    _, found = made(given, condition)
    for row, code, log_jacobian in zip(given, condition, found, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda x, code=code: made(x[None], code[None])[0][0], row)
        assert log_jacobian.item() == pytest.approx(float(torch.linalg.slogdet(jacobian)[1]), abs=1e-10)


def test_likelihoods_are_a_density() -> None:
    """That of one row of two numbers sums to 1 over a fine grid."""
    made, step = flow(2, 4, 2), 0.1
    side = torch.arange(-20, 20, step, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    condition = torch.zeros(len(grid), 4, dtype=torch.float64)
    with torch.no_grad():
        density = (2 * log_likelihood(*made(grid, condition))).exp()
    assert float(density.sum()) * step**2 == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("channels", [2, 5, 8])
def test_forward_and_gradients_are_the_plain_flows(channels: int) -> None:
    made, (given, condition) = flow(channels), rows(6, channels)
    plain = twin(made)
    for ours, theirs in zip(made(given, condition), plain(given, condition), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    losses(log_likelihood(*made(given, condition))).mean().backward()
    plain_cflow.loss(plain, given, condition).backward()
    for block, other in zip(made.blocks, plain.blocks, strict=True):
        first, _, second = other.subnet.layers
        expected = [other.scale, other.offset, first.weight, first.bias, second.weight, second.bias]
        for parameter, theirs in zip(block.parameters(), expected, strict=True):
            assert parameter.grad is not None and theirs.grad is not None
            torch.testing.assert_close(parameter.grad, theirs.grad.reshape(parameter.shape), rtol=1e-9, atol=1e-12)


def test_gradients_are_those_of_differences() -> None:
    made, (given, condition) = flow(5, 4, 2), rows(3)
    names = [name for name, _ in made.named_parameters()]

    def call(x: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = torch.func.functional_call(
            made, dict(zip(names, parameters, strict=True)), (x, condition)
        )
        return found

    parameters = [parameter.detach().clone().requires_grad_() for parameter in made.parameters()]
    assert torch.autograd.gradcheck(call, (given.requires_grad_(), *parameters))


@pytest.mark.parametrize("size", [1, 2, 7, 40])
def test_rotations_are_orthogonal_and_turn_nothing_over(size: int) -> None:
    for seed in range(4):
        rotation = random_rotation(size, np.random.default_rng(seed)).double()
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(size, dtype=torch.float64), rtol=0, atol=1e-6)
        assert float(torch.linalg.det(rotation)) == pytest.approx(1, abs=1e-5)


def test_rotations_are_uniform_over_all() -> None:
    """Entries of a uniform one have mean 0 and variance 1/size, each by itself."""
    generator = np.random.default_rng(0)
    found = torch.stack([random_rotation(3, generator) for _ in range(4000)]).double()
    assert float(found.mean(0).abs().max()) < 0.04 and float((found.var(0) - 1 / 3).abs().max()) < 0.02


def test_initial_weights_follow_from_seed_and_level_alone() -> None:
    shape = FlowShape(6, 4, 2, CLAMP)
    first = build_flow(shape, 1, 8).state_dict()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    again, other, third = (build_flow(shape, *given).state_dict() for given in ((1, 8), (2, 8), (1, 16)))
    assert torch.equal(torch.get_rng_state(), state)
    for name in ("blocks.0.rotation", "blocks.1.hidden.weight", "blocks.1.output.bias"):
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name]) and not torch.equal(first[name], third[name])
    assert not torch.equal(first["blocks.0.rotation"], first["blocks.1.rotation"])


def test_the_position_code_number_by_number() -> None:
    code = position_code(8, 2, 3, CPU)
    for y in range(2):
        for x in range(3):
            for number in range(8):
                angle = (x if number < 4 else y) * math.exp(-2 * (number % 4 // 2) * math.log(1e4) / 4)
                expected = math.cos(angle) if number % 2 else math.sin(angle)
                assert float(code[y * 3 + x, number]) == pytest.approx(expected, abs=1e-6)


def test_sizes_are_as_estimated() -> None:
    for channels, condition, blocks in ((72, 128, 8), (7, 12, 3)):
        made = build_flow(FlowShape(channels, condition, blocks, CLAMP), 0, 8)
        learned = sum(parameter.numel() for parameter in made.parameters())
        assert learned == learned_numbers(channels, condition, blocks)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            made(torch.randn(5, channels), torch.randn(5, condition))
        assert counter.get_total_flops() == 5 * row_operations(channels, condition, blocks)
    assert learned_numbers(72, 128, 8) == pytest.approx(0.624e6, rel=1e-3)
    assert learned_numbers(200, 128, 8) == pytest.approx(1.570e6, rel=1e-3)


def test_a_zero_gradient_step_moves_by_momentum_alone() -> None:
    made, (given, condition) = flow(), rows()
    trainer = LevelTrainer(made)
    before = made.blocks[0].offset.detach().clone()
    trainer.zero_gradient_step(1e-2)
    assert torch.equal(made.blocks[0].offset, before)
    trainer.step(given, condition, 1e-2)
    middle = made.blocks[0].offset.detach().clone()
    trainer.zero_gradient_step(1e-2)
    moved, again = middle - before, made.blocks[0].offset.detach() - middle
    # Adam's second step with no gradient: m = β₁·m₁, v = β₂·v₁, both corrected for two steps.
    expected = moved * (0.9 * 0.1 / 0.19) / math.sqrt(0.999 * 0.001 / 0.001999)
    torch.testing.assert_close(again, expected, rtol=1e-4, atol=0)


def test_the_rate_of_one_epoch_ends_half_way_up() -> None:
    rates = Rates(1.0, 0.1, 1, 2)
    assert rates.at(0, 0, 10) == pytest.approx(0.1) and rates.at(0, 9, 10) < 0.55
    assert Rates(1.0, 0.1, 2, 2).cosine(2) == pytest.approx(1e-3)


def test_maps_pixel_by_pixel_where_they_are_positions() -> None:
    generator = np.random.default_rng(0)
    given = {8: generator.normal(size=(2, 4, 4)), 16: generator.normal(size=(2, 4, 4))}
    tensors = {level: torch.from_numpy(array).float() for level, array in given.items()}
    found = {level: likely(values, 4) for level, values in tensors.items()}
    for chosen in ((8,), (16,), (8, 16)):
        maps = anomaly_maps(found, chosen)
        sums = np.zeros((2, 4, 4))
        for level in chosen:
            values = tensors[level].double().numpy()
            sums += np.exp(values - values.max())
        np.testing.assert_allclose(maps.numpy(), sums.max() - sums, rtol=1e-12, atol=1e-12)


def test_a_levels_part_depends_on_all_test_images() -> None:
    values = torch.zeros(2, 2, 2)
    alone = likely(values[:1], 2)
    values[1, 0, 0] = 3
    assert float(alone.min()) == 1 and torch.allclose(
        likely(values, 2)[:1], torch.full((1, 2, 2), math.exp(-3)).double()
    )
