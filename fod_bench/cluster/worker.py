"""The actor that works: it makes features and trains trials, and tells how far it is.

Every method returns a result or a `Failure`; nothing that a trial does wrong kills its worker. What it works on it claims
first, so that several drivers, and workers that were given up, can use one store.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

import torch

from fod_bench.cluster.faults import Notes, failure_of
from fod_bench.cluster.session import PATIENCE_SECONDS
from fod_bench.errors import DamagedObjectError, DatasetError, DivergedError, StoreError, WeightsError
from fod_bench.features.feature_set import FeatureSet, drop_features, load_features, save_features
from fod_bench.features.request import FeatureRequest
from fod_bench.features.weights import require_unchanged, resolve_weights
from fod_bench.methods.base import TrialData
from fod_bench.methods.fod.references import reference_key, reference_name
from fod_bench.methods.fod.references.build import build_references
from fod_bench.methods.fod.references.specs import ReferenceSpec
from fod_bench.methods.fod.references.stored import load_references, save_references
from fod_bench.records.checkpoints import checkpoints_prefix
from fod_bench.records.claims import Claim, Held, LostClaimError, sweep, take
from fod_bench.records.failures import Failure
from fod_bench.records.record import Record, Trial
from fod_bench.runs.messages import Attempt, Done, Prepared, Status, Stopped, Taken
from fod_bench.store import ObjectMissingError, Store, open_store
from fod_bench.trials.trial import Assignment, Interrupted, run_trials

_LOG = logging.getLogger(__name__)

Outcome: TypeAlias = Done | Stopped | Taken | Failure
"""What became of a trial."""


class Worker:
    """One share of the cluster. Ray runs `prepare` and `train` one at a time, `status` and `stop` beside them."""

    def __init__(self, store_uri: str, threads: int, gpu: bool) -> None:
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = False
        self.store: Store = open_store(store_uri, patience=PATIENCE_SECONDS)
        self.device = torch.device("cuda" if gpu else "cpu")
        self._stop = threading.Event()
        self._idle = threading.Condition()
        self._notes = Notes(logging.WARNING)
        logging.getLogger("fod_bench").addHandler(self._notes)
        self._node = socket.gethostname()
        self._statuses: dict[str, Status] = {}
        self._held: dict[str, FeatureSet] = {}

    def status(self) -> list[Status]:
        """How far the work in hand is, for each trial of it; of none, that it is idle."""
        return list(self._statuses.values()) or [Status(node=self._node)]

    def stop(self) -> None:
        """Ask the trials in hand to leave a checkpoint and end."""
        self._stop.set()

    def leave(self, seconds: float) -> None:
        """`stop`, and wait up to `seconds` for the work in hand to end, with a moment for its answer to be sent."""
        self.stop()
        with self._idle:
            self._idle.wait_for(lambda: not self._statuses, seconds)
            self._idle.wait(1.0)

    def should_stop(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    def report(self, key: str, **progress: Any) -> None:
        """Note how far a trial is."""
        self._statuses[key] = replace(self._statuses[key], **progress)

    @contextmanager
    def _at_work(self, *statuses: Status) -> Iterator[None]:
        self._statuses = {status.key: status for status in statuses}
        try:
            yield
        finally:
            with self._idle:
                self._statuses = {}
                self._idle.notify_all()

    def prepare(
        self, request: FeatureRequest, references: list[ReferenceSpec], attempt: Attempt
    ) -> Prepared | Taken | Failure:
        """See that the store has a category's features, and the references asked for."""
        with self._at_work(Status("features", request.key, node=self._node)):
            try:
                return self._prepare(request, references, attempt)
            except LostClaimError:
                return Taken(request.key, "")
            except Exception as error:  # whatever it was, the driver tells it and goes on with the others
                return failure_of(error)

    def _prepare(self, request: FeatureRequest, references: list[ReferenceSpec], attempt: Attempt) -> Prepared | Taken:
        missing = self._missing_references(request, references)
        features = self._stored_features(request)
        if features is not None and not missing:
            _tell_notes(features)
            return Prepared(False, features.nbytes(), notes=self._notes.taken())
        claim = take(self.store, request.key, attempt=attempt.name, lease=attempt.lease, previous=attempt.lost)
        if isinstance(claim, Held):
            return Taken(request.key, claim.entry.process.host)
        with claim.beating():
            features = self._stored_features(request)  # another may have been faster than the claim
            extracted = features is None
            if features is None:
                features = self._extract(request)
                save_features(features, claim)
            unmade = {}
            for spec in self._missing_references(request, references):
                failure = self._make_reference(features, spec)
                if failure is not None:
                    unmade[reference_key(request.key, spec)] = failure
            sweep(self.store, request.key)
        _tell_notes(features)
        return Prepared(extracted, features.nbytes(), unmade, self._notes.taken())

    def _stored_features(self, request: FeatureRequest) -> FeatureSet | None:
        self._held.pop(request.key, None)  # whether the store has them is asked
        try:
            return self._hold(request.key)
        except DamagedObjectError:
            place = self.store.location(f"features/{request.key}")
            _LOG.warning("damaged   features of %s (%s): extracted anew", request.category.name, place)
            drop_features(self.store, request.key)
            return None

    def _hold(self, key: str, *others: str) -> FeatureSet | None:
        """A feature set, None if the store has none; of those held before, `others` are kept. Raises `DamagedObjectError`."""
        self._held = {held: features for held, features in self._held.items() if held in (key, *others)}
        if key not in self._held:
            found = load_features(self.store, key)
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
                    f"{request.weights.path} is not on {self._node}, and the hub's weights of {weights.backbone} "
                    "are others; put the file at the same path on every node"
                )
        require_unchanged(weights)
        features = extract(replace(request, weights=weights), self.device)
        # The key names the content that the planner saw. Images may have been exchanged since, or be others on this machine.
        fingerprint, _ = request.category.fingerprint_anew()
        if fingerprint != request.fingerprint:
            raise DatasetError(
                f"the images or masks of category {request.category.name} are not those that the run was planned with; they "
                f"changed since, or are others on {self._node}. Nothing of them was kept; start the run again"
            )
        return features

    def _missing_references(self, request: FeatureRequest, specs: list[ReferenceSpec]) -> list[ReferenceSpec]:
        """Those that are not there, or were damaged and have been removed."""
        missing = []
        for spec in specs:
            key = reference_key(request.key, spec)
            try:
                load_references(self.store, key)
            except ObjectMissingError:
                missing.append(spec)
            except DamagedObjectError:
                name = reference_name(key)
                _LOG.warning("damaged   reference %s: made anew", self.store.location(name))
                self.store.delete(name)
                missing.append(spec)
        return missing

    def _make_reference(self, features: FeatureSet, spec: ReferenceSpec) -> Failure | None:
        """Make and store a reference; why it cannot be made, which is no fault of the features or of other references."""
        try:
            made = build_references(spec, features.train, features.test, self.device, features.manifest["category"])
        except Exception as error:  # see `prepare`
            return failure_of(error)
        about = {"kind": spec.kind, "features": features.key}
        save_references(self.store, reference_key(features.key, spec), made, about)
        return None

    def train(self, tasks: list[tuple[Trial, Attempt]]) -> list[Outcome]:
        """Train and evaluate trials, which share their steps where they can, or measure one's cost; what became of each.

        They work on features that this machine's workers map into memory together.
        """
        statuses = [
            Status("trial", trial.key, epochs=trial.setting.get("epochs", 0), node=self._node) for trial, _ in tasks
        ]
        with self._at_work(*statuses):
            try:
                return self._train(tasks)
            finally:
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()

    def _train(self, tasks: list[tuple[Trial, Attempt]]) -> list[Outcome]:
        wanted = [trial.features["key"] for trial, _ in tasks]
        outcomes: dict[str, Outcome] = {}
        begun: list[Assignment] = []
        with ExitStack() as all_hearts:
            hearts: list[ExitStack] = []  # a claim is renewed from when it is taken until its trial ends, and no longer
            for trial, attempt in tasks:
                try:
                    started = self._begin(trial, attempt, wanted)
                except Exception as error:  # see `prepare`
                    started = failure_of(error)
                if isinstance(started, Assignment):
                    begun.append(started)
                    hearts.append(all_hearts.enter_context(ExitStack()))
                    hearts[-1].enter_context(started.claim.beating())
                else:
                    outcomes[trial.key] = started
            for number, came in _work(begun, self.device):
                hearts[number].close()
                outcomes[begun[number].trial.key] = self._outcome(begun[number].claim, came)
                del came
        return [outcomes[trial.key] for trial, _ in tasks]

    def _begin(self, trial: Trial, attempt: Attempt, wanted: list[str]) -> Assignment | Taken | Failure:
        """A trial with its data, claimed. `wanted`: keys of the features of all trials in hand."""
        data = self._data(trial, wanted)
        if isinstance(data, Failure):
            return data
        claim = take(
            self.store,
            trial.key,
            attempt=attempt.name,
            lease=attempt.lease,
            previous=attempt.lost,
            states=checkpoints_prefix(trial.key),
        )
        if isinstance(claim, Held):
            return Taken(trial.key, claim.entry.process.host)
        return Assignment(trial, data, claim, _Line(self, trial.key))

    def _outcome(self, claim: Claim, came: Record | Exception) -> Outcome:
        """What the driver is told of a trial's end."""
        if isinstance(came, Record):
            return Done(claim.key, came.run.claim == claim.name, self._notes.taken())
        if isinstance(came, Interrupted):
            return Stopped(claim.key)
        if isinstance(came, LostClaimError):
            return Taken(claim.key, "")
        if not isinstance(came, DivergedError | StoreError):  # these have settled it, or cannot
            try:
                claim.release()
            except StoreError as error:
                return failure_of(error)
        return failure_of(came)

    def _data(self, trial: Trial, wanted: list[str]) -> TrialData | Failure:
        key, reference = trial.features["key"], None
        try:
            held = self._hold(key, *wanted)
            if held is None:
                raise ObjectMissingError(f"{self.store.location(f'features/{key}')}: the features are gone")
            if trial.reference is not None:
                reference = load_references(self.store, trial.reference["key"])
        except (DamagedObjectError, ObjectMissingError) as error:
            return replace(failure_of(error), kind="features")
        return TrialData(held.train, held.test, held.masks, held.labels, reference, held.masked)


