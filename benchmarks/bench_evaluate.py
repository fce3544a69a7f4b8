"""Evaluation of a category of the paper's size: what one more way of scoring costs, and all twelve against one.

110 images at 256 px, 80 of them defective, in the paper's setting, two threads. Maps and metrics are timed on all images; the
networks on a batch of them, scaled to all. The parts of an evaluation are printed by `python -m benchmarks.bench_evaluate`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks import Result
from benchmarks.category import SIZE, TEST, WIDTHS, data, evaluated, method

PASSED = 8
"""Images that the networks are timed on: one batch."""
ROUNDS = 5


def measure() -> dict[str, float]:
    """Seconds of the parts of an evaluation, and of what follows the networks with one and with all twelve scorings."""
    import torch

    from fod_bench.evaluation.ranking import rank_positives, region_weights
    from fod_bench.methods.fod.network import BranchStatistics, NetworkOutput
    from fod_bench.methods.fod.score import image_scores, upsample, upsample_smoothed
    from fod_bench.trials.scores import TestImages

    torch.set_num_threads(2)
    given = data(train=4)
    fod = method(given, torch.device("cpu"))
    truth, masks = given.truth, given.truth.masks
    generator = torch.Generator().manual_seed(0)
    batch = {level: torch.from_numpy(given.test.pooled[level][:PASSED]) for level in WIDTHS}
    networks = [trainer.network for trainer in fod.trainers.values()]

    def forward() -> None:
        with torch.inference_mode():
            for level, network in zip(WIDTHS, networks, strict=True):
                network(batch[level].flatten(1, 2), fod.references[level].of(None))

    def at_once(features: torch.Tensor, reference: torch.Tensor) -> NetworkOutput:
        """Stands for a network that takes no time."""
        statistics = BranchStatistics(*(torch.rand(features.shape[:2], generator=generator) for _ in range(3)))
        return NetworkOutput(features.flip(0), statistics, statistics)

    seconds = {"networks": min(_seconds(forward) for _ in range(ROUNDS)) * TEST / PASSED}
    for trainer in fod.trainers.values():
        trainer.network = at_once

    test = TestImages(given.test, torch.device("cpu"))

    def scored(count: int) -> Callable[[], object]:
        """What follows the networks, for the first `count` scorings."""
        return lambda: evaluated(test.parts(fod.detector()), truth, count)

    coarse = torch.rand(TEST, 16, 16, generator=generator)
    pixels = upsample(coarse, SIZE)
    values, smoothed = pixels.numpy(), upsample_smoothed(coarse, SIZE)
    ranked = rank_positives(values, masks, "pixel")
    timed: dict[str, Callable[[], object]] = {
        "one scoring": scored(1),
        "twelve scorings": scored(12),
        "  upsampling, a level": lambda: upsample(coarse, SIZE),
        "  upsampling and blur, a level": lambda: upsample_smoothed(coarse, SIZE),
        "  mean of two levels": lambda: (pixels + pixels).div_(2),
        "  image scores": lambda: image_scores(smoothed),
        "  sort and search": lambda: rank_positives(values, masks, "pixel"),
        "  AUROC": ranked.auroc,
        "  F1-max": ranked.f1_max,
        "  AUPRO": lambda: ranked.aupro(truth.region_weights),
        "  regions of the masks (once)": lambda: region_weights(masks),
    }
    seconds |= dict.fromkeys(timed, float("inf"))
    for _ in range(ROUNDS):  # in turn: the machine's speed drifts
        for name, call in timed.items():
            seconds[name] = min(seconds[name], _seconds(call))
    return seconds


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def run() -> list[Result]:
    """One added scoring is an eleventh of what twelve take more than one; an evaluation as it is has twelve."""
    seconds = measure()
    forward, one, twelve = (seconds[name] for name in ("networks", "one scoring", "twelve scorings"))
    added = (twelve - one) / 11
    return [
        Result("one more scoring / an evaluation with one", 100 * added / (forward + one), 5.0, "%", False),
        Result("evaluation, twelve scorings / one", (forward + twelve) / (forward + one), 1.4, "×", False),
    ]


if __name__ == "__main__":
    for part, taken in measure().items():
        print(f"{part:32} {taken:8.4f} s")
