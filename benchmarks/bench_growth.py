"""How time and memory of a training step grow, as exponents fitted to curves: with patches, images and layers."""

from __future__ import annotations

import math

from benchmarks import Result
from benchmarks.bench_step import OURS
from benchmarks.steps import Measured, Step, best, measure, write

WIDTHS = (72, 128)
"""Channels and d_m of the networks measured."""
CURVES = {
    "patches": {side * side: Step(((side, *WIDTHS),), layers=1) for side in (16, 32, 64)},
    "images": {count: Step(((24, *WIDTHS),), images=count, layers=1) for count in (1, 2, 4, 8)},
    "layers": {count: Step(((24, *WIDTHS),), layers=count) for count in (1, 2, 4, 8)},
}
ROUNDS = 2


def exponent(curve: dict[int, float]) -> float:
    """Slope of the straight line through (log size, log value) that fits best."""
    points = [(math.log(size), math.log(value)) for size, value in curve.items()]
    x_mean, y_mean = (sum(values) / len(points) for values in zip(*points, strict=True))
    return sum((x - x_mean) * (y - y_mean) for x, y in points) / sum((x - x_mean) ** 2 for x, _ in points)


def run() -> list[Result]:
    """Exponents; memory is what a step needs beyond one of 16 patches, which holds parameters and the like."""
    least = measure(OURS, Step(((4, *WIDTHS),), layers=1)).peak_mb
    rows: list[dict[str, object]] = []
    time: dict[str, float] = {}
    memory: dict[str, float] = {}
    for name, steps in CURVES.items():
        rounds = [{size: measure(OURS, step) for size, step in steps.items()} for _ in range(ROUNDS)]
        curve: dict[int, Measured] = {size: best(*(each[size] for each in rounds)) for size in steps}
        rows += [
            {
                "against": name,
                "size": size,
                "seconds": round(measured.seconds, 4),
                "processor_seconds": round(measured.processor_seconds, 4),
                "mb": round(measured.peak_mb - least, 1),
            }
            for size, measured in curve.items()
        ]
        time[name] = exponent({size: measured.processor_seconds for size, measured in curve.items()})
        memory[name] = exponent({size: measured.peak_mb - least for size, measured in curve.items()})
    write("growth", rows)
    return [
        Result("growth of memory with patches N, exponent", memory["patches"], 1.2, "", False),
        Result("growth of time with patches N, exponent", time["patches"], 2.1, "", False),
        Result("growth of time with images per step, exponent", time["images"], 1.1, "", False),
        Result("growth of time with layers, exponent", time["layers"], 1.1, "", False),
    ]
