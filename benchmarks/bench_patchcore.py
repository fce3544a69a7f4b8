"""PatchCore's two costs: the selection of a coreset, and the search for nearest memory rows. Seconds are those of the processor.

The selection is held against a plain one of the same rule, which takes all distances anew at every pick and must pick the same; the
search against one matrix product of its size.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import Result
from fod_bench.methods.coreset import GreedyCoreset, mean_distances
from fod_bench.methods.patchcore.memory import Memory
from fod_bench.methods.patchcore.method import draw_projection, draw_starts

ROWS, CHANNELS, PICKS, DIMENSIONS = 51_200, 272, 512, 128
IMAGES, QUERIES, MEMORY = 100, 1024, 2048

_CHILD = """
import json, resource, sys, time
import torch
from benchmarks import bench_patchcore
torch.set_num_threads(1)
rows = bench_patchcore.random_rows()
torch.empty(1000, 64) @ torch.empty(64, 8)  # the libraries' own buffers
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.process_time()
picks = getattr(bench_patchcore, sys.argv[1])(rows)
seconds = time.process_time() - start
print(json.dumps([seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10, picks.tolist()]))
"""


def random_rows() -> Tensor:
    """Standard normal numbers (ROWS, CHANNELS)."""
    return torch.from_numpy(np.random.default_rng(0).standard_normal((ROWS, CHANNELS), dtype=np.float32))


def projected_coreset(rows: Tensor) -> Tensor:
    """The approximate rule after a projection, as the method has it: places (PICKS,)."""
    points, starts = _projected(rows)
    selection = GreedyCoreset(points, PICKS, mean_distances(points, starts), repeats=False)
    selection.advance(PICKS)
    return selection.picks


def plain_coreset(rows: Tensor) -> Tensor:
    """The same picks, with the distances of all rows taken anew at every pick."""
    points, starts = _projected(rows)
    nearest = torch.cdist(points, points[starts]).mean(1)
    picks = []
    for _ in range(PICKS):
        picks.append(int(nearest.argmax()))
        point = points[picks[-1]]
        squared = points.square().sum(1) + point.square().sum() - 2 * (points @ point)
        nearest = torch.minimum(nearest, squared.clamp(min=0).sqrt())
    return torch.tensor(picks)


def _projected(rows: Tensor) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    points = rows @ draw_projection(DIMENSIONS, CHANNELS, generator).T
    return points.sub_(points.mean(0)), draw_starts(ROWS, generator)


def _least(function: Callable[[], Any], repeats: int = 3) -> float:
    """Least processor seconds of some calls."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return min(seconds)


def run() -> list[Result]:
    """Measure, on one thread. Raises `AssertionError` when the picks are not those of the plain selection."""
    measured = {}
    for name in ("projected_coreset", "plain_coreset"):
        done = subprocess.run([sys.executable, "-c", _CHILD, name], check=True, capture_output=True, text=True)
        measured[name] = json.loads(done.stdout)
    seconds, size, picks = measured["projected_coreset"]
    plain_seconds, _, plain_picks = measured["plain_coreset"]
    assert picks == plain_picks, "other picks than the plain selection's"

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    patches = torch.randn(IMAGES, QUERIES, CHANNELS, generator=generator)
    rows = torch.randn(MEMORY, CHANNELS, generator=generator)
    memory = Memory(rows)
    product = _least(lambda: patches.view(-1, CHANNELS) @ rows.T)
    search = _least(lambda: [memory.nearest(image, 1) for image in patches])
    return [
        Result("coreset of 1 % of 51 200: time", seconds, 1.0, "s", higher_is_better=False),
        Result("coreset, memory beyond the rows", size, 60.0, "MiB", higher_is_better=False),
        Result("coreset, time: all distances at every pick / ours", plain_seconds / seconds, 3.0, "×"),
        Result("nearest of 2048 for 100 images / one product", search / product, 1.3, "×", higher_is_better=False),
    ]
