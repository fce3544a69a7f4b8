"""What a processor can be asked for. Knows no torch, since a plan is checked against it."""

from __future__ import annotations

from fod_bench.machine.processor import processor

_BFLOAT16 = frozenset({"amx_bf16", "avx512_bf16"})


def lacking_on_cpu(precision: str) -> str | None:
    """Why this machine's processor has no products in this precision, and what would do; None where it has."""
    if precision == "float32" or (precision == "bfloat16" and processor().flags & _BFLOAT16):
        return None
    needed = " (that takes AMX or AVX512-BF16)" if precision == "bfloat16" else ""
    return f"precision {precision}: this processor does not multiply in it{needed}; use float32, or a GPU"
