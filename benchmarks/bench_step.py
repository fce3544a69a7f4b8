"""A training step against the plain implementation: time and peak memory, each side in a process of its own.

One image at 256 px, EfficientNet-b6's widths (72 and 200 channels), d_m 256 and 512, 8 heads, 3 layers, both branches; and every
implementation of the operator by the number of patches. At N = 4096 the plain one needs some 20 GB and is left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks import Result
from benchmarks.limit import step_limit
from benchmarks.steps import PAPER, STRIDE_4, THREADS, Measured, Step, best, measure, measure_all, write
from fod_bench.machine.processor import processor

OURS = "numba"
"""The implementation that is at work on a CPU."""
SIDES = {"baseline": 2, "plain": 2, "tiled": 6, OURS: 10}
"""Sides and their steps per round."""
IN_BFLOAT16 = f"{OURS}+bfloat16"
"""Beside them where the processor has matrix units for it."""
MATRIX_UNITS = "amx_bf16"
"""The processor's flag for them."""
OURS_ON_GPU = "triton+graphs"
SIDES_ON_GPU = {"baseline": 10, "plain": 10, "tiled": 20, "tiled+graphs": 50, "triton": 50, OURS_ON_GPU: 100}
BY_PATCHES = {256: Step(((16, 200, 512),)), 1024: Step(((32, 72, 256),)), 4096: STRIDE_4}
"""The paper's levels, one by one."""


def peak_flops(device: str) -> float:
    """Operations per second of the fastest large float32 matrix product."""
    import torch

    from fod_bench.methods.fod.precision import matrix_products

    torch.set_num_threads(THREADS)
    left, right = torch.randn(2, 2048, 2048, device=device)
    with matrix_products("float32", left.device):
        return 2 * 2048**3 / _fastest(lambda: left @ right, device)


def peak_bytes(device: str) -> float:
    """Bytes per second read and written by the fastest copy of a tensor that no cache holds."""
    import torch

    torch.set_num_threads(THREADS)
    source = torch.ones(1 << 27, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() * source.element_size() / _fastest(lambda: target.copy_(source), device)


def _fastest(work: Callable[[], object], device: str) -> float:
    """Seconds of the fastest of ten calls."""
    import torch

    seconds = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds = min(seconds, time.perf_counter() - start)
    return seconds


def _on_cpu() -> tuple[dict[str, Measured], dict[tuple[str, int], Measured]]:
    """By side, and by side and number of patches. In turn, since the machine's speed drifts."""
    sides = SIDES | ({IN_BFLOAT16: SIDES[OURS]} if MATRIX_UNITS in processor().flags else {})
    rounds = [{side: measure(side, PAPER, repeats) for side, repeats in sides.items()} for _ in range(2)]
    alone = {
        (side, tokens): measure(side, step, 2)
        for tokens, step in BY_PATCHES.items()
        for side in SIDES
        if tokens < 4096 or side in ("tiled", OURS)
    }
    return {side: best(*(each[side] for each in rounds)) for side in sides}, alone


def _on_gpu() -> tuple[dict[str, Measured], dict[tuple[str, int], Measured]]:
    """The same, one process a side: starting one takes longer than all its steps."""
    found, alone = {}, {}
    for side, repeats in SIDES_ON_GPU.items():
        found[side], *others = measure_all(side, [PAPER, *BY_PATCHES.values()], repeats)
        alone |= {(side, tokens): other for tokens, other in zip(BY_PATCHES, others, strict=True)}
    return found, alone


def run() -> list[Result]:
    """All figures; `results/step.csv` has them by side and number of patches."""
    import torch

    on_gpu = torch.cuda.is_available()
    ours_name = OURS_ON_GPU if on_gpu else OURS
    found, alone = _on_gpu() if on_gpu else _on_cpu()
    device = "cuda" if on_gpu else "cpu"
    flops, bandwidth = peak_flops(device), peak_bytes(device)
    kinds = [(side, PAPER, result) for side, result in found.items()]
    kinds += [(side, BY_PATCHES[tokens], result) for (side, tokens), result in alone.items()]
    write(
        "step",
        [
            {
                "side": side,
                "tokens": step.tokens,
                "seconds": round(result.seconds, 5),
                "processor_seconds": round(result.processor_seconds, 3),
                "own_mb": round(result.own_mb),
                "peak_mb": round(result.peak_mb),
                "share_of_peak_flops": round(step.flops / result.seconds / flops, 3),
                "moved_gb": round(result.moved / 1e9, 2),
                "share_of_peak_bytes": round(result.moved / result.seconds / bandwidth, 3),
            }
            for side, step, result in kinds
        ],
    )
    baseline, ours = found["baseline"], found[ours_name]
    time_ratio = Result(
        "training step, time: plain / ours", baseline.seconds / ours.seconds, 20.0 if on_gpu else 7.0, "×"
    )
    if on_gpu:
        return [time_ratio, Result("training step", 1000 * ours.seconds, 1.0, "ms", False)]
    in_bfloat16 = found.get(IN_BFLOAT16)
    return [
        time_ratio,
        Result("training step / limit", ours.seconds / step_limit(PAPER, flops), 1.35, "×", False),
        *(
            [Result("training step: float32 / bfloat16", ours.seconds / in_bfloat16.seconds, 1.5, "×")]
            if in_bfloat16
            else []
        ),
        Result(
            "training step, processor time: plain / ours", baseline.processor_seconds / ours.processor_seconds, 7.0, "×"
        ),
        Result(
            "training step, peak memory beyond the libraries': plain / ours", baseline.own_mb / ours.own_mb, 4.0, "×"
        ),
        Result(
            "training step at N = 4096, peak memory of the process", alone[OURS, 4096].peak_mb / 1024, 4.0, "GB", False
        ),
    ]