def _tell_notes(features: FeatureSet) -> None:
    """What is odd about a category's images and masks, and what a crop leaves out of its defects."""
    category = features.manifest["category"]
    for note in features.manifest.get("notes", ()):  # absent before there were any
        _LOG.warning("data      %s: %s", category, note)
    said = features.left_out().summary(category)
    if said is not None:
        _LOG.warning("cropped   %s", said)


class _Line:
    """See `fod_bench.trials.trial.Control`: a trial's line to its worker."""

    def __init__(self, worker: Worker, key: str) -> None:
        self._worker, self._key = worker, key

    def report(self, epoch: int, epochs: int, step: int, steps: int, loss: float | None) -> None:
        self._worker.report(self._key, epoch=epoch, epochs=epochs, step=step, steps=steps, loss=loss)

    def should_stop(self) -> bool:
        return self._worker.should_stop()


def _work(begun: list[Assignment], device: torch.device) -> Iterator[tuple[int, Record | Exception]]:
    """Train the trials, or measure the cost of those that ask for it: as each ends, its number and record, or what it raised."""
    if not any(assignment.trial.measures_cost for assignment in begun):
        yield from run_trials(begun, device)
        return
    from fod_bench.trials.cost import measure_trial

    for number, assignment in enumerate(begun):
        try:
            yield number, measure_trial(*assignment, device)
        except Exception as error:
            yield number, error
