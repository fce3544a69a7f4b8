"""What it takes to make reference features of a large category, each in a process that does nothing else.

Seconds are those of the processor, on one thread: what it takes on a core of its own, whatever else the machine is doing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import Result

SHAPE = (300, 32, 32, 72)
"""Images, grid and channels: level 8 of EfficientNet-b6 for a category of 300 images of 256×256."""
MANY = (400, 32, 32, 72)
TESTED = 100
"""Test images, which nearest and codebook look up too."""
SECONDS, GIBIBYTES = 60.0, 3.0

_CHILD = """
import json, resource, sys, time
import numpy, torch
from fod_bench.methods.fod.references.specs import reference_spec
from fod_bench.methods.fod.references.build import build_references
torch.set_num_threads(int(sys.argv[4]))
train, test = (numpy.load(path, mmap_mode="r") for path in sys.argv[2:4])
start = time.process_time()
build_references(reference_spec(json.loads(sys.argv[1])), {8: train}, {8: test}, torch.device("cpu"))
seconds = time.process_time() - start
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20]))
"""
THREADS = 1
"""A worker's share by default. Within the bounds on one core is within them on two."""


def run() -> list[Result]:
    """Processor seconds and peak memory, libraries and mapped features included, of every kind that costs something."""
    results = []
    with tempfile.TemporaryDirectory(prefix="fod-bench-") as folder:
        train, many, test = (
            _features(Path(folder) / f"{seed}.npy", shape, seed)
            for seed, shape in enumerate((SHAPE, MANY, (TESTED, *SHAPE[1:])))
        )
        kinds: list[tuple[str, Path, Any, float]] = [
            ("nearest", train, "nearest", GIBIBYTES),
            ("nearest of 400 images", many, "nearest", 2.0),
            ("coreset of 1024", train, "coreset", GIBIBYTES),
            ("coreset of 4096", train, {"kind": "coreset", "per_position": 4}, GIBIBYTES),
            ("prototype", train, "prototype", GIBIBYTES),
            ("codebook", train, "codebook", GIBIBYTES),
        ]
        for name, features, spec, memory in kinds:
            command = [sys.executable, "-c", _CHILD, json.dumps(spec), str(features), str(test), str(THREADS)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds, peak = json.loads(done.stdout)
            results.append(Result(f"reference {name}: time", seconds, SECONDS, "s", higher_is_better=False))
            results.append(Result(f"reference {name}: memory", peak, memory, "GiB", higher_is_better=False))
    return results


def _features(path: Path, shape: tuple[int, ...], seed: int) -> Path:
    """Features like a backbone's: a pattern per position, some twenty kinds of material, noise."""
    shared, own = np.random.default_rng(7), np.random.default_rng(seed)
    places, kinds = shared.normal(size=shape[1:]), shared.normal(size=(20, shape[-1]))
    made = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    for image in made:
        image[:] = places + kinds[own.integers(0, 20, shape[1:3])] / 2 + own.normal(size=shape[1:]) / 3
    made.flush()
    return path
