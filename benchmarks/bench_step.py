"""A training step against the plain implementation: time and peak memory, each side in a process of its own.

One picture at 256 px, EfficientNet-b6's widths (72 and 200 channels), d_m 256 and 512, 8 heads, 3 layers, both branches.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

from benchmarks import Result

LEVELS = ((32, 72, 256), (16, 200, 512))  # (grid side, channels, d_m)


def measure(side: str, repeats: int) -> dict[str, float]:
    """Seconds of the fastest step (both levels), peak memory of this process and its memory with torch loaded, in MB."""
    import torch
    import torch.optim

    from benchmarks import plain_fod
    from fod_bench.fod.model import NetworkShape
    from fod_bench.fod.train import LevelTrainer, LossWeights, build_network

    loaded = _peak_mb()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    levels = []
    for grid, channels, d_model in LEVELS:
        network = build_network(NetworkShape(grid, grid, channels, d_model, 8, 3, "full"), seed=0)
        features, reference = torch.randn(1, grid * grid, channels), torch.randn(1, grid * grid, channels)
        levels.append((LevelTrainer(network, LossWeights(), 1e-4), features, reference))
    fastest = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        for trainer, features, reference in levels:
            if side == "plain":
                plain_fod.step(trainer.network, trainer.optimizer, features, reference)
            else:
                trainer.step(features, reference)
        fastest = min(fastest, time.perf_counter() - start)
    return {"seconds": fastest, "peak_mb": _peak_mb(), "loaded_mb": loaded}


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _in_process(side: str, repeats: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.bench_step", side, str(repeats)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run() -> list[Result]:
    """Both ratios; the memory of importing torch, the same on both sides, is taken off."""
    rounds = [
        (_in_process("plain", 2), _in_process("fused", 6)) for _ in range(2)
    ]  # in turn: the machine's speed drifts
    plain, ours = ({key: min(side[key] for side in sides) for key in sides[0]} for sides in zip(*rounds, strict=True))
    return [
        Result("training step, time: plain / ours", plain["seconds"] / ours["seconds"], 7.0, "×"),
        Result(
            "training step, peak memory above the process with torch loaded: plain / ours",
            (plain["peak_mb"] - plain["loaded_mb"]) / (ours["peak_mb"] - ours["loaded_mb"]),
            4.0,
            "×",
        ),
    ]


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
