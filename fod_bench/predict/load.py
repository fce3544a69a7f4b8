"""Loading a trial's detector: from its name to something that takes images."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Literal

import torch

from fod_bench.datasets import resize_that_made
from fod_bench.errors import DamagedObjectError, FodBenchError, TrialError, UsageError, WeightsError
from fod_bench.features.backbone import Backbone
from fod_bench.features.request import POOLING
from fod_bench.features.weights import Weights, resolve_weights
from fod_bench.predict.find import FoundTrial, find_trial
from fod_bench.predict.predictor import Predictor
from fod_bench.records.normal import NormalScores, keep_normal, load_normal
from fod_bench.records.record import Record
from fod_bench.records.scores import EPOCHS
from fod_bench.store import DEFAULT_STORE, ObjectMissingError, Store, store_to_read
from fod_bench.trials.detect import stored_anchors, stored_detector, stored_splits
from fod_bench.trials.scores import BATCH

DeviceName = Literal["auto", "cpu", "cuda"]


def load_detector(
    name: str,
    store: str | Path | Store = DEFAULT_STORE,
    *,
    epoch: str = "last",
    seed: int | None = None,
    run: str | None = None,
    threshold: float | None = None,
    device: DeviceName | torch.device = "auto",
    weights: str | Path | None = None,
) -> Predictor:
    """The detector of a finished trial, from a store in a folder or a bucket.

    Args:
        name: `row/dataset/category`, as a report and `fod-bench status` name it.
        store: address of the store, or the store itself.
        epoch: whose weights: `last`, or `best_image` or `best_pixel`, which were selected on the test images.
        seed: needed where the row was trained with several.
        run: id of a run, needed where several have different trials of that name.
        threshold: above it an image counts as anomalous; by default see `Predictor.threshold`.
        device: `auto` is a GPU where there is one.
        weights: file of the backbone's weights, where it is not where the job had it.

    Raises:
        UsageError: there is no such trial, or several; the message names those there are.
        FodBenchError: it has no record, weights or references, they are damaged, or the backbone's weights cannot be had.
    """
    opened = store_to_read(store)
    if epoch not in EPOCHS:
        raise UsageError(f"no epoch {epoch!r}: weights are kept of {', '.join(EPOCHS)}")
    found = find_trial(opened, name, run, seed)
    predictor = predictor_of(found, chosen_device(device), epoch, weights)
    if threshold is not None:
        predictor.threshold = threshold
    return predictor


def predictor_of(
    found: FoundTrial, device: torch.device, epoch: str = "last", weights_file: str | Path | None = None
) -> Predictor:
    """See `load_detector`."""
    record, store = found.record, found.store
    try:
        resize = resize_that_made(str(record.features.get("preprocessing")), record.features["image_size"])
    except ValueError as error:
        raise FodBenchError(f"{found.name}: {error}") from None
    forms = _forms(record)
    if weights_file is not None and not str(record.features.get("weights", "")).startswith("sha256:"):
        raise UsageError(
            f"{found.name} has no weights of a file: its method has no backbone, or one of random weights; name none"
        )
    weights = _weights(found, weights_file) if "weights" in record.features else None
    backbone = None
    if weights is not None and set(forms) - {"images"}:
        backbone = _backbone(record, weights).to(device)
    try:
        detector = stored_detector(store, record, device, epoch, weights)
        anchors = stored_anchors(store, record, detector, device, epoch)
    except ObjectMissingError as error:
        raise FodBenchError(
            f"{found.name} cannot score images: {error}. To make it anew delete its record, {_place(found)}, and run the job again"
        ) from None
    except ValueError as error:
        raise DamagedObjectError(f"the weights of {found.name}, {epoch}, do not fit its setting: {error}") from None
    return Predictor(
        record,
        detector,
        name=found.name,
        score=found.cell.score,
        epoch=epoch,
        device=device,
        resize=resize,
        backbone=backbone,
        forms=forms,
        anchors=anchors,
        training_scores=lambda predictor: _training_scores(found, predictor),
    )


def chosen_device(device: DeviceName | torch.device) -> torch.device:
    """Raises `UsageError` for a GPU that is not there."""
    if isinstance(device, torch.device):
        return device
    there = torch.cuda.is_available()
    if device == "auto":
        return torch.device("cuda" if there else "cpu")
    if device not in ("cpu", "cuda"):
        raise UsageError(f"no device {device!r}: there are auto, cpu and cuda")
    if device == "cuda" and not there:
        raise UsageError("there is no GPU here that PyTorch can use; take device cpu")
    return torch.device(device)


def _place(found: FoundTrial) -> str:
    from fod_bench.records.names import record_name

    return found.store.location(record_name(found.record.key))


def _forms(record: Record) -> list[str]:
    """The forms of images that the method works on; a record of a version without `sets` has features of one."""
    if record.sets:
        return [form for form in record.sets if form != "truth"]
    return ["pooled" if record.features.get("pooling", POOLING) == POOLING else "unpooled"]


def _backbone(record: Record, weights: Weights) -> Backbone:
    """The backbone that gave the trial's features. Raises `TrialError` where this version of timm would read other maps of it."""
    features = record.features
    backbone = Backbone(weights, features["levels"], features.get("precision", "float32"), features["image_size"])
    if backbone.maps.distinction != features.get("maps", ""):
        raise TrialError(
            f"timm reads {weights.backbone} otherwise here ({backbone.maps.distinction or 'plainly'}) than where the trial was "
            f"trained ({features.get('maps') or 'plainly'}); install the version of timm that its run had"
        )
    return backbone


