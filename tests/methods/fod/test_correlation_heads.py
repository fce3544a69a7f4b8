"""Whole heads in compiled code against the same loops with PyTorch's products, block by block."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fod_bench.methods.fod.correlation import Correlation, numba
from fod_bench.methods.fod.correlation.blocks import InBlocks
from fod_bench.methods.fod.correlation.compiled import _take
from fod_bench.methods.fod.correlation.frame import correlate_by
from fod_bench.methods.fod.correlation.numba import Compiled, WholeHeads, product_address
from tests.helpers.correlation_cases import NAMES, Case, outcome

PRODUCT = product_address("float32") or 0
needs_product = pytest.mark.skipif(PRODUCT == 0, reason="PyTorch's BLAS cannot be called from compiled code here")


def by_heads(*inputs: Tensor) -> Correlation:
    return correlate_by(WholeHeads("float32", PRODUCT), *inputs)


def by_blocks(*inputs: Tensor) -> Correlation:
    return correlate_by(InBlocks(Compiled()), *inputs)


def side_by_side(tensor: Tensor) -> Tensor:
    """The same numbers, in memory as the network has them: the heads of a patch side by side."""
    return tensor.transpose(1, 2).contiguous().transpose(1, 2)


def close(found: list[Tensor], expected: list[Tensor]) -> None:
    for name, one, other in zip(NAMES, found, expected, strict=False):
        torch.testing.assert_close(
            one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()), msg=lambda text, of=name: f"{of}: {text}"
        )


@needs_product
@pytest.mark.parametrize("elements", [1, 1000, 1 << 18], ids=["one row a block", "a short last block", "one block"])
@pytest.mark.parametrize(
    "case",
    [
        Case(1, 1, 1, 1, 1, 1, 1.0, 0.0, 0),
        Case(2, 3, 60, 7, 9, 24, 1.0, 0.0, 1),
        Case(1, 2, 50, 3, 40, 40, 3.0, -20.0, 2),
        Case(2, 2, 33, 16, 16, 16, 0.3, 1.0, 3),
    ],
    ids=str,
)
def test_heads_are_those_of_blocks(monkeypatch: pytest.MonkeyPatch, case: Case, elements: int) -> None:
    inputs = [tensor.float() for tensor in case.inputs()]
    expected = outcome(inputs, by_blocks)
    monkeypatch.setattr(numba, "BLOCK_ELEMENTS", elements)
    close(outcome(inputs, by_heads), expected)


@needs_product
def test_tensors_may_lie_in_memory_in_any_way() -> None:
    """Heads side by side, one reference for several images, factors of targets turned over, a gradient that is one number."""
    query, key, value, y, x = (tensor.float() for tensor in Case(2, 3, 60, 7, 9, 24, 1.0, 0.0, 1).inputs())
    key, value = key[:1], value[:1]

    def gradients(function, arranged: bool) -> list[Tensor]:
        leaves = [tensor.clone().requires_grad_() for tensor in (query, key, value, y, x)]
        given = [leaves[0], *(leaf.expand(2, -1, -1, -1) for leaf in leaves[1:3]), *leaves[3:]]
        if arranged:
            given = [side_by_side(given[0]), *given[1:3], *(factor.mT.contiguous().mT for factor in given[3:])]
        parts = function(*given)
        return [*(part.detach() for part in parts), *torch.autograd.grad(sum(part.sum() for part in parts), leaves)]

    close(gradients(by_heads, arranged=True), gradients(by_blocks, arranged=False))


@needs_product
def test_what_the_network_calls_are_heads_where_mkl_is_the_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    for by_onednn, kind in ((False, WholeHeads), (True, InBlocks)):
        monkeypatch.setattr(numba, "by_onednn", lambda answer=by_onednn: answer)
        assert isinstance(numba._passes("float32"), kind)
    monkeypatch.setattr(numba, "by_onednn", lambda: False)
    monkeypatch.setattr(numba, "product_address", lambda precision: None)
    assert isinstance(numba._passes("float32"), InBlocks)


def test_factors_are_rounded_as_pytorch_rounds() -> None:
    """To the nearest, of two to the even one; infinities, numbers beyond the largest, subnormal ones, and what is none."""
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(-(1 << 31), 1 << 31, (300, 40), generator=generator).int()
    bits[0, :8] = torch.tensor([0x7F800000, -0x00800000, 0x7FC00000, 0x7FFFFFFF, 0x7F7FFFFF, 1, 0x3F808000, 0x3F818000])
    numbers = bits.view(torch.float32)
    found = np.empty((300, 40), np.int16)
    _take(numbers.numpy(), found)
    rounded, expected = torch.from_numpy(found).view(torch.bfloat16), numbers.bfloat16()
    assert torch.equal(rounded.isnan(), numbers.isnan()) and int(numbers.isnan().sum()) > 2
    assert torch.equal(rounded[~numbers.isnan()], expected[~numbers.isnan()])


_HASHED = """
import hashlib, sys
import torch
from fod_bench.methods.fod.correlation.numba import correlate_numba
from tests.helpers.correlation_cases import Case, outcome

found = outcome([tensor.float() for tensor in Case(1, 2, 300, 20, 32, 24, 1.0, 0.0, 1).inputs()], correlate_numba)
print(hashlib.sha256(b"".join(part.numpy().tobytes() for part in found)).hexdigest())
"""


def test_kernels_from_disk_give_the_bits_of_those_just_compiled(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    run = partial(subprocess.run, [sys.executable, "-c", _HASHED], env=environment, capture_output=True, text=True)
    first = run(check=True, cwd=Path(__file__).parents[3]).stdout
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")}
    again = run(check=True, cwd=Path(__file__).parents[3]).stdout
    assert kept and kept == {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")}
    assert len(first) == 65 and again == first
