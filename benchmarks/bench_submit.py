"""How long a person who submits waits until the first training has taken a step, on a Ray of this machine that ran a job before."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks import Result
from tests.helpers.commands import LONG, Bench
from tests.helpers.ray_head import start_head


def run() -> list[Result]:
    """Wall-clock from the start of `fod-bench submit` to the first checkpoint, written after the first step; the best of three."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        try:
            head = start_head(bench)
            bench.run("submit", bench.job("warm"), "--cluster", head.file, "--wait")
            seconds = min(_seconds(bench, head.file, seed) for seed in (1, 2, 3))
        finally:
            bench.close()
    return [Result("submit to the first step, warm local cluster", seconds, 15.0, "s", higher_is_better=False)]


def _seconds(bench: Bench, cluster: str, seed: int) -> float:
    """Of one job, which has the features of the first."""
    job = bench.job(f"seed{seed}", LONG, seeds=[seed], checkpoint_seconds=0)
    before = set(bench.stored("trials/*/checkpoints/*.safetensors"))
    begun = time.perf_counter()
    waiting = bench.start("submit", job, "--cluster", cluster, "--wait")
    waiting.reaches(lambda: set(bench.stored("trials/*/checkpoints/*.safetensors")) - before, "the first step")
    seconds = time.perf_counter() - begun
    waiting.finished()
    return seconds
