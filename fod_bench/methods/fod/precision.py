"""How exactly matrix products are computed.

On a CPU `bfloat16` needs a processor that has instructions for it. On one with matrix units (AMX) oneDNN rounds the factors of
float32 tensors and multiplies them there. On one with AVX512-BF16 alone PyTorch has no product of such factors whose sums stay
float32: there the factors are rounded and multiplied in float32, so that the numbers are the same, and nothing is gained. The
correlation operator has a product of its own where it calls MKL (`correlation/numba.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any, Literal

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fod_bench.machine.processor import processor
from fod_bench.methods.fod.on_cpu import lacking_on_cpu

Precision = Literal["float32", "tf32", "bfloat16"]
"""Of the factors of a matrix product; sums and everything else are float32."""

_SWITCH: dict[Precision, str] = {"float32": "highest", "tf32": "high", "bfloat16": "medium"}
"""PyTorch's own names for them."""

_current: Precision = "float32"


def current_precision() -> Precision:
    """The precision of the block of `matrix_products` that is under way, float32 outside of any."""
    return _current


@contextmanager
def matrix_products(precision: Precision, device: torch.device) -> Iterator[None]:
    """Inside the block, this process multiplies matrices on `device` in this precision."""
    global _current
    before = _current, torch.get_float32_matmul_precision()
    _current = precision
    torch.set_float32_matmul_precision(_switch(precision, device))
    try:
        with in_thread(device):
            yield
    finally:
        _current = before[0]
        torch.set_float32_matmul_precision(before[1])


def in_thread(device: torch.device) -> AbstractContextManager[Any]:
    """The context that another thread multiplies in, on `device`: the part of the block of `matrix_products` under way that reaches
    no thread but its own."""
    rounded = _current == "bfloat16" and device.type == "cpu" and medium_is_float32()
    return _RoundedFactors() if rounded else nullcontext()


def _switch(precision: Precision, device: torch.device) -> str:
    """PyTorch's name for how float32 tensors are multiplied on this device."""
    if device.type != "cpu":
        return _SWITCH[precision]
    if precision == "bfloat16" and not medium_is_float32():
        return "medium"
    return "medium" if by_onednn() else "highest"


class _RoundedFactors(TorchDispatchMode):
    """Inside the block, factors of this thread's matrix products are rounded to bfloat16 first."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        first = _FACTORS.get(function)
        if first is not None and _current == "bfloat16":  # a block of another precision may lie within
            factors = (factor.bfloat16().float() for factor in args[first : first + 2])
            args = (*args[:first], *factors, *args[first + 2 :])
        return function(*args, **(kwargs or {}))


_ATEN = torch.ops.aten
_FACTORS = {
    _ATEN.mm.default: 0,
    _ATEN.bmm.default: 0,
    _ATEN.bmm.out: 0,
    _ATEN.addmm.default: 1,
    _ATEN.baddbmm.default: 1,
    _ATEN.baddbmm.out: 1,
}
"""The products that a network makes, and which of their arguments is the first factor; the other follows it."""


def check_precision(precision: Precision, device: torch.device, correlation: str) -> None:
    """Raises ValueError where `device` and the implementation of the correlation operator do not have this precision.

    Nothing is computed in another precision in silence.
    """
    if device.type == "cpu":
        lacking = lacking_on_cpu(precision)
        if lacking is not None:
            raise ValueError(lacking)
    if device.type == "cuda" and precision == "bfloat16" and correlation != "triton":
        raise ValueError(
            f"precision bfloat16: on a GPU only triton's correlation has it, and here {correlation} is at work"
        )


def by_onednn() -> bool:
    """Whether oneDNN makes float32 products on this CPU, and not MKL.

    It does where PyTorch has it do so without rounding, but on Intel's processors: there MKL has the wide vectors too, and its
    products of the step's shapes take 5 to 25 % less time.
    """
    return processor().vendor != "GenuineIntel" and medium_is_float32()


@cache
def medium_is_float32() -> bool:
    """Whether PyTorch's precision `medium`, which allows bfloat16, gives float32 products on this CPU.

    It hands the products to oneDNN, which rounds their factors to bfloat16 only where the processor has matrix units for it
    (AMX). Elsewhere they are float32 products by oneDNN, on AMD processors with AVX-512 twice as fast as those of MKL,
    which keeps to AVX2 there.
    """
    value = 1 + 2**-12  # bfloat16 would round it to 1
    factor = torch.full((256, 256), value)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        product = factor @ factor
    finally:
        torch.set_float32_matmul_precision(before)
    return float((product.double() - 256 * value**2).abs().max()) < 1e-3
