"""The commands a person waits for, in seconds: help, the plan of 800 cells, and that of the whole paper."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import Result

_PAPER = Path(__file__).parent.parent / "jobs" / "paper.yaml"

_JOB = """
name: many
datasets: {mvtec: {layout: mvtec, root: nowhere}, btad: {layout: btad, root: nowhere}, mvtec3d: {layout: mvtec3d, root: nowhere}}
settings: {weights: random}
grid: {lambda1: [0.1, 0.5, 1.0, 3.0, 5.0, 10.0], lambda2: [0.1, 0.5, 1.0, 3.0, 5.0]}
"""  # 28 categories × 30 rows = 840 cells


def run() -> list[Result]:
    """Wall-clock of each command as a whole process, the fastest of three."""
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "many.yaml"
        job.write_text(_JOB)
        return [
            Result("fod-bench --help", _fastest(["--help"], folder), 1.0, "s", higher_is_better=False),
            Result("fod-bench plan, 840 cells", _fastest(["plan", str(job)], folder), 3.0, "s", higher_is_better=False),
            Result(
                "fod-bench plan jobs/paper.yaml",
                _fastest(["plan", str(_PAPER)], folder),
                3.0,
                "s",
                higher_is_better=False,
            ),
        ]


def _fastest(arguments: list[str], folder: str) -> float:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "fod_bench.cli.app", *arguments], check=True, capture_output=True, cwd=folder
        )
        times.append(time.perf_counter() - start)
    return min(times)
