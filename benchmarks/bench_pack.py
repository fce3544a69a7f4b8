"""Trials per hour by the number that share their steps: in each of as many processes of one thread as there are cores, which is how
workers are on a CPU, and in one process with all threads.

Steps only, on random features. `small` has the sizes of a quick try, `medium` half the paper's widths at half its image size.
On a GPU the processes are four, each with a quarter of it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks import Result
from benchmarks.bench_growth import exponent
from benchmarks.steps import write
from fod_bench.machine.system import cores

PACKS = (1, 2, 4, 8)
PACKS_ON_GPU = (1, 2, 4, 8, 16)
SECONDS = 2.0
"""Of steps that are timed, after some to warm up."""
STEPS = 24_000
"""Steps of a training: 100 epochs of 240 images."""


class Size(NamedTuple):
    """`{stride: (grid, channels, d_m)}`, heads, layers."""

    levels: dict[int, tuple[int, int, int]]
    heads: int
    layers: int


SIZES = {
    "small": Size({8: (8, 32, 16), 16: (4, 64, 16)}, 2, 1),
    "medium": Size({8: (16, 72, 128), 16: (8, 200, 256)}, 8, 3),
    "paper": Size({8: (32, 72, 256), 16: (16, 200, 512)}, 8, 3),
}
"""The paper's is for a GPU: on a CPU a step of eight takes seconds."""


def run() -> list[Result]:
    """For each size, what sharing steps makes of the trials per hour, and how the time of a step grows with their number."""
    import torch

    on_gpu = torch.cuda.is_available()
    processes, packs = (4, PACKS_ON_GPU) if on_gpu else (cores(), PACKS)
    rows: list[dict[str, object]] = []
    results = []
    for size in SIZES if on_gpu else ("small", "medium"):
        each, one = _rates(size, packs, 1, processes), _rates(size, packs, processes, 1)
        rows += [_row(size, f"in each of {processes} processes", pack, rate) for pack, rate in each.items()]
        rows += [_row(size, f"in one process of {processes} threads", pack, rate) for pack, rate in one.items()]
        floor = 1.2 if size == "small" else 0.8
        ratio = max(each[pack] for pack in packs[1:]) / each[1]
        growth = exponent({pack: pack / rate for pack, rate in each.items()})
        results += [
            Result(f"trials per hour, {size}: sharing steps / one by one", ratio, floor, "×"),
            Result(f"growth of time with trials sharing steps, {size}, exponent", growth, 1.1, "", False),
        ]
    write("pack", rows)
    return results


def _row(size: str, where: str, pack: int, rate: float) -> dict[str, object]:
    return {"size": size, "where": where, "pack": pack, "trials_per_hour": round(rate * 3600, 2)}


def _rates(size: str, packs: Sequence[int], threads: int, processes: int) -> dict[int, float]:
    """Trials per second of so many processes at once, by pack; they take their steps at the same time."""
    command = [sys.executable, "-m", "benchmarks.bench_pack", size, str(threads)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    started = [subprocess.Popen(command, **pipes) for _ in range(processes)]

    def answers(asked: object) -> list[str]:
        for process in started:
            process.stdin.write(f"{asked}\n")
        return [process.stdout.readline() for process in started]

    rates = {}
    for pack in packs:
        answers(pack)  # each is ready for its steps
        rates[pack] = sum(float(rate) for rate in answers("go"))
    for process in started:
        process.communicate()
    return rates


def _rates_here(size: Size, threads: int) -> None:
    """Answers the lines of `_rates`: with a line when it is ready for the steps of a pack, then with its trials per second."""
    import numpy as np
    import torch

    from fod_bench.methods.base import Context, Split
    from fod_bench.methods.fod.method import FodMethod
    from fod_bench.methods.fod.references.build import build_references
    from fod_bench.methods.fod.references.specs import MeanReference

    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rng = np.random.default_rng(0)
    features = {
        level: rng.standard_normal((8, grid, grid, channels), dtype=np.float32)
        for level, (grid, channels, _) in size.levels.items()
    }
    side = 8 * size.levels[8][0]
    reference = build_references(MeanReference(), features, features, torch.device("cpu"))
    given = Split(pooled=features), Context(side, reference)
    setting = {
        "levels": list(size.levels),
        "d_model": {str(level): d_model for level, (_, _, d_model) in size.levels.items()},
        "heads": size.heads,
        "layers": size.layers,
        "views": "full",
        "learning_rate": 1e-4,
        "batch_size": 1,
        "lambda2": 0.5,
    }
    for asked in sys.stdin:
        pack = int(asked)
        methods = [FodMethod(setting | {"lambda1": 0.5 + seed}, *given, seed, device) for seed in range(pack)]
        packed = FodMethod.pack(methods)

        def steps(count: int, pack: int = pack, methods: list[Any] = methods, packed: Any = packed) -> None:
            for step in range(count):
                packed.step([(0, step % 8)] * pack) if pack > 1 else methods[0].step(0, step % 8)
            if device.type == "cuda":
                torch.cuda.synchronize()

        steps(8)
        print("ready", flush=True)
        sys.stdin.readline()
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < SECONDS:
            steps(8)
            done += 8
        print(pack * done / (time.perf_counter() - start) / STEPS, flush=True)


if __name__ == "__main__":
    _rates_here(SIZES[sys.argv[1]], int(sys.argv[2]))
