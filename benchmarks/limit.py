"""The time that a training step cannot fall below on this processor: its matrix products at the rate of a large one, and the
operator's loops alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from benchmarks.steps import HEADS, THREADS, Step

_REPEATS = 20


def step_limit(step: Step, flops: float) -> float:
    """Seconds of a step, its products at `flops` operations a second, the loops on `THREADS` threads. Nothing else is counted:
    neither what is done between the two, nor the optimiser."""
    entries = {side: 2 * step.layers * HEADS * step.images * side**4 for side, _, _ in step.levels}  # of both branches
    return step.flops / flops + sum(count * seconds_per_entry(side) for side, count in entries.items())


def seconds_per_entry(side: int) -> float:
    """Seconds that the operator's loops take for an entry of S, forward and backward, on a grid of `side`², all threads at work,
    each on one block of the usual size."""
    ready = threading.Barrier(THREADS)
    found: list[float] = []

    def work() -> None:
        forward, backward, entries = _block(side)
        ready.wait()
        found.append((_fastest(forward) + _fastest(backward)) / entries)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(found) / len(found) / THREADS


def _block(side: int) -> tuple[Callable[[], object], Callable[[], object], int]:
    """The loops of both passes over a block of one head, and its entries."""
    import torch

    from fod_bench.methods.fod.correlation.blocks import Targets
    from fod_bench.methods.fod.correlation.frame import RowGradients, RowSums
    from fod_bench.methods.fod.correlation.numba import BLOCK_ELEMENTS, Compiled
    from fod_bench.methods.fod.target import kernel_widths, target_factors

    columns = side * side
    rows = min(columns, BLOCK_ELEMENTS // columns)
    y, x = (part[0, :, :rows] for part in target_factors(kernel_widths(torch.randn(1, 1, columns, 2)), side, side))
    target = Targets(y.contiguous(), x.contiguous())
    logits, gradient = torch.randn(2, 1, rows, columns)
    sums = RowSums(*torch.empty(2, 1, rows), *torch.empty(2, 1, rows, 1))
    weights = torch.full((2, 1, rows, 1), 1e-3)
    attend = Compiled().forward(target, sums)
    through = Compiled().backward(
        target,
        RowGradients(sums.highest, sums.inverse_sum, *weights, torch.empty_like(target.y), torch.empty_like(target.x)),
    )
    every = slice(0, rows)
    # both write over what they are given: numbers of the same size, so that a repetition is as good as the first time
    return lambda: attend(every, logits), lambda: through(every, logits, gradient), rows * columns


def _fastest(work: Callable[[], object]) -> float:
    seconds = float("inf")
    for _ in range(_REPEATS):
        start = time.perf_counter()
        work()
        seconds = min(seconds, time.perf_counter() - start)
    return seconds
