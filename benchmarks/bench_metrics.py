"""Pixel metrics of 10 million scores: time against scikit-learn, and memory beside the scores. Run as a module."""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import Result
from fod_bench.evaluation.ranking import auroc, pixel_metrics

SHAPE = (100, 320, 320)
"""10.24 million pixels."""


def score_maps() -> tuple[np.ndarray, np.ndarray]:
    """Float32 scores and masks (n, H, W): a square defect of 45 x 45 pixels, 2 % of each image, scoring higher."""
    rng = np.random.default_rng(0)
    masks = np.zeros(SHAPE, dtype=np.uint8)
    for mask in masks:
        y, x = rng.integers(0, SHAPE[1] - 45, 2)
        mask[y : y + 45, x : x + 45] = 1
    scores = rng.standard_normal(SHAPE, dtype=np.float32)
    scores += np.float32(1.5) * masks
    return scores, masks


def fastest(function: Callable[..., Any], *arguments: Any, repeats: int) -> tuple[float, Any]:
    """Least wall time in seconds of `repeats` calls, and what the last one returned."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        value = function(*arguments)
        seconds.append(time.perf_counter() - start)
    return min(seconds), value


def peak_bytes(function: Callable[..., Any], *arguments: Any) -> int:
    """Most memory that the call held beside its arguments."""
    tracemalloc.start()
    try:
        function(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def run() -> list[Result]:
    """Measure. Raises `AssertionError` when the two AUROCs differ."""
    from sklearn.metrics import roc_auc_score

    scores, masks = score_maps()
    ours_seconds, ours = fastest(auroc, scores, masks, repeats=5)
    theirs_seconds, theirs = fastest(roc_auc_score, masks.ravel(), scores.ravel(), repeats=2)
    assert abs(ours - theirs) < 1e-9, (ours, theirs)
    all_seconds, _ = fastest(pixel_metrics, scores, masks, repeats=3)
    return [
        Result("pixel AUROC, scikit-learn's time / ours", theirs_seconds / ours_seconds, 20.0, "x"),
        Result("pixel AUROC, memory / scores", peak_bytes(auroc, scores, masks) / scores.nbytes, 1.7, "x", False),
        Result("pixel AUROC + AUPRO + F1-max", all_seconds, 1.5, "s", False),
    ]


def main() -> int:
    """Print the figures; 1 when one misses its floor."""
    missed = 0
    for result in run():
        met = result.value >= result.floor if result.higher_is_better else result.value <= result.floor
        sign = ">=" if result.higher_is_better else "<="
        print(
            f"{result.name:42} {result.value:8.2f} {result.unit:2} {sign} {result.floor:g}  {'ok' if met else 'MISSED'}"
        )
        missed += not met
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
