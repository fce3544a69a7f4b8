"""An epoch and a whole training of one category of 240 images with evaluation in every epoch; images per second of inference.

On a GPU all of it is run. On a CPU, where it takes hours, some steps and one batch of the evaluation's networks stand for all of
them; that is written down in `results/training.csv`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from benchmarks import Result
from benchmarks.category import SETTING, SIZE, TEST, TRAIN, WIDTHS, data, evaluated, method
from benchmarks.steps import PAPER, THREADS, measure, write

EPOCHS = 100
SAMPLE = 16
"""Training steps that stand for an epoch on a CPU, and images that stand for those of the test split."""
BATCHES = (1, 2, 4, 8, 16)
BACKBONE = "tf_efficientnet_b6"


def run() -> list[Result]:
    """Ratios on a CPU, seconds on a GPU."""
    import torch

    torch.set_num_threads(THREADS)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    given = data()
    fod = method(given, device)
    rows, results = (_on_gpu if device.type == "cuda" else _on_cpu)(fod, given)
    speeds = _inference(fod, device)
    rows += [
        {"what": f"inference, {name}", "images": batch, "seconds": round(batch / fps, 4), "fps": round(fps, 2)}
        for (name, batch), fps in speeds.items()
    ]
    write("training", rows)
    best = max(fps for (name, _), fps in speeds.items() if name == "ours")
    return [
        *results,
        Result("inference of one image: plain / ours", speeds["ours", 1] / speeds["plain", 1], 1.5, "×"),
        Result("inference, images per second: best batch / one", best / speeds["ours", 1], 1.0, "×"),
    ]


def _row(what: str, images: int, seconds: float) -> dict[str, object]:
    return {"what": what, "images": images, "seconds": round(seconds, 3), "fps": round(images / seconds, 2)}


def _on_gpu(fod: Any, given: Any) -> tuple[list[dict[str, object]], list[Result]]:
    import torch

    from fod_bench.trials.scores import TestImages

    test = TestImages(given.test, fod.device)
    epochs = []
    for epoch in range(EPOCHS):
        start = time.perf_counter()
        torch.stack([fod.step(epoch, step) for step in range(fod.steps_per_epoch)]).cpu()
        evaluated(test.parts(fod.detector()), given.truth)
        epochs.append(time.perf_counter() - start)
    rows = [_row("epoch with evaluation", TRAIN, min(epochs)), _row("training", EPOCHS * TRAIN, sum(epochs))]
    return rows, [Result("100 epochs of 240 images, evaluation in each", sum(epochs), 60.0, "s", False)]


def _on_cpu(fod: Any, given: Any) -> tuple[list[dict[str, object]], list[Result]]:
    from fod_bench.methods.base import Split
    from fod_bench.trials.scores import TestImages

    fod.step(0, 0)
    step = min(_seconds(lambda number=number: fod.step(0, number)) for number in range(1, SAMPLE))
    few = {level: features[:SAMPLE] for level, features in given.test.pooled.items()}
    networks = min(_seconds(lambda: TestImages(Split(pooled=few), fod.device).parts(fod.detector())) for _ in range(2))
    parts = TestImages(given.test, fod.device).parts(fod.detector())
    others = min(_seconds(lambda: evaluated(parts, given.truth)) for _ in range(2))
    epoch = TRAIN * step + TEST / SAMPLE * networks + others
    baseline = TRAIN * measure("baseline", PAPER, 2).seconds
    rows = [
        _row(f"epoch, from {SAMPLE - 1} steps", TRAIN, TRAIN * step),
        _row(f"networks of an evaluation, from {SAMPLE} images", TEST, TEST / SAMPLE * networks),
        _row("the rest of an evaluation", TEST, others),
        _row(f"{EPOCHS} epochs with evaluation, from these", EPOCHS * TRAIN, EPOCHS * epoch),
        _row("plain epoch without evaluation, from 2 steps", TRAIN, baseline),
    ]
    name = "epoch of 240 images: plain without evaluation / ours with evaluation of 110"
    return rows, [Result(name, baseline / epoch, 5.0, "×")]


def _inference(fod: Any, device: Any) -> dict[tuple[str, int], float]:
    """Images per second from the image on the device to map and score, by (implementation, batch)."""
    import torch

    from fod_bench.features.backbone import Backbone
    from fod_bench.features.weights import Weights
    from fod_bench.methods.base import Batch
    from fod_bench.methods.fod.correlation import VARIABLE
    from fod_bench.trials.cost import median_seconds

    backbone = Backbone(Weights(BACKBONE, "random:0", None, 0), tuple(WIDTHS)).to(device)
    images = torch.randn(max(BATCHES), 3, SIZE, SIZE, device=device)

    def infer(batch: int) -> Callable[[], object]:
        def call() -> object:
            features = backbone(images[:batch])
            parts = fod.detector().parts(Batch(pooled=dict(zip(backbone.levels, features, strict=True))))
            (scored,) = type(fod).scorings(SETTING, parts, SIZE, fod.primary_score)
            return scored.pixels, scored.images.cpu()

        return call

    speeds = {("ours", batch): batch / median_seconds(infer(batch), device, lambda: None) for batch in BATCHES}
    before = os.environ.get(VARIABLE, "")
    os.environ[VARIABLE] = "plain"
    speeds["plain", 1] = 1 / median_seconds(infer(1), device, lambda: None)
    os.environ[VARIABLE] = before
    return speeds


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
