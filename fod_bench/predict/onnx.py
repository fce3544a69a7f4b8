"""A trial as one ONNX file: from pixels to score and map, with everything it has learned, checked before it is kept."""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fod_bench import __version__
from fod_bench.errors import DatasetError, FodBenchError, TrialError, UsageError
from fod_bench.methods.base import Exportable
from fod_bench.methods.registry import method_class
from fod_bench.predict.find import FoundTrial
from fod_bench.predict.load import predictor_of
from fod_bench.predict.prediction import Prediction
from fod_bench.predict.predictor import Predictor
from fod_bench.predict.samples import opened_category
from fod_bench.predict.whole import WholeDetector
from fod_bench.trials.detect import stored_context, stored_weights

TOLERANCE = 1e-3
"""How far a file may be from torch, as a share of the largest value that torch gives."""
OPSET = 18
_LIMIT = 2_000_000_000
"""Bytes that one ONNX file can hold, a little less than 2 GiB."""
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


class Exported(NamedTuple):
    """A file that was written, and how near it is to torch."""

    path: Path
    size: int
    """Bytes."""
    difference: float
    """Largest over scores and maps, as a share of the largest value of each."""
    images: int
    """That it was checked on."""
    checked_on: str
    """What they are."""


class Check(NamedTuple):
    """Images of one size, and what torch gives of them."""

    pixels: NDArray[np.uint8]
    """(n, h, w, 3)."""
    scores: NDArray[np.float64]
    """(n,)."""
    maps: NDArray[np.float32]
    """(n, s, s)."""


