"""The bytes that operations move, counted for the benchmark of the training step."""

from __future__ import annotations

import pytest
import torch

from benchmarks.traffic import Traffic
from fod_bench.methods.fod.correlation import VARIABLE, correlate
from fod_bench.methods.fod.target import kernel_widths, target_factors
from fod_bench.methods.fod.train import LevelTrainer, LossWeights
from tests.helpers.trial_builders import features, network

FLOAT = 4


def test_operands_are_read_and_results_written() -> None:
    left, right = torch.ones(3, 5), torch.ones(5, 7)
    with Traffic() as traffic:
        left @ right
    assert traffic.bytes == FLOAT * (3 * 5 + 5 * 7 + 3 * 7)


def test_what_changes_in_place_is_read_and_written() -> None:
    left, right = torch.ones(2, 6, 6)
    with Traffic() as traffic:
        left += right
    assert traffic.bytes == FLOAT * 3 * 36


def test_what_is_only_written_is_not_read() -> None:
    left, right, out = torch.ones(3, 10)
    for work, tensors in (
        (lambda: left.copy_(right), 2),
        (lambda: left.zero_(), 1),
        (lambda: torch.add(left, right, out=out), 3),
        (lambda: torch.zeros_like(left), 1),
        (lambda: left.new_zeros(10), 1),
        (lambda: left.new_empty(10), 0),
    ):
        with Traffic() as traffic:
            work()
        assert traffic.bytes == FLOAT * tensors * 10


def test_a_view_moves_nothing_and_what_it_repeats_is_read_once() -> None:
    row = torch.ones(1, 8)
    with Traffic() as traffic:
        repeated = row.t().t().view(8)[None].expand(100, -1)
        assert traffic.bytes == 0
        repeated.clone()
    assert traffic.bytes == FLOAT * (8 + 100 * 8)


def test_adam_reads_four_tensors_and_writes_three() -> None:
    parameter = torch.nn.Parameter(torch.ones(1000))
    optimizer = torch.optim.Adam([parameter], fused=True)
    for _ in range(2):
        parameter.grad = torch.ones(1000)
        with Traffic() as traffic:
            optimizer.step()
    assert 7 * FLOAT * 1000 <= traffic.bytes <= 7 * FLOAT * 1000 + 5 * FLOAT, "and the number of the step"


def test_the_operator_is_one_operation_each_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise blocks and N×N tensors are what a step moves most of."""

    def moved(side: int, plain: bool) -> int:
        monkeypatch.setenv(VARIABLE, "plain" if plain else "")
        trainer = LevelTrainer(network("full", side, side).float(), LossWeights(), 1e-2)
        given, reference = (tensor.float() for tensor in features(height=side, width=side))
        trainer.step(given, reference)  # the first of a process tries what the processor can do
        with Traffic() as traffic:
            if not plain:
                traffic.see_operator_as_one(trainer.network)
            trainer.step(given, reference)
        return traffic.bytes

    assert moved(16, plain=False) / moved(8, plain=False) <= 8, "the target's factors are N×H: less than 16 times"
    assert moved(16, plain=True) > 2 * moved(16, plain=False)


def test_a_step_is_the_same_whether_it_is_counted_or_not() -> None:
    trainers = [LevelTrainer(network("full").float(), LossWeights(), 1e-2) for _ in range(2)]
    given, reference = (tensor.float() for tensor in features())
    with Traffic() as traffic:
        traffic.see_operator_as_one(trainers[0].network)
        trainers[0].step(given, reference)
    trainers[1].step(given, reference)
    for counted, expected in zip(*(trainer.network.parameters() for trainer in trainers), strict=True):
        torch.testing.assert_close(counted, expected, rtol=0, atol=0)


def test_what_the_operator_takes_and_gives() -> None:
    tokens, depth, heads = 12, 4, 2
    branch = network("intra", layers=1).float().layers[0].intra
    traffic = Traffic()
    traffic.see_operator_as_one(branch)
    query, key, value = torch.ones(3, 1, heads, tokens, depth)
    widths = kernel_widths(torch.ones(1, heads, tokens, 2))
    factors = target_factors(widths, 3, 4)
    with traffic:
        made = branch.target_factors(widths, 3, 4)
    assert traffic.bytes == FLOAT * heads * tokens * (2 + 3 + 4) and all(map(torch.equal, made, factors))
    traffic.bytes = 0
    with traffic:
        found = branch.correlate(query, key, value, *factors)
    numbers = (
        heads * tokens * (3 * depth + 3 + 4 + depth + 3)
    )  # three vectors and the factors; output and three statistics
    assert traffic.bytes == FLOAT * numbers
    assert torch.equal(found.output, correlate(query, key, value, *factors).output)
