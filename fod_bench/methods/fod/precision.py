"""How exactly matrix products are computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Literal

import torch

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
    on_cpu = device.type == "cpu"
    _current = precision
    torch.set_float32_matmul_precision("medium" if on_cpu and medium_is_float32() else _SWITCH[precision])
    try:
        yield
    finally:
        _current = before[0]
        torch.set_float32_matmul_precision(before[1])


def check_precision(precision: Precision, device: torch.device, correlation: str) -> None:
    """Raises ValueError where `device` and the implementation of the correlation operator do not have this precision.

    Nothing is computed in another precision in silence.
    """
    if device.type == "cpu" and (precision == "tf32" or (precision == "bfloat16" and medium_is_float32())):
        raise ValueError(f"precision {precision}: this processor does not multiply in it; use float32, or a GPU")
    if device.type == "cuda" and precision == "bfloat16" and correlation != "triton":
        raise ValueError(
            f"precision bfloat16: on a GPU only triton's correlation has it, and here {correlation} is at work"
        )


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
