"""The precision of matrix products: what a block computes in, what it leaves behind, what is refused."""

from __future__ import annotations

import pytest
import torch

from fod_bench.machine.processor import Processor
from fod_bench.methods.fod import on_cpu, precision
from fod_bench.methods.fod.precision import check_precision, current_precision, matrix_products

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def described(monkeypatch: pytest.MonkeyPatch, vendor: str, *flags: str) -> None:
    """A processor that the system tells this of."""
    for module in (precision, on_cpu):
        monkeypatch.setattr(module, "processor", lambda: Processor(vendor, "", frozenset(flags)))


def test_float32_products_are_float32() -> None:
    """Whichever library computes them: the setting that allows bfloat16 is used only where it has no effect on the numbers."""
    torch.manual_seed(0)
    left, right = torch.randn(2, 300, 300)
    with matrix_products("float32", CPU):
        product = left @ right
    exact = left.double() @ right.double()
    assert float((product.double() - exact).abs().max()) <= 3e-6 * float(exact.abs().max())


def test_a_block_ends_as_it_began() -> None:
    before = torch.get_float32_matmul_precision()
    with pytest.raises(RuntimeError, match="on the way"), matrix_products("tf32", GPU):
        assert (current_precision(), torch.get_float32_matmul_precision()) == ("tf32", "high")
        raise RuntimeError("on the way")
    assert (current_precision(), torch.get_float32_matmul_precision()) == ("float32", before)


def test_a_processor_with_bfloat16_units_keeps_to_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "medium_is_float32", lambda: False)
    described(monkeypatch, "GenuineIntel", "amx_bf16")
    with matrix_products("float32", CPU):
        assert torch.get_float32_matmul_precision() == "highest"
    with matrix_products("bfloat16", CPU):
        assert torch.get_float32_matmul_precision() == "medium"
    check_precision("bfloat16", CPU, "tiled")


@pytest.mark.parametrize(("vendor", "asked"), [("GenuineIntel", "highest"), ("AuthenticAMD", "medium"), ("", "medium")])
def test_float32_products_are_the_faster_library_s(monkeypatch: pytest.MonkeyPatch, vendor: str, asked: str) -> None:
    monkeypatch.setattr(precision, "medium_is_float32", lambda: True)
    described(monkeypatch, vendor)
    with matrix_products("float32", CPU):
        assert torch.get_float32_matmul_precision() == asked


def test_bfloat16_without_matrix_units_is_taken_where_the_instructions_are(monkeypatch: pytest.MonkeyPatch) -> None:
    described(monkeypatch, "AuthenticAMD", "avx512f", "avx512_bf16")
    check_precision("bfloat16", CPU, "numba")
    with pytest.raises(ValueError, match="precision tf32: this processor"):
        check_precision("tf32", CPU, "numba")


@pytest.mark.parametrize("asked", ["tf32", "bfloat16"])
def test_what_a_processor_lacks_is_refused(monkeypatch: pytest.MonkeyPatch, asked: precision.Precision) -> None:
    described(monkeypatch, "GenuineIntel", "avx512f")
    with pytest.raises(ValueError, match=f"precision {asked}: this processor does not multiply in it"):
        check_precision(asked, CPU, "tiled")


def test_bfloat16_on_a_gpu_is_the_kernels_alone() -> None:
    check_precision("bfloat16", GPU, "triton")
    with pytest.raises(ValueError, match="only triton's correlation has it, and here tiled is at work"):
        check_precision("bfloat16", GPU, "tiled")
