"""A training step against the plain implementation: time and peak memory, each side in a process of its own.

One picture at 256 px, EfficientNet-b6's widths (72 and 200 channels), d_m 256 and 512, 8 heads, 3 layers, both branches; and the
step at N = 4096, which the plain one needs some 20 GB for.
"""

from __future__ import annotations

import time

from benchmarks import Result
from benchmarks.steps import PAPER, STRIDE_4, THREADS, best, measure, write

SIDES = {"baseline": 2, "plain": 2, "tiled": 6}
"""Sides and their steps per round."""


def peak_flops() -> float:
    """Operations per second of the fastest large float32 matrix product."""
    import torch

    from fod_bench.fod.precision import matrix_products

    torch.set_num_threads(THREADS)
    left, right = torch.randn(2, 2048, 2048)
    fastest = float("inf")
    with matrix_products("float32", left.device):
        for _ in range(10):
            start = time.perf_counter()
            left @ right
            fastest = min(fastest, time.perf_counter() - start)
    return 2 * 2048**3 / fastest


def run() -> list[Result]:
    """All figures; the memory of importing torch, the same on all sides, is taken off where the name says so."""
    rounds = [
        {side: measure(side, PAPER, repeats) for side, repeats in SIDES.items()} for _ in range(2)
    ]  # in turn: the machine's speed drifts
    found = {side: best(*(each[side] for each in rounds)) for side in SIDES}
    large = measure("tiled", STRIDE_4, 1)
    peak = peak_flops()
    kinds = [(side, PAPER, result) for side, result in found.items()] + [("tiled", STRIDE_4, large)]
    write(
        "step",
        [
            {
                "side": side,
                "tokens": step.tokens,
                "seconds": round(result.seconds, 3),
                "processor_seconds": round(result.processor_seconds, 3),
                "own_mb": round(result.own_mb),
                "peak_mb": round(result.peak_mb),
                "share_of_peak_flops": round(step.flops / result.seconds / peak, 3),
            }
            for side, step, result in kinds
        ],
    )
    baseline, ours = found["baseline"], found["tiled"]
    return [
        Result("training step, time: plain / ours", baseline.seconds / ours.seconds, 7.0, "×"),
        Result(
            "training step, peak memory above the process with torch loaded: plain / ours",
            baseline.own_mb / ours.own_mb,
            4.0,
            "×",
        ),
        Result("training step at N = 4096, peak memory of the process", large.peak_mb / 1024, 4.0, "GB", False),
    ]
