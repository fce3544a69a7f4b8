"""A training step of CFLOW-AD against a plain one, `plain_cflow.py`: a fiber of 256 rows, eight blocks, a condition of 128 numbers.

Channels are those of strides 8 and 16 of EfficientNet-b6. The sides take turns, since the machine's speed drifts; the fastest step
of each counts. On a CPU seconds are those of the processor on one thread, whatever else the machine is doing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks import Result

FIBER, BLOCKS, CONDITION = 256, 8, 128
CHANNELS = (72, 200)
THREADS = 1
ROUNDS, STEPS = 12, 3


def run() -> list[Result]:
    """Ratios of time, plain to ours: at least 1."""
    return [
        Result(f"CFLOW-AD, training step of {channels} channels: plain / ours", plain / ours, 1.0, "×")
        for channels, (plain, ours) in ((channels, seconds(channels)) for channels in CHANNELS)
    ]


def seconds(channels: int) -> tuple[float, float]:
    """Of the fastest step, plain and ours."""
    import torch

    from benchmarks import plain_cflow
    from fod_bench.methods.cflow.network import FlowShape, build_flow
    from fod_bench.methods.cflow.train import LevelTrainer

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows, condition = (torch.randn(FIBER, size, device=device) for size in (channels, CONDITION))
    plain = plain_cflow.Flow(channels, CONDITION, BLOCKS).to(device)
    optimizer = torch.optim.Adam([parameter for parameter in plain.parameters() if parameter.requires_grad], lr=2e-4)
    trainer = LevelTrainer(build_flow(FlowShape(channels, CONDITION, BLOCKS, plain_cflow.CLAMP), 0, 8).to(device))
    sides: tuple[Callable[[], object], ...] = (
        lambda: plain_cflow.step(plain, optimizer, rows, condition),
        lambda: trainer.step(rows, condition, 2e-4),
    )
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    fastest = [float("inf")] * len(sides)
    for _ in range(ROUNDS):
        for number, side in enumerate(sides):
            for _ in range(STEPS):
                start = clock()
                side()
                if device.type == "cuda":
                    torch.cuda.synchronize()
                fastest[number] = min(fastest[number], clock() - start)
    return fastest[0], fastest[1]
