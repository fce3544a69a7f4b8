"""Every method that can be written as ONNX: how near its file is to torch, how large it is, and how long one image takes.

Trained as the quickstart's rows are (resnet18 of random weights, 128 pixels), for an epoch: neither time nor agreement asks for
good weights. A file takes images of any size; each is one of 192×160 here, its resizing included on both sides.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from benchmarks import Result

SIZE = 128
SIDES = (192, 160)
ROUNDS = 30
"""Of torch and onnxruntime in turn; the median counts."""
THREADS = 1
TOLERANCE = 1e-3
"""Of the largest score or value of a map; an export is refused beyond it."""
JOB = {
    "name": "onnx",
    "datasets": {
        "drawn": {
            "layout": "synthetic",
            "categories": ["weave"],
            "synthetic": {"train": 32, "test_good": 4, "test_defect_per_type": 2, "size": SIZE},
        }
    },
    "settings": {"image_size": SIZE, "epochs": 1},
}
BACKBONE: dict[str, Any] = {"backbone": "resnet18", "weights": "random"}
SETTINGS: dict[str, dict[str, Any]] = {
    "fod": BACKBONE | {"d_model": {8: 128, 16: 128}, "heads": 4, "layers": 2},
    "draem": {},
}
"""What a method is given beside the size; the backbone where nothing is written."""


class Measured(NamedTuple):
    """One method's file beside its detector in torch."""

    method: str
    score: float
    map: float
    """Largest differences, as shares of the largest value."""
    megabytes: float
    torch: float
    onnxruntime: float
    """Milliseconds of one image on one thread."""


def run() -> list[Result]:
    """The larger of a method's two differences, in thousandths."""
    return [
        Result(
            f"ONNX, {one.method}: largest difference from torch",
            max(one.score, one.map) * 1e3,
            TOLERANCE * 1e3,
            "‰",
            False,
        )
        for one in measured()
    ]


def measured() -> list[Measured]:
    """Of every method whose class has a graph, each trained in one run of a job."""
    from fod_bench.methods.base import Exportable
    from fod_bench.methods.registry import BUILT_IN, method_class

    names = [name for name in BUILT_IN if isinstance(method_class(name), Exportable)]
    variants = {name: {"method": name, **SETTINGS.get(name, BACKBONE)} for name in names}
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "onnx.yaml"
        job.write_text(yaml.safe_dump(JOB | {"variants": variants}))
        store = f"{folder}/store"
        command = [sys.executable, "-m", "fod_bench.cli.app", "run", str(job), "--store", store]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        if done.returncode:
            raise RuntimeError(f"the job did not run: {done.stderr[-2000:]}")
        return [_compared(name, store, Path(folder) / f"{name}.onnx") for name in names]


def _compared(name: str, store: str, path: Path) -> Measured:
    import numpy as np
    import onnxruntime
    import torch
    from PIL import Image

    from fod_bench.datasets import square
    from fod_bench.predict.find import find_trial
    from fod_bench.predict.load import predictor_of
    from fod_bench.predict.onnx import export_onnx
    from fod_bench.predict.samples import opened_category
    from fod_bench.store import open_store

    torch.set_num_threads(THREADS)
    found = find_trial(open_store(store), f"{name}/drawn/weave")
    made = export_onnx(found, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    predictor = predictor_of(found, torch.device("cpu"))
    category = opened_category(found)
    images = [category.read_image(sample).resize(SIDES, Image.Resampling.BICUBIC) for sample in category.test]

    def by_torch(image: Image.Image) -> tuple[Any, Any]:
        scored = predictor.score(square(image, predictor.resize)[None])
        return scored.images.numpy(), scored.pixels.numpy()

    def by_onnxruntime(image: Image.Image) -> tuple[Any, Any]:
        scores, maps = session.run(["score", "map"], {"images": np.asarray(image)[None]})
        return scores, maps

    with torch.inference_mode():
        pairs = [(by_torch(image), by_onnxruntime(image)) for image in images]
        times = _alternating([lambda: by_torch(images[0]), lambda: by_onnxruntime(images[0])])
    score, pixels = (
        max(np.abs(ours[side] - theirs[side]).max() for theirs, ours in pairs)
        / max(np.abs(theirs[side]).max() for theirs, _ in pairs)
        for side in (0, 1)
    )
    return Measured(name, float(score), float(pixels), made.size / 1e6, *times)


def _alternating(sides: list[Callable[[], object]]) -> list[float]:
    """Median milliseconds of each."""
    from statistics import median

    times: list[list[float]] = [[] for _ in sides]
    for _ in range(ROUNDS):
        for side, own in zip(sides, times, strict=True):
            start = time.perf_counter()
            side()
            own.append((time.perf_counter() - start) * 1e3)
    return [median(own) for own in times]


if __name__ == "__main__":
    print("| method | score | map | file | torch | onnxruntime | torch / onnxruntime |\n|---|---|---|---|---|---|---|")
    for one in measured():
        times = f"{one.torch:.1f} ms | {one.onnxruntime:.1f} ms | {one.torch / one.onnxruntime:.2f} ×"
        print(f"| {one.method} | {one.score:.1e} | {one.map:.1e} | {one.megabytes:.1f} MB | {times} |")
