"""A detector from what a trial left in a store: kept weights, and the category's references. No image is read; of references that
are training features themselves, those are."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import torch
from numpy.typing import NDArray

from fod_bench.errors import DamagedObjectError, TrialError
from fod_bench.features.feature_set import load_features
from fod_bench.features.weights import Weights, resolve_weights
from fod_bench.methods.base import Context, Detector
from fod_bench.methods.registry import method_class, settings_class
from fod_bench.records.names import manifest_name, weights_name
from fod_bench.records.record import Record
from fod_bench.store import ObjectMissingError, Store
from fod_bench.store.tensors import load_tensors


def stored_detector(
    store: Store, record: Record, device: torch.device, epoch: str = "last", network: Weights | None = None
) -> Detector:
    """The detector of a trial's weights.

    Args:
        epoch: `last`, `best_image` or `best_pixel`; the latter two were selected on the test data.
        network: weights of the backbone that the method runs itself, where it does; random ones are made anew without.

    Raises:
        ObjectMissingError: the weights, the references or the features that these stand on are not in the store.
        DamagedObjectError: one of them is damaged, or of another trial.
        TrialError: the method runs a backbone whose weights have to be given.
    """
    name = weights_name(record.key, record.run.claim, epoch)
    weights, about = load_tensors(store, name)
    if about.get("key") != record.key:
        raise DamagedObjectError(f"object {name} is damaged: these are weights of another trial, {about.get('key')}")
    context = Context(
        record.features["image_size"],
        _references(store, record),
        _network(record, network) if "network" in record.features else None,
    )
    return method_class(record.method).load_detector(record.setting, weights, context, device)


def _references(store: Store, record: Record) -> object:
    if record.reference is None:
        return None
    maker = import_module(settings_class(record.method).reference_maker)
    made = maker.load(store, record.reference["key"])
    return maker.complete(made, lambda: _training_features(store, record))


def _training_features(store: Store, record: Record) -> dict[int, NDArray[np.float32]]:
    """What some references stand on: the features of the training images. Raises `ObjectMissingError`."""
    key = next((record.sets[form] for form in ("pooled", "unpooled") if form in record.sets), record.features["key"])
    features = load_features(store, key)
    if features is None:
        raise ObjectMissingError(
            f"{store.location(manifest_name(key))}: the features that the references stand on are gone"
        )
    return features.train


def _network(record: Record, given: Weights | None) -> Weights:
    digest = str(record.features["weights"])
    if given is None and digest.startswith("random:"):
        seed = int(digest.partition(":")[2])
        given = resolve_weights(record.features["backbone"], "random", seed, download=False)
    if given is None or given.digest != digest:
        raise TrialError(f"{record.method} runs {record.features['backbone']} itself; give its weights, {digest}")
    return given