def _weights(found: FoundTrial, file: str | Path | None) -> Weights:
    """The backbone's weights that the record names by their digest: from `file`, else from where the job has them.

    Raises `WeightsError`: they cannot be had, or are others.
    """
    features = found.record.features
    backbone, digest = str(features["backbone"]), str(features["weights"])
    if digest.startswith("random:"):
        return resolve_weights(backbone, "random", int(digest.partition(":")[2]), download=False)
    where = str(file) if file is not None else _source(found)
    try:
        weights = resolve_weights(backbone, where, 0, download=True)
    except WeightsError as error:
        raise WeightsError(f"{found.name}: {error}\n  or name the file: --weights FILE (weights= in Python)") from None
    if weights.digest != digest:
        raise WeightsError(
            f"{found.name}: the weights of {backbone} ({weights.path}) are {weights.digest}, and the trial had {digest}; name that "
            "file: --weights FILE (weights= in Python)"
        )
    return weights


def _source(found: FoundTrial) -> str:
    """Where the job has the weights: a path, or `pretrained`."""
    if found.settings is None:
        return "pretrained"
    return next((weights for _, weights in found.settings.needs().weights), "pretrained")


def _training_scores(found: FoundTrial, predictor: Predictor) -> NormalScores:
    """What was kept of the training images; else it is made of their features or images, and kept."""
    store, record = found.store, found.record
    where = (record, predictor.epoch, predictor.score_name)
    with suppress(DamagedObjectError):  # it is made anew
        kept = load_normal(store, *where)
        if kept is not None:
            return kept
    try:
        train, _ = stored_splits(store, record)
    except ObjectMissingError as error:
        raise FodBenchError(
            f"{found.name}: there is no threshold to be had from its training images: {error}. Give a threshold, or a folder of "
            "good images"
        ) from None
    scores: list[float] = []
    medians: list[float] = []
    maxima: list[float] = []
    for start in range(0, len(train), BATCH):
        batch = train.batch(slice(start, start + BATCH), predictor.device)
        scored = predictor.scored(predictor.detector.parts(batch))
        maps = scored.pixels.flatten(1).float()  # (n, s·s)
        scores += scored.images.double().tolist()
        medians += maps.median(1).values.tolist()
        maxima += maps.amax(1).tolist()
    made = NormalScores(key=record.key, scores=scores, medians=medians, maxima=maxima)
    keep_normal(store, *where, made)
    return made
