"""Evaluation of a category of the paper's size: against what it cannot do without, and what one more way of scoring costs.

110 images at 256 px, 80 of them defective, in the paper's setting, two threads. Maps and metrics are timed on all images; the
networks on two batches of them, scaled to all. What an evaluation cannot do without is timed beside the networks, in as many
threads, each of which has an image: all matrix products of the networks by themselves; or those of their layers, and the
correlation operator by itself. The parts of an evaluation are printed by `python -m benchmarks.bench_evaluate`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks import Result
from benchmarks.category import SIZE, TEST, data, evaluated, method

PASSED = 16
"""Images that the networks are timed on: two batches."""
THREADS = 2
ROUNDS = 5


def measure() -> dict[str, float]:
    """Seconds of the parts of an evaluation, of what it cannot do without, and of what follows the networks with one and with all
    twelve scorings."""
    import torch

    from fod_bench.evaluation.ranking import rank_positives, region_weights
    from fod_bench.methods.base import Split
    from fod_bench.methods.fod.network import BranchStatistics, NetworkOutput, ReferenceSide
    from fod_bench.methods.fod.score import image_scores, upsample, upsample_smoothed
    from fod_bench.trials.scores import TestImages

    torch.set_num_threads(THREADS)
    given = data(train=4)
    fod = method(given, torch.device("cpu"))
    truth, masks = given.truth, given.truth.masks
    generator = torch.Generator().manual_seed(0)
    few = TestImages(Split(pooled={level: maps[:PASSED] for level, maps in given.test.pooled.items()}), fod.device)
    passes = {"networks": lambda: few.parts(fod.detector()), **_indispensable(fod, given)}
    seconds = dict.fromkeys(passes, float("inf"))
    for _ in range(ROUNDS):  # in turn: the machine's speed drifts
        for name, call in passes.items():
            seconds[name] = min(seconds[name], _seconds(call) * TEST / PASSED)

    class AtOnce:
        """Stands for a network that takes no time."""

        def reference_side(self, reference: torch.Tensor) -> ReferenceSide:
            return []

        def __call__(self, features: torch.Tensor, reference: ReferenceSide) -> NetworkOutput:
            statistics = BranchStatistics(*(torch.rand(features.shape[:2], generator=generator) for _ in range(3)))
            return NetworkOutput(features.flip(1), statistics, statistics)

    for trainer in fod.trainers.values():
        trainer.network = AtOnce()

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
    for _ in range(ROUNDS):
        for name, call in timed.items():
            seconds[name] = min(seconds[name], _seconds(call))
    return seconds


def _indispensable(fod: Any, given: Any) -> dict[str, Callable[[], object]]:
    """What the networks' pass over `PASSED` images cannot do without, every image's by itself in one of the threads."""
    import torch

    from benchmarks.products import Replay, products_of
    from fod_bench.methods.fod.correlation import Correlation, correlate
    from fod_bench.methods.fod.correlation.blocks import InBlocks
    from fod_bench.methods.fod.correlation.frame import correlate_by
    from fod_bench.methods.fod.correlation.numba import Compiled
    from fod_bench.methods.fod.crew import CREW
    from fod_bench.methods.fod.network import branches_of
    from fod_bench.methods.fod.precision import matrix_products

    detector, image = fod.detector().prepared(), given.test.batch(slice(0, 1), fod.device)
    calls: list[tuple[torch.Tensor, ...]] = []  # what the operator is given for an image

    def noted(*inputs: torch.Tensor) -> Correlation:
        calls.append(inputs)
        return correlate_by(InBlocks(Compiled()), *inputs)  # with products by PyTorch, whose shapes are seen

    branches = [branch for network in fod.networks for branch in branches_of(network)]
    for branch in branches:
        branch.correlate = noted
    products = products_of(lambda: detector.parts(image))
    for branch in branches:
        branch.correlate = correlate
    every = Replay(products)
    of_layers = Replay([shapes for shapes in products if len(shapes[0]) == 2])

    def products_and_operator() -> None:
        of_layers()
        for inputs in calls:
            correlate(*inputs)

    def side_by_side(work: Callable[[], object]) -> Callable[[], object]:
        def call() -> None:
            with torch.inference_mode(), matrix_products(fod.precision, fod.device):
                CREW.map(lambda _: work(), range(PASSED), THREADS)

        return call

    return {
        "  their products alone": side_by_side(every),
        "  their products and operator alone": side_by_side(products_and_operator),
    }


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def run() -> list[Result]:
    """One added scoring is an eleventh of what twelve take more than one; an evaluation as it is has twelve."""
    seconds = measure()
    forward, one, twelve = (seconds[name] for name in ("networks", "one scoring", "twelve scorings"))
    added, whole = (twelve - one) / 11, forward + twelve
    products, indispensable = (seconds[f"  their {name} alone"] for name in ("products", "products and operator"))
    return [
        Result("evaluation / products and operator alone", whole / indispensable, 1.2, "×", False),
        Result("evaluation / matrix products alone", whole / products, 1.2, "×", False),
        Result("one more scoring / an evaluation with one", 100 * added / (forward + one), 5.0, "%", False),
        Result("evaluation, twelve scorings / one", whole / (forward + one), 1.4, "×", False),
    ]


if __name__ == "__main__":
    for part, taken in measure().items():
        print(f"{part:36} {taken:8.4f} s")