def export_onnx(
    found: FoundTrial,
    path: Path,
    *,
    epoch: str = "last",
    any_size: bool = True,
    weights: Path | None = None,
    force: bool = False,
) -> Exported:
    """Write a trial's detector as ONNX.

    Args:
        any_size: whether the file takes images of any height and width, or squares as the detector sees them.
        weights: file of the backbone's weights, see `load_detector`.
        force: whether a file that is there is replaced.

    Raises:
        UsageError: the file is there already, or a package is missing.
        TrialError: the method, or this setting of it, has no graph, or the file does not give what torch does; it is not kept.
        FodBenchError: the detector cannot be loaded, or the file cannot be written.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise UsageError(f"this needs the package {missing[0]}: pip install 'fod-bench[onnx]'")
    if path.exists() and not force:
        raise UsageError(f"{path} is there already; --force replaces it")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {path.absolute().parent} to write {path.name} into")
    predictor = predictor_of(found, torch.device("cpu"), epoch, weights)
    whole = _whole(found, predictor, any_size)
    nbytes = sum(tensor.nbytes for tensor in whole.state_dict().values())
    if nbytes > _LIMIT:
        raise TrialError(f"{found.name} has {nbytes / 1e9:.1f} GB of weights, and one ONNX file holds at most 2")
    images, what = _images_to_check(found, predictor)
    checks = _checks(predictor, images, any_size)
    try:
        with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=".fod-bench-") as folder:
            written = Path(folder) / "model.onnx"
            _write(whole, predictor, written, any_size)
            difference = largest_difference(written, checks)
            if not difference <= TOLERANCE:
                raise TrialError(
                    f"{found.name}: the ONNX file differs from torch by {difference:.1e} of the largest value, more than "
                    f"{TOLERANCE:g}; it was not kept"
                )
            size = written.stat().st_size
            written.chmod(0o644)
            written.replace(path)
    except OSError as error:
        raise FodBenchError(f"{path} cannot be written: {error.strerror or error}") from error
    return Exported(path, size, difference, len(images), f"{what}, in two sizes" if any_size else what)


def _whole(found: FoundTrial, predictor: Predictor, any_size: bool) -> WholeDetector:
    record, method = predictor.record, method_class(predictor.record.method)
    if not isinstance(method, Exportable):
        raise TrialError(f"{predictor.name}: {_why_not(record.method)}")
    precision = record.features.get("precision", "float32")
    if precision != "float32":
        raise TrialError(
            f"{predictor.name}: its features are of products in {precision}, which ONNX does not have; the graph is in float32"
        )
    weights, context = stored_weights(found.store, record, predictor.epoch), stored_context(found.store, record)
    try:
        graph = method.graph(record.setting, weights, context, predictor.score_name, predictor.anchors)
    except TrialError as error:
        raise TrialError(f"{predictor.name}: {error}") from None
    return WholeDetector(predictor.resize, predictor.backbone, predictor.forms, graph, any_size).eval()


def _why_not(method: str) -> str:
    reason = getattr(method_class(method), "no_graph", "")
    return f"method {method} cannot be written as ONNX" + (
        f": {reason}" if reason else "; it has no graph of plain operations"
    )


def _images_to_check(found: FoundTrial, predictor: Predictor) -> tuple[list[Image.Image], str]:
    """Images of the trial's own kind where they can be had, all of one size; drawn ones else."""
    size = predictor.resize.size
    try:
        category = opened_category(found)
        samples = [*category.test[:2], *category.test[-2:]]
        images = [category.read_image(sample) for sample in samples]
        return [image.resize(images[0].size) for image in images], "test images"
    except DatasetError:
        noise = np.random.default_rng(0)
        coarse = noise.integers(0, 256, (3, 8, 8, 3), np.uint8)
        drawn = [Image.fromarray(one).resize((size + size // 3, size), Image.Resampling.BICUBIC) for one in coarse]
        return drawn, "drawn images, since its own are not here"


def _checks(predictor: Predictor, images: Sequence[Image.Image], any_size: bool) -> list[Check]:
    """What the file has to give: of squares as the detector sees them and, where it takes any size, of images of another."""
    squares = [predictor.resize.image(image) for image in images]
    if not any_size:
        return [_check(squares, predictor.predict(images, decide=False))]
    size = predictor.resize.size
    others = images
    if images[0].size == (size, size):
        others = [image.resize((size + size // 3, size), Image.Resampling.BICUBIC) for image in images]
    return [_check(group, predictor.predict(group, decide=False)) for group in (squares, others)]


def _check(images: Sequence[Image.Image], expected: Iterable[Prediction]) -> Check:
    found = list(expected)
    return Check(
        np.stack([np.asarray(image) for image in images]),
        np.array([one.score for one in found]),
        np.stack([one.map for one in found]),
    )


def _write(whole: WholeDetector, predictor: Predictor, path: Path, any_size: bool) -> None:
    """Trace the module and write it. Raises `TrialError` where torch cannot."""
    import onnx
    from torch.export import Dim

    size = predictor.resize.size
    height, width = (size + 8, size + 16) if any_size else (size, size)
    example = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    axes: dict[int, Any] = {0: Dim("n", min=1, max=1024)}
    if any_size:
        axes |= {1: Dim("height", min=8, max=1 << 15), 2: Dim("width", min=8, max=1 << 15)}
    try:
        with _quiet(), torch.no_grad():
            traced = torch.export.export(whole, (example,), dynamic_shapes=(axes,), strict=False)
            program = torch.onnx.export(
                traced,
                dynamo=True,
                input_names=["images"],
                output_names=["score", "map"],
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
            assert program is not None
            model = program.model_proto
    except Exception as error:  # the exporter raises its own, of many kinds, for an operation without a counterpart
        lines = [line for line in str(error).strip().splitlines() if line.strip()]
        reason = lines[0] if lines else type(error).__name__
        raise TrialError(f"{predictor.name}: torch cannot write it as ONNX: {reason[:300]}") from error
    for key, value in _metadata(predictor, any_size).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    model.producer_name, model.producer_version = "fod-bench", __version__
    onnx.checker.check_model(model)
    onnx.save_model(model, str(path))


def _metadata(predictor: Predictor, any_size: bool) -> dict[str, str]:
    """What a reader of the file should know, as text."""
    record, size = predictor.record, predictor.resize.size
    sides = "height, width" if any_size else f"{size}, {size}"
    known = {
        "trial": predictor.name,
        "method": record.method,
        "key": record.key,
        "epoch": predictor.epoch,
        "scoring": predictor.score_name,
        "opset": str(OPSET),
        "input": f"images: uint8 (n, {sides}, 3), RGB",
        "output": f"score: float32 (n,); map: float32 (n, {size}, {size}); larger is more anomalous",
        "preprocessing": "within" if any_size else predictor.resize.preprocessing,
        "setting": json.dumps(record.setting, sort_keys=True),
    }
    try:
        known |= {"threshold": repr(predictor.threshold), "threshold_from": predictor.threshold_from}
    except FodBenchError:  # of training images that are not there any more
        known["threshold_from"] = "not known: the training images' scores are not in the store"
    return known


def largest_difference(path: Path, checks: Iterable[Check]) -> float:
    """Largest difference of a file from torch, of all images together and of one alone, as a share of the largest value of scores
    and of maps. Raises `TrialError` where onnxruntime cannot run it, or it gives what is not finite."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    shares = []
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for check in checks:
            wanted: tuple[NDArray[np.floating], ...] = (check.scores, check.maps)
            for count in (len(check.pixels), 1):
                found = session.run(["score", "map"], {"images": check.pixels[:count]})
                for values, expected in zip(found, wanted, strict=True):
                    largest = max(np.abs(expected).max(), np.finfo(np.float32).tiny)
                    shares.append(np.abs(values - expected[:count]).max() / largest)
    except Exception as error:  # onnxruntime raises its own kinds
        raise TrialError(
            f"onnxruntime cannot run the file: {str(error).splitlines()[0][:300]}; it was not kept"
        ) from error
    if not np.isfinite(shares).all():
        raise TrialError("the ONNX file gives scores or maps that are not finite; it was not kept")
    return float(max(shares))


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside the block the exporter says nothing of its own."""
    levels = {name: logging.getLogger(name).level for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")}
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        for name in levels:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
