"""What a trial left in a store, put to work again: its detector, from kept weights and the category's references, and the sets that
it was trained and tested on. For a detector no set is read, but where references are training features themselves."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fod_bench.errors import DamagedObjectError, TrialError
from fod_bench.features.feature_set import MadeSet, load, load_features
from fod_bench.features.weights import Weights, resolve_weights
from fod_bench.methods.base import Anchored, Context, Detector, Split
from fod_bench.methods.registry import method_class, settings_class
from fod_bench.records.checkpoints import State
from fod_bench.records.names import manifest_name, weights_name
from fod_bench.records.record import Record
from fod_bench.records.scores import load_scores
from fod_bench.store import ObjectMissingError, Store
from fod_bench.store.tensors import load_tensors
from fod_bench.trials.scores import TestImages, as_tensors


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
    weights, context = stored_weights(store, record, epoch), stored_context(store, record, network)
    return method_class(record.method).load_detector(record.setting, weights, context, device)


def stored_weights(store: Store, record: Record, epoch: str = "last") -> State:
    """The weights of an epoch that is kept. Raises `ObjectMissingError`, `DamagedObjectError`."""
    name = weights_name(record.key, record.run.claim, epoch)
    weights, about = load_tensors(store, name)
    if about.get("key") != record.key:
        raise DamagedObjectError(f"object {name} is damaged: these are weights of another trial, {about.get('key')}")
    return weights


def stored_context(store: Store, record: Record, network: Weights | None = None) -> Context:
    """What the trial's detector stands on. Raises as `stored_detector`."""
    return Context(
        record.features["image_size"],
        _references(store, record),
        _network(record, network) if "network" in record.features else None,
    )


def stored_splits(store: Store, record: Record) -> tuple[Split, Split]:
    """The training and the test images of a trial, in the forms that its method works on.

    Raises:
        ObjectMissingError: a set, or the references whose rows were found for these images, are not in the store.
        DamagedObjectError: one of them is damaged.
    """
    forms = {form: key for form, key in record.sets.items() if form != "truth"}
    held: dict[str, MadeSet] = {}
    for form, key in (forms or {"pooled": record.features["key"]}).items():
        found = load(store, form, key)
        if found is None:
            raise ObjectMissingError(f"the {form} of {record.category}, set {key}, are not in store {store.uri}")
        held[form] = found
    rows: tuple[dict[int, Any], dict[int, Any]] = ({}, {})
    if record.reference is not None:
        maker = _maker(record)
        rows = maker.rows(maker.load(store, record.reference["key"]))
    arrays = [{form: getattr(one, side) for form, one in held.items()} for side in ("train", "test")]
    train, test = (Split(**forms, reference_rows=found) for forms, found in zip(arrays, rows, strict=True))
    return train, test


def stored_anchors(
    store: Store, record: Record, detector: Detector, device: torch.device, epoch: str = "last"
) -> State:
    """What images are held against where the method compares those of a test set with each other, see `Anchored`; nothing where
    it does not. From the scores that were kept, or else from the test images.

    Raises:
        ObjectMissingError: neither is in the store.
        DamagedObjectError: it is damaged.
    """
    method = method_class(record.method)
    if not isinstance(method, Anchored):
        return {}
    kept = load_scores(store, record, epoch)
    if kept is not None:
        parts = as_tensors(kept)
    else:
        try:
            parts = TestImages(stored_splits(store, record)[1], device).parts(detector)
        except ObjectMissingError as error:
            raise ObjectMissingError(
                f"{record.method} compares its test images with each other, and of these neither the scores were kept "
                f"(`keep_scores`) nor are they here: {error}"
            ) from None
    return method.anchors(record.setting, parts, record.features["image_size"])


def _maker(record: Record) -> Any:
    return import_module(settings_class(record.method).reference_maker)


def _references(store: Store, record: Record) -> object:
    if record.reference is None:
        return None
    maker = _maker(record)
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
