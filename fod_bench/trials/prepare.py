"""What a trial works on, features, images, truth, references: taken from the store, or made for it. Knows nothing of Ray."""

from __future__ import annotations

import logging
import socket
import traceback
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch

from fod_bench.errors import BlockedObjectError, DamagedObjectError, DatasetError, StoreError, WeightsError
from fod_bench.features.feature_set import MadeSet, drop, load, manifest_of
from fod_bench.features.request import FeatureRequest, ImageRequest, SetRequest, TruthRequest
from fod_bench.features.truth import TruthSet, load_truth, make_truth, save_truth
from fod_bench.features.weights import Weights, require_unchanged, resolve_weights
from fod_bench.methods.base import Context, Split
from fod_bench.methods.registry import settings_class
from fod_bench.methods.settings import Reference, ReferenceMaker
from fod_bench.records.claims import Claim, LostClaimError
from fod_bench.records.names import reference_name, truth_name
from fod_bench.records.record import Trial
from fod_bench.store import ObjectMissingError, Store
from fod_bench.trials.data import TrialData

_LOG = logging.getLogger(__name__)

_HELD = 4
"""Sets that stay mapped while others are prepared."""


class Order(NamedTuple):
    """A set to be made under a claim of its key, and the references wanted of it."""

    request: SetRequest
    references: Sequence[Reference]
    claim: Claim


@dataclass(frozen=True)
class Made:
    """How making a set and its references went."""

    made: bool
    """False when the store had the set by then."""
    nbytes: int
    """Size of the set."""
    unmade: dict[str, Exception] = field(default_factory=dict)
    """Key of a reference that cannot be made, and why; that is no fault of the set or of other references."""


