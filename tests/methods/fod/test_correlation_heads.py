"""Whole heads in compiled code, and the same loops with PyTorch's products block by block: the two ways of `numba` on a CPU.

Which one is at work depends on the machine; both are tested on every machine that has MKL.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fod_bench.methods.fod.correlation import EPSILON, Correlation, compiled, numba
from fod_bench.methods.fod.correlation.blocks import InBlocks
from fod_bench.methods.fod.correlation.frame import Passes, correlate_by
from fod_bench.methods.fod.correlation.numba import Compiled, WholeHeads, correlate_numba, product_address
from fod_bench.methods.fod.precision import matrix_products
from tests.helpers.correlation_cases import NAMES, TOLERANCE, Case, compare, outcome, written_down
from tests.helpers.trial_builders import CPU

Way = Callable[..., Correlation]


def heads(precision: str = "float32", entropic: bool = True) -> Passes:
    product = product_address(precision)  # type: ignore[arg-type]
    if product is None:
        pytest.skip("PyTorch brings no MKL here")
    return WholeHeads(precision, product, entropic)  # type: ignore[arg-type]


@pytest.fixture(params=["heads", "blocks"])
def way(request: pytest.FixtureRequest) -> Way:
    return partial(correlate_by, heads() if request.param == "heads" else InBlocks(Compiled()))


@pytest.fixture(params=[1, 3], ids=["one thread", "three threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(1)


CASES = [
    Case(1, 1, 1, 1, 1, 1, 1.0, 0.0, 0),
    Case(1, 1, 5, 1, 1, 8, 1.0, 0.0, 0),
    Case(2, 3, 60, 7, 9, 24, 1.0, 0.0, 1),
    Case(1, 2, 50, 3, 40, 40, 3.0, -20.0, 2),
    Case(2, 5, 33, 16, 16, 16, 0.3, 1.0, 3),
]


@pytest.mark.parametrize("elements", [1, 1000, 1 << 18], ids=["one row a block", "a short last block", "one block"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_both_agree_with_the_equations(
    monkeypatch: pytest.MonkeyPatch, way: Way, threads: int, case: Case, elements: int
) -> None:
    monkeypatch.setattr(numba, "BLOCK_ELEMENTS", elements)
    inputs = [tensor.float() for tensor in case.inputs()]
    truth = outcome([tensor.double() for tensor in inputs], written_down)
    compare(outcome(inputs, way), truth, TOLERANCE * max(1.0, case.spread**2))


def test_both_have_the_same_ε() -> None:
    assert float(compiled._per_epsilon) == 1 / EPSILON


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "as it comes": lambda tensor: tensor,
    "heads side by side": lambda tensor: tensor.transpose(1, 2).contiguous().transpose(1, 2),
    "columns side by side": lambda tensor: tensor.mT.contiguous().mT,
    "images and heads innermost": lambda tensor: tensor.permute(2, 3, 0, 1).contiguous().permute(2, 3, 0, 1),
    "every other number": lambda tensor: tensor.repeat_interleave(2, -1)[..., ::2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("queries", [1, 60])
def test_tensors_may_lie_in_memory_in_any_way(way: Way, layout: str, queries: int) -> None:
    inputs = [tensor.float() for tensor in Case(2, 3, queries, 7, 9, 24, 1.0, 0.0, 1).inputs()]
    arranged = LAYOUTS[layout]

    def found(*tensors: Tensor) -> Correlation:
        output, *others = way(*map(arranged, tensors))
        return Correlation(arranged(output), *others)

    compare(outcome(inputs, found), outcome(inputs, way), 1e-6)


def test_keys_of_one_image_may_be_those_of_all_and_a_gradient_one_number(way: Way) -> None:
    query, key, value, y, x = (tensor.float() for tensor in Case(2, 3, 60, 7, 9, 24, 1.0, 0.0, 1).inputs())

    def gradients(function: Way) -> list[Tensor]:
        leaves = [tensor.clone().requires_grad_() for tensor in (query, key[:1], value[:1], y, x)]
        parts = function(leaves[0], *(leaf.expand(2, -1, -1, -1) for leaf in leaves[1:3]), *leaves[3:])
        made = torch.autograd.grad(sum(part.sum() for part in parts), leaves)
        return [part.detach().double() for part in (*parts, *made)]

    compare(gradients(way), gradients(written_down), 2e-5)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("kind", ["heads", "blocks"])
def test_without_the_entropy_the_rest_is_as_the_equations_say(case: Case, kind: str, threads: int) -> None:
    inputs = [tensor.float() for tensor in case.inputs()]
    passes = heads(entropic=False) if kind == "heads" else InBlocks(Compiled(entropic=False))
    output, divergence, same, entropy = correlate_by(passes, *inputs)
    expected = written_down(*(tensor.double() for tensor in inputs))
    for found, truth in ((output, expected.output), (divergence, expected.target_divergence)):
        allowed = TOLERANCE * max(1.0, float(truth.abs().max()))
        torch.testing.assert_close(found.double(), truth, rtol=0, atol=allowed)
    assert torch.equal(divergence, same) and bool(entropy.isnan().all())


@pytest.mark.parametrize("kind", ["heads", "blocks"])
def test_without_the_entropy_a_row_that_is_not_finite_is_seen(kind: str) -> None:
    query, *others = (tensor.float() for tensor in Case(1, 1, 20, 4, 8, 16, 1.0, 0.0, 3).inputs())
    query[0, 0, 3, 1] = float("nan")
    passes = heads(entropic=False) if kind == "heads" else InBlocks(Compiled(entropic=False))
    found = correlate_by(passes, query, *others)
    seen = found.target_divergence.isnan()[0, 0], found.output.isnan().any(-1)[0, 0]
    assert all(rows.nonzero().tolist() == [[3]] for rows in seen)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("fault", [float("nan"), float("inf")])
@pytest.mark.parametrize("tensor", range(5), ids=["query", "key", "value", "target_y", "target_x"])
def test_what_is_not_finite_is_seen(precision: str, fault: float, tensor: int) -> None:
    ways = [heads(precision)] if precision == "bfloat16" else [heads(), InBlocks(Compiled())]
    inputs = [given.float() for given in Case(1, 1, 20, 4, 8, 16, 1.0, 0.0, 3).inputs()]
    inputs[tensor][0, 0, 3, 1] = fault
    for passes in ways:
        found = dict(zip(NAMES, outcome(inputs, partial(correlate_by, passes)), strict=True))
        assert not all(found[part].isfinite().all() for part in ("output", "target_divergence"))
        assert not found["gradient of query" if tensor < 3 else "gradient of target_y"].isfinite().all()


def test_the_largest_of_huge_logits_takes_all_in_bfloat16() -> None:
    query, key, value, y, x = (tensor.float() for tensor in Case(1, 2, 60, 7, 9, 24, 1.0, 0.0, 1).inputs())
    found = correlate_by(heads("bfloat16"), query * 1e5, key * 1e5, value, y, x)
    logits = (query * 1e5).bfloat16().float() @ (key * 1e5).bfloat16().float().mT
    largest = logits.argmax(-1)[..., None].expand(-1, -1, -1, 24)
    torch.testing.assert_close(found.output, value.bfloat16().float().gather(2, largest))


@pytest.mark.parametrize("tensor", range(5))
def test_a_tensor_that_is_not_float32_is_refused(tensor: int) -> None:
    inputs = [each.float() for each in Case(1, 1, 4, 2, 2, 4, 1.0, 0.0, 0).inputs()]
    inputs[tensor] = inputs[tensor].double()
    with pytest.raises(TypeError, match=r"works on float32 on a CPU, not on torch\.float64 on cpu"):
        correlate_numba(*inputs)


def test_a_backward_pass_in_another_precision_is_refused(way: Way) -> None:
    inputs = [tensor.float().requires_grad_() for tensor in Case(1, 1, 4, 2, 2, 4, 1.0, 0.0, 0).inputs()]
    entropy = way(*inputs).entropy.sum()
    with (
        matrix_products("bfloat16", CPU),
        pytest.raises(RuntimeError, match=r"multiplied in float32 .* would in bfloat16"),
    ):
        entropy.backward()


def test_heads_are_at_work_where_mkl_is_the_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    heads()
    for by_onednn, kind in ((False, WholeHeads), (True, InBlocks)):
        monkeypatch.setattr(numba, "by_onednn", lambda answer=by_onednn: answer)
        assert isinstance(numba._passes("float32", True), kind)
    monkeypatch.setattr(numba, "by_onednn", lambda: False)
    monkeypatch.setattr(numba, "product_address", lambda precision: None)
    assert isinstance(numba._passes("float32", True), InBlocks)


def test_without_mkl_there_is_no_product_to_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    assert product_address.__wrapped__("float32") is None


def test_factors_are_rounded_as_pytorch_rounds() -> None:
    """To the nearest, of two to the even one; infinities, numbers beyond the largest, subnormal ones, and what is none."""
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(-(1 << 31), 1 << 31, (300, 40), generator=generator).int()
    bits[0, :8] = torch.tensor([0x7F800000, -0x00800000, 0x7FC00000, 0x7FFFFFFF, 0x7F7FFFFF, 1, 0x3F808000, 0x3F818000])
    numbers = bits.view(torch.float32)
    found = np.empty((300, 40), np.int16)
    compiled._take(numbers.numpy(), found)
    rounded, expected = torch.from_numpy(found).view(torch.bfloat16), numbers.bfloat16()
    assert torch.equal(rounded.isnan(), numbers.isnan()) and int(numbers.isnan().sum()) > 2
    assert torch.equal(rounded[~numbers.isnan()], expected[~numbers.isnan()])


_HASHED = """
import hashlib
from functools import partial
from fod_bench.methods.fod.correlation import numba
from fod_bench.methods.fod.correlation.frame import correlate_by
from tests.helpers.correlation_cases import Case, outcome

inputs = [tensor.float() for tensor in Case(1, 2, 300, 20, 32, 24, 1.0, 0.0, 1).inputs()]
product = numba.product_address("float32")
for passes in (numba.InBlocks(numba.Compiled()), *([numba.WholeHeads("float32", product)] if product else [])):
    found = outcome(inputs, partial(correlate_by, passes))
    print(hashlib.sha256(b"".join(part.numpy().tobytes() for part in found)).hexdigest())
"""


def test_kernels_from_disk_give_the_bits_of_those_just_compiled(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    run = partial(subprocess.run, [sys.executable, "-c", _HASHED], env=environment, capture_output=True, text=True)
    first = run(check=True, cwd=Path(__file__).parents[3]).stdout
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")}
    again = run(check=True, cwd=Path(__file__).parents[3]).stdout
    assert kept and kept == {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")}
    assert len(first.splitlines()[0]) == 64 and again == first
