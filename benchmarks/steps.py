"""Measuring training steps, each kind in a process of its own, so that peak memory is its own. On a GPU where there is one."""

from __future__ import annotations

import csv
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import NamedTuple

from fod_bench.machine.system import cores

THREADS = 2
HEADS = 8
RESULTS = Path(__file__).parent / "results"


class Step(NamedTuple):
    """One training step on random features, full view, `HEADS` heads."""

    levels: tuple[tuple[int, int, int], ...]
    """(grid side, channels, d_m) of each level."""
    images: int = 1
    layers: int = 3

    @property
    def tokens(self) -> int:
        """N, over all levels."""
        return sum(side * side for side, _, _ in self.levels)

    @property
    def flops(self) -> float:
        """Operations of its matrix products, those of the backward pass's recomputation included."""
        from fod_bench.methods.fod.cost import step_flops

        return sum(
            step_flops(side * side, channels, d_model, self.layers, "full", self.images)
            for side, channels, d_model in self.levels
        )


PAPER = Step(((32, 72, 256), (16, 200, 512)))
"""EfficientNet-b6's widths at 256 px: strides 8 and 16."""
STRIDE_4 = Step(((64, 40, 128),))
"""The same backbone's stride 4: N = 4096."""


class Measured(NamedTuple):
    """Of the fastest step: seconds of wall-clock and of processors; then peak memory, and that of the libraries alone, MB, on a
    GPU that of tensors there; and the bytes that a step moves (`traffic.py`)."""

    seconds: float
    processor_seconds: float
    peak_mb: float
    loaded_mb: float
    moved: float

    @property
    def own_mb(self) -> float:
        """Memory of the step: beyond the libraries' own."""
        return self.peak_mb - self.loaded_mb


def measure(side: str, step: Step, repeats: int = 3) -> Measured:
    """One step: see `measure_all`."""
    return measure_all(side, [step], repeats)[0]


def measure_all(side: str, steps: Sequence[Step], repeats: int = 3) -> list[Measured]:
    """Steps in one process; on a CPU that has one peak of memory, so that the first alone has its own there.

    `side` is `baseline` (`plain_fod.py`: N×N tensors kept, two backward passes), or an implementation of the operator, with
    `+graphs` where its steps are recorded and `+bfloat16` where that is the precision.
    """
    name, _, how = side.partition("+")
    environment = os.environ | {
        "FOD_BENCH_CORRELATION": "" if side == "baseline" else name,
        "FOD_BENCH_CUDA_GRAPHS": "1" if how == "graphs" else "0",
    }
    if side == "baseline":
        environment["GOMP_SPINCOUNT"] = "300000"  # what it is without `fod_bench.machine.tuning`; better for this side
    command = [sys.executable, "-m", "benchmarks.steps", side, json.dumps(steps), str(repeats)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return [Measured(*each) for each in json.loads(done.stdout)]


def best(*measured: Measured) -> Measured:
    """The least of each, over rounds."""
    return Measured(*(min(values) for values in zip(*measured, strict=True)))


def write(name: str, rows: list[dict[str, object]]) -> None:
    """`benchmarks/results/NAME.csv`, each row with date and machine."""
    about = {"date": f"{datetime.now(timezone.utc):%Y-%m-%d}", "machine": machine()}
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*about, *rows[0]])
        writer.writeheader()
        writer.writerows(about | row for row in rows)


def machine() -> str:
    """Processor, cores and how busy they were, and the GPU where there is one."""
    import torch

    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    processor = f"{names[0] if names else 'unknown'}; {cores()} cores; load {os.getloadavg()[0]:.0f}"
    return f"{torch.cuda.get_device_name()}; {processor}" if torch.cuda.is_available() else processor


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _measure_here(side: str, step: Step, repeats: int) -> Measured:
    import torch

    from benchmarks import plain_fod
    from benchmarks.traffic import Traffic
    from fod_bench.methods.fod.network import NetworkShape
    from fod_bench.methods.fod.precision import Precision
    from fod_bench.methods.fod.recorded import CudaGraphs, graphs_wanted
    from fod_bench.methods.fod.streams import Streams
    from fod_bench.methods.fod.train import LevelTrainer, LossWeights, build_network

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    recorded = graphs_wanted(device)
    precision: Precision = "bfloat16" if side.endswith("+bfloat16") else "float32"

    def trainer(shape: NetworkShape) -> LevelTrainer:
        recorder = CudaGraphs() if recorded else None
        network = build_network(shape, seed=0).to(device)
        return LevelTrainer(network, LossWeights(), 1e-4, precision, recorder=recorder)

    # A first step loads some 200 MB of modules, on whichever side.
    smallest = NetworkShape(2, 2, 4, 8, 2, 1, "full")
    trainer(smallest).step(torch.randn(1, 4, 4, device=device), torch.randn(1, 4, 4, device=device))
    loaded = 0.0 if on_gpu else _peak_mb()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    levels = []
    for grid, channels, d_model in step.levels:
        features = torch.randn(step.images, grid * grid, channels, device=device)
        reference = torch.randn(1, grid * grid, channels, device=device)
        shape = NetworkShape(grid, grid, channels, d_model, HEADS, step.layers, "full")
        levels.append((trainer(shape), features, reference))

    def step_of(level: LevelTrainer, features: torch.Tensor, reference: torch.Tensor) -> None:
        if side == "baseline":
            plain_fod.step(level.network, level.optimizer, features, reference)
        else:
            level.step(features, reference)

    works = [partial(step_of, *each) for each in levels]
    streams = Streams(len(works)) if recorded else None

    def take_step() -> None:
        if streams is not None:
            streams.run(works)
        else:
            for work in works:
                work()

    seconds = processor_seconds = float("inf")
    for _ in range(repeats):
        start, processor_start = time.perf_counter(), time.process_time()
        take_step()
        if on_gpu:
            torch.cuda.synchronize()
        seconds = min(seconds, time.perf_counter() - start)
        processor_seconds = min(processor_seconds, time.process_time() - processor_start)
    peak = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else _peak_mb()
    with Traffic() as traffic:
        for level, _, _ in levels:
            level.recorded = None  # a replayed step shows no operations
            if side not in ("baseline", "plain"):
                traffic.see_operator_as_one(level.network)
        take_step()
    return Measured(seconds, processor_seconds, peak, loaded, traffic.bytes)


if __name__ == "__main__":
    asked = [Step(tuple(map(tuple, sides)), images, layers) for sides, images, layers in json.loads(sys.argv[2])]
    print(json.dumps([_measure_here(sys.argv[1], step, int(sys.argv[3])) for step in asked]))
