"""What a trial is made from, features and references: taken from the store, or made for it. Knows nothing of Ray."""

from __future__ import annotations

import logging
import socket
import traceback
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

import torch

from fod_bench.errors import DamagedObjectError, DatasetError, WeightsError
from fod_bench.features.feature_set import FeatureSet, drop_features, load_features, save_features
from fod_bench.features.request import FeatureRequest
from fod_bench.features.weights import require_unchanged, resolve_weights
from fod_bench.methods.base import TrialData
from fod_bench.methods.registry import settings_class
from fod_bench.methods.settings import Reference, ReferenceMaker
from fod_bench.records.claims import Claim
from fod_bench.records.names import manifest_name, reference_name
from fod_bench.records.record import Trial
from fod_bench.store import ObjectMissingError, Store

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Made:
    """How making features and references went."""

    extracted: bool
    """False when the store had the features by then."""
    nbytes: int
    """Size of the features."""
    unmade: dict[str, Exception] = field(default_factory=dict)
    """Key of a reference that cannot be made, and why; that is no fault of the features or of other references."""


class Preparation:
    """Features and references of one store, made on one device. Keeps the features used last mapped into memory."""

    def __init__(self, store: Store, device: torch.device) -> None:
        self._store, self._device = store, device
        self._held: dict[str, FeatureSet] = {}

    def stored(self, request: FeatureRequest, references: Sequence[Reference]) -> int | None:
        """Size in bytes of the features if the store has them and all the references; None otherwise.

        What is damaged is removed. Raises `StoreError`.
        """
        missing = self._missing_references(request, references)
        features = self._stored_features(request)
        if features is None or missing:
            return None
        _tell_notes(features)
        return features.nbytes()

    def make(self, request: FeatureRequest, references: Sequence[Reference], claim: Claim) -> Made:
        """Make and store what the store still lacks: another may have been faster than the claim.

        Raises:
            DatasetError, WeightsError: the features cannot be made.
            LostClaimError: another worker has taken over.
            StoreError: the store failed.
        """
        features = self._stored_features(request)
        extracted = features is None
        if features is None:
            features = self._extract(request)
            save_features(features, claim)
        unmade: dict[str, Exception] = {}
        for spec in self._missing_references(request, references):
            key, maker = spec.key(request.key), _maker(spec.maker)
            try:
                made = maker.make(spec, features, self._device)
            except Exception as error:
                traceback.clear_frames(error.__traceback__)  # what did not fit the memory would stay there with them
                unmade[key] = error
            else:
                maker.save(self._store, key, made, {"kind": spec.kind, "features": features.key})
        _tell_notes(features)
        return Made(extracted, features.nbytes(), unmade)

    def data(self, trial: Trial, wanted: Collection[str]) -> TrialData:
        """What a trial works on. `wanted`: keys of the features of all trials at hand; others are let go.

        Raises:
            ObjectMissingError, DamagedObjectError: it has to be made again.
            StoreError: the store failed.
        """
        key, reference = trial.features["key"], None
        held = self._hold(key, wanted)
        if held is None:
            raise ObjectMissingError(f"{self._store.location(manifest_name(key))}: the features are gone")
        if trial.reference is not None:
            maker = _maker(settings_class(trial.method).reference_maker)
            reference = maker.load(self._store, trial.reference["key"])
        return TrialData(held.train, held.test, held.masks, held.labels, reference, held.masked)

    def _stored_features(self, request: FeatureRequest) -> FeatureSet | None:
        self._held.pop(request.key, None)  # whether the store has them is asked
        try:
            return self._hold(request.key)
        except DamagedObjectError:
            place = self._store.location(manifest_name(request.key))
            _LOG.warning("damaged   features of %s (%s): extracted anew", request.category.name, place)
            drop_features(self._store, request.key)
            return None

    def _hold(self, key: str, others: Collection[str] = ()) -> FeatureSet | None:
        """A feature set, None if the store has none; of those held before, `others` are kept. Raises `DamagedObjectError`."""
        self._held = {held: features for held, features in self._held.items() if held == key or held in others}
        if key not in self._held:
            found = load_features(self._store, key)
            if found is None:
                return None
            self._held[key] = found
        return self._held[key]

    def _extract(self, request: FeatureRequest) -> FeatureSet:
        from fod_bench.features.extract import extract

        weights = request.weights
        if weights.path is not None and not weights.path.is_file():  # another machine than the planner's
            weights = resolve_weights(weights.backbone, "pretrained", 0, download=True)
            if weights.digest != request.weights.digest:
                raise WeightsError(
                    f"{request.weights.path} is not on {socket.gethostname()}, and the hub's weights of {weights.backbone} "
                    "are others; put the file at the same path on every node"
                )
        require_unchanged(weights)
        features = extract(replace(request, weights=weights), self._device)
        # The key names the content that the planner saw. Images may have been exchanged since, or be others on this machine.
        fingerprint, _ = request.category.fingerprint_anew()
        if fingerprint != request.fingerprint:
            raise DatasetError(
                f"the images or masks of category {request.category.name} are not those that the run was planned with; they "
                f"changed since, or are others on {socket.gethostname()}. Nothing of them was kept; start the run again"
            )
        return features

    def _missing_references(self, request: FeatureRequest, specs: Sequence[Reference]) -> list[Reference]:
        """Those that are not there, or were damaged and have been removed."""
        missing = []
        for spec in specs:
            key = spec.key(request.key)
            try:
                _maker(spec.maker).load(self._store, key)
            except ObjectMissingError:
                missing.append(spec)
            except DamagedObjectError:
                name = reference_name(key)
                _LOG.warning("damaged   reference %s: made anew", self._store.location(name))
                self._store.delete(name)
                missing.append(spec)
        return missing


def _maker(module: str) -> ReferenceMaker:
    """A method's reference features; its code is imported now."""
    found: Any = import_module(module)
    maker: ReferenceMaker = found
    return maker


def _tell_notes(features: FeatureSet) -> None:
    """What is odd about a category's images and masks, and what a crop leaves out of its defects."""
    category = features.manifest["category"]
    for note in features.manifest.get("notes", ()):  # absent before there were any
        _LOG.warning("data      %s: %s", category, note)
    said = features.left_out().summary(category)
    if said is not None:
        _LOG.warning("cropped   %s", said)
