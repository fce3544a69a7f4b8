"""A detector from what a trial left in a store: kept weights, and the category's references. No training or test image is read."""

from __future__ import annotations

from importlib import import_module

import torch

from fod_bench.errors import DamagedObjectError, TrialError
from fod_bench.features.feature_set import load_features
from fod_bench.features.weights import Weights, resolve_weights
from fod_bench.methods.base import Context, Detector
from fod_bench.methods.registry import method_class, settings_class
from fod_bench.records.names import weights_name
from fod_bench.records.record import Record
from fod_bench.store import Store
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
    features = load_features(store, record.sets.get("pooled", record.features["key"]))
    made = maker.load(store, record.reference["key"])
    return maker.complete(made, features.train if features is not None else {})


def _network(record: Record, given: Weights | None) -> Weights:
    digest = str(record.features["weights"])
    if given is None and digest.startswith("random:"):
        seed = int(digest.partition(":")[2])
        given = resolve_weights(record.features["backbone"], "random", seed, download=False)
    if given is None or given.digest != digest:
        raise TrialError(f"{record.method} runs {record.features['backbone']} itself; give its weights, {digest}")
    return given
