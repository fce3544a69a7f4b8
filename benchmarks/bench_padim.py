"""PaDiM on a category of 200 images to train on and 200 to score: processor seconds and memory, in a process of its own.

1024 positions of strides 8 and 16 of EfficientNet-b6 at 256 pixels, 100 of the 272 channels kept; maps and image scores included.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from benchmarks import Result

IMAGES = 200
SIZE = 256
CHANNELS = {8: 72, 16: 200}
THREADS = 1
"""Seconds are those of the processor on one thread, whatever else the machine is doing: within the bound on one core is within it
on two."""
BATCH = 8
"""Images that are scored at once."""
ROUNDS = 3
"""The fastest counts."""


def run() -> list[Result]:
    """Seconds of fit and scores together, and peak memory beyond the libraries' own and the features'."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench_padim"], check=True, stdout=subprocess.PIPE, text=True
    )
    fit, score, memory = json.loads(done.stdout)
    return [
        Result("PaDiM, fit and scores of 200 images each, one core", fit + score, 5.0, "s", False),
        Result("PaDiM, peak memory beyond libraries and features", memory, 1.0, "GiB", False),
    ]


def _measure_here() -> tuple[float, float, float]:
    import resource
    import time

    import numpy as np
    import torch

    from fod_bench.methods.base import Context, Split
    from fod_bench.methods.padim.method import PadimMethod

    torch.set_num_threads(THREADS)
    device = torch.device("cpu")
    setting = {"levels": list(CHANNELS), "image_size": SIZE, "channels": 100, "channels_seed": 1024}

    def features(images: int, seed: int, size: int = SIZE) -> Split:
        rng = np.random.default_rng(seed)
        shapes = {level: (images, size // level, size // level, width) for level, width in CHANNELS.items()}
        return Split(unpooled={level: rng.standard_normal(shape, np.float32) for level, shape in shapes.items()})

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

    def fitted(train: Split, size: int) -> PadimMethod:
        method = PadimMethod(setting, train, Context(size), 0, device)
        for step in range(method.steps_per_epoch):
            method.step(0, step)
        return method

    def scores(method: PadimMethod, test: Split, size: int) -> Any:
        detector = method.detector()
        given = [
            detector.parts(test.batch(slice(start, start + BATCH), device))["distance"]
            for start in range(0, len(test), BATCH)
        ]
        return list(method.scorings(setting, {"distance": torch.cat(given)}, size))

    small = features(3, 0, 32)
    scores(fitted(small, 32), small, 32)  # what the libraries load when first used
    train, test = features(IMAGES, 0), features(IMAGES, 1)
    before = peak()
    fit = score = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        method = fitted(train, SIZE)
        middle = time.process_time()
        scores(method, test, SIZE)
        fit, score = min(fit, middle - start), min(score, time.process_time() - middle)
    return fit, score, peak() - before


if __name__ == "__main__":
    print(json.dumps(_measure_here()))