class Preparation:
    """Sets and references of one store, made on one device. Keeps the sets used last mapped into memory."""

    def __init__(self, store: Store, device: torch.device) -> None:
        self._store, self._device = store, device
        self._held: dict[str, MadeSet] = {}
        self._truths: dict[str, TruthSet] = {}

    def stored(self, request: SetRequest, references: Sequence[Reference]) -> int | None:
        """Size in bytes of the set if the store has it, its truth and all the references; None otherwise.

        What is damaged is removed. Raises `StoreError`.
        """
        missing = self._missing_references(request, references)
        found, truth = self._stored_set(request), self._stored_truth(request.truth)
        if found is None or truth is None or missing:
            return None
        _tell(truth)
        return found.nbytes()

    def make(self, orders: Sequence[Order]) -> list[Made | Exception]:
        """Make and store what the store still lacks, in one pass over the images: another may have been faster than a claim.

        Of each order how it went, or what it raised:

            DatasetError, WeightsError, TrialError: the set cannot be made.
            LostClaimError: another worker has taken over.
            BlockedObjectError: the store cannot have it, until a person acts.

        Raises `StoreError` when the store failed.
        """
        found = {order.request.key: self._stored_set(order.request) for order in orders}
        lacking = [order.request for order in orders if found[order.request.key] is None]
        asked = orders[0].request.truth
        truth = self._stored_truth(asked)
        failed: dict[str, Exception] = {}
        made: dict[str, MadeSet] = {}
        if truth is None or lacking:
            affected = lacking if truth is not None else [order.request for order in orders]
            try:
                made = self._make(lacking)
                truth = truth or make_truth(asked)
                _require_as_planned(asked)
                save_truth(self._store, truth)
            except Exception as error:
                if isinstance(error, StoreError) and not isinstance(error, BlockedObjectError):
                    raise
                traceback.clear_frames(error.__traceback__)  # what did not fit the memory would stay there with them
                failed, made = {request.key: error for request in affected}, {}
        for order in orders:
            if order.request.key in made:
                found[order.request.key] = made[order.request.key]
                try:
                    made[order.request.key].save(order.claim)
                except (LostClaimError, BlockedObjectError) as error:
                    failed[order.request.key] = error
        if truth is not None:
            _tell(truth)
        return [failed.get(order.request.key) or self._made(order, found, made) for order in orders]

    def _made(self, order: Order, found: Mapping[str, MadeSet | None], made: Mapping[str, MadeSet]) -> Made:
        made_set = found[order.request.key]
        assert made_set is not None
        return Made(order.request.key in made, made_set.nbytes(), self._make_references(order, made_set))

    def data(self, trial: Trial, wanted: Collection[str]) -> TrialData:
        """What a trial works on. `wanted`: keys of the sets of all trials at hand; others are let go.

        Raises:
            ObjectMissingError, DamagedObjectError: it has to be made again.
            StoreError: the store failed.
        """
        self._held = {key: held for key, held in self._held.items() if key in wanted}
        self._truths = {key: held for key, held in self._truths.items() if key in wanted}
        forms: dict[str, MadeSet] = {}
        for form, key in trial.sets.items():
            if form == "truth":
                continue
            held = self._hold(form, key)
            if held is None:
                raise ObjectMissingError(f"{form} {key} of {trial.category} are gone from the store")
            forms[form] = held
        truth = self._truth(trial.sets["truth"]).truth
        reference, rows = None, ({}, {})  # type: ignore[var-annotated]
        if trial.reference is not None:
            maker = _maker(settings_class(trial.method).reference_maker)
            reference = maker.load(self._store, trial.reference["key"])
            rows = maker.rows(reference)
        arrays = [{form: getattr(held, side) for form, held in forms.items()} for side in ("train", "test")]
        train, test = (Split(**forms, reference_rows=found) for forms, found in zip(arrays, rows, strict=True))
        if len(test) != len(truth.labels):
            name = truth_name(trial.sets["truth"])
            self._store.delete(name)  # to be read anew
            counts = f"{len(test)} test images of {trial.category} have {len(truth.labels)} labels"
            raise DamagedObjectError(f"{self._store.location(name)}: {counts}")
        network = None if trial.network is None else usable_weights(_weights(trial.network))
        return TrialData(train, test, truth, Context(trial.features["image_size"], reference, network))

    def _make(self, requests: Sequence[SetRequest]) -> dict[str, MadeSet]:
        """The sets by key. Raises as `make` tells, for all of them."""
        from fod_bench.features.extract import extract, read_images

        made: list[MadeSet] = [read_images(request) for request in requests if isinstance(request, ImageRequest)]
        features = [request for request in requests if isinstance(request, FeatureRequest)]
        if features:
            weights = usable_weights(features[0].weights)
            made += extract([replace(request, weights=weights) for request in features], self._device)
        return {one.key: one for one in made}

    def _make_references(self, order: Order, made_set: MadeSet) -> dict[str, Exception]:
        """Make the references that are missing; those that cannot be made, and why."""
        unmade: dict[str, Exception] = {}
        for spec in self._missing_references(order.request, order.references):
            key, maker = spec.key(order.request.key), _maker(spec.maker)
            try:
                made = maker.make(spec, made_set, self._device)
            except Exception as error:
                traceback.clear_frames(error.__traceback__)  # what did not fit the memory would stay there with them
                unmade[key] = error
                continue
            try:
                maker.save(self._store, key, made, {"kind": spec.kind, "features": made_set.key})
            except BlockedObjectError as error:
                unmade[key] = error
        return unmade

    def _stored_set(self, request: SetRequest) -> MadeSet | None:
        self._held.pop(request.key, None)  # whether the store has it is asked
        if len(self._held) > _HELD:
            self._held.clear()  # no trial works on them: others have been prepared since
        try:
            return self._hold(request.form, request.key)
        except DamagedObjectError:
            place = self._store.location(manifest_of(request))
            _LOG.warning("damaged   %s (%s): made anew", request.name, place)
            drop(self._store, request)
            return None

    def _stored_truth(self, request: TruthRequest) -> TruthSet | None:
        self._truths.pop(request.key, None)
        try:
            return self._truth(request.key)
        except ObjectMissingError:
            return None
        except DamagedObjectError:
            name = truth_name(request.key)
            _LOG.warning("damaged   labels and masks %s: read anew", self._store.location(name))
            self._store.delete(name)
            return None

    def _hold(self, form: str, key: str) -> MadeSet | None:
        """A set, None if the store has none. Raises `DamagedObjectError`."""
        if key not in self._held:
            found = load(self._store, form, key)
            if found is None:
                return None
            self._held[key] = found
        return self._held[key]

    def _truth(self, key: str) -> TruthSet:
        """Labels and masks; what is computed of them is shared by the trials. Raises as `load_truth`."""
        if key not in self._truths:
            self._truths[key] = load_truth(self._store, key)
        return self._truths[key]

    def _missing_references(self, request: SetRequest, specs: Sequence[Reference]) -> list[Reference]:
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
                with suppress(BlockedObjectError):  # saving the new one says so
                    self._store.delete(name)
                missing.append(spec)
        return missing


def _weights(network: dict[str, Any]) -> Weights:
    """Weights from what a trial says of them."""
    path = network["path"]
    return Weights(network["backbone"], network["digest"], Path(path) if path else None, network["seed"])


def usable_weights(weights: Weights) -> Weights:
    """The same weights where they lie on this machine. Raises `WeightsError` when they cannot be had, or have changed."""
    if weights.path is not None and not weights.path.is_file():  # another machine than the planner's
        path = weights.path
        weights, planned = resolve_weights(weights.backbone, "pretrained", 0, download=True), weights
        if weights.digest != planned.digest:
            raise WeightsError(
                f"{path} is not on {socket.gethostname()}, and the hub's weights of {weights.backbone} "
                "are others; put the file at the same path on every node"
            )
    require_unchanged(weights)
    return weights


def _require_as_planned(request: TruthRequest) -> None:
    """A key names the content that the planner saw. Images may have been exchanged since, or be others on this machine."""
    fingerprint, _ = request.category.fingerprint_anew()
    if fingerprint != request.fingerprint:
        raise DatasetError(
            f"the images or masks of category {request.category.name} are not those that the run was planned with; they "
            f"changed since, or are others on {socket.gethostname()}. Nothing of them was kept; start the run again"
        )


def _maker(module: str) -> ReferenceMaker:
    """A method's reference features; its code is imported now."""
    found: Any = import_module(module)
    maker: ReferenceMaker = found
    return maker


def _tell(truth: TruthSet) -> None:
    """What is odd about a category's images and masks, and what a crop leaves out of its defects."""
    for line in truth.told():
        _LOG.warning("%s", line)
