"""The actor that works: it makes features and trains trials, one after the other, and tells how far it is.

Every method returns a result or a `Failure`; nothing that a trial does wrong kills its worker. What it works on it claims
first, so that several drivers, and workers that were given up, can use one store.
"""

from __future__ import annotations

import logging
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from fod_bench.checkpoints import checkpoints_prefix
from fod_bench.claims import Claim, Held, LostClaimError, sweep, take
from fod_bench.cluster.messages import Attempt, Done, Failure, Prepared, Status, Stopped, Taken
from fod_bench.cluster.session import PATIENCE_SECONDS
from fod_bench.errors import DamagedObjectError, DatasetError, DivergedError, FodBenchError, StoreError, WeightsError
from fod_bench.features.feature_set import FeatureSet, drop_features, load_features, save_features
from fod_bench.features.request import FeatureRequest
from fod_bench.features.weights import resolve_weights
from fod_bench.job import ReferenceSpec
from fod_bench.methods import TrialData
from fod_bench.record import Record, Trial
from fod_bench.references import reference_key, reference_name
from fod_bench.references.build import build_references
from fod_bench.references.stored import load_references, save_references
from fod_bench.store import ObjectMissingError, Store, open_store
from fod_bench.trial import Control, Interrupted, run_trial

_LOG = logging.getLogger(__name__)


class _Notes(logging.Handler):
    """Keeps the warnings of a piece of work, which the driver tells."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._texts.append(record.getMessage())

    def taken(self) -> tuple[str, ...]:
        """The texts so far, which are forgotten."""
        texts, self._texts = tuple(self._texts), []
        return texts


class Worker:
    """One share of the cluster. Ray runs `prepare` and `train` one at a time, `status` and `stop` beside them."""

    def __init__(self, store_uri: str, threads: int, gpu: bool) -> None:
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = False
        self.store: Store = open_store(store_uri, patience=PATIENCE_SECONDS)
        self.device = torch.device("cuda" if gpu else "cpu")
        self._stop = threading.Event()
        self._idle = threading.Condition()
        self._notes = _Notes(logging.WARNING)
        logging.getLogger("fod_bench").addHandler(self._notes)
        self._node = socket.gethostname()
        self._status = Status(node=self._node)
        self._held: FeatureSet | None = None

    def status(self) -> Status:
        """How far the work in hand is."""
        return self._status

    def stop(self) -> None:
        """Ask the trial in hand to leave a checkpoint and end."""
        self._stop.set()

    def leave(self, seconds: float) -> None:
        """`stop`, and wait up to `seconds` for the work in hand to end, with a moment for its answer to be sent."""
        self.stop()
        with self._idle:
            self._idle.wait_for(lambda: self._status.doing == "idle", seconds)
            self._idle.wait(1.0)

    def should_stop(self) -> bool:
        """See `fod_bench.trial.Control`."""
        return self._stop.is_set()

    def report(self, epoch: int, epochs: int, step: int, steps: int, loss: float | None) -> None:
        """See `fod_bench.trial.Control`."""
        self._status = replace(self._status, epoch=epoch, epochs=epochs, step=step, steps=steps, loss=loss)

    @contextmanager
    def _at_work(self, status: Status) -> Iterator[None]:
        self._status = status
        try:
            yield
        finally:
            with self._idle:
                self._status = Status(node=self._node)
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
                return _failure(error)

    def _prepare(self, request: FeatureRequest, references: list[ReferenceSpec], attempt: Attempt) -> Prepared | Taken:
        missing = self._missing_references(request, references)
        features = self._stored_features(request)
        if features is not None and not missing:
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
        return Prepared(extracted, features.nbytes(), unmade, self._notes.taken())

    def _stored_features(self, request: FeatureRequest) -> FeatureSet | None:
        try:
            self._held = load_features(self.store, request.key)
        except DamagedObjectError:
            place = self.store.location(f"features/{request.key}")
            _LOG.warning("damaged   features of %s (%s): extracted anew", request.category.name, place)
            drop_features(self.store, request.key)
            self._held = None
        return self._held

    def _extract(self, request: FeatureRequest) -> FeatureSet:
        from fod_bench.features.extract import extract  # with timm, for which training need not wait

        weights = request.weights
        if weights.path is not None and not weights.path.is_file():  # another machine than the planner's
            weights = resolve_weights(weights.backbone, "pretrained", 0, download=True)
            if weights.digest != request.weights.digest:
                raise WeightsError(
                    f"{request.weights.path} is not on {self._node}, and the hub's weights of {weights.backbone} "
                    "are others; put the file at the same path on every node"
                )
        return extract(replace(request, weights=weights), self.device)

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
            return _failure(error)
        about = {"kind": spec.kind, "features": features.key}
        save_references(self.store, reference_key(features.key, spec), made, about)
        return None

    def train(self, trial: Trial, attempt: Attempt) -> Done | Stopped | Taken | Failure:
        """Train and evaluate one trial, or measure its cost, on features that this machine's workers map into memory together."""
        with self._at_work(Status("trial", trial.key, epochs=trial.setting.get("epochs", 0), node=self._node)):
            try:
                return self._train(trial, attempt)
            except Interrupted:
                return Stopped(trial.key)
            except LostClaimError:
                return Taken(trial.key, "")
            except Exception as error:  # see `prepare`
                return _failure(error)
            finally:
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()

    def _train(self, trial: Trial, attempt: Attempt) -> Done | Taken | Failure:
        data = self._data(trial)
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
        with claim.beating():
            try:
                record = _work(trial)(trial, data, claim, self, self.device)
            except (DivergedError, Interrupted, LostClaimError, StoreError):  # these have settled it, or cannot
                raise
            except Exception:
                claim.release()
                raise
        return Done(trial.key, record.run.claim == claim.name, self._notes.taken())

    def _data(self, trial: Trial) -> TrialData | Failure:
        key, reference = trial.features["key"], None
        try:
            if self._held is None or self._held.key != key:
                self._held = load_features(self.store, key)
            if self._held is None:
                raise ObjectMissingError(f"{self.store.location(f'features/{key}')}: the features are gone")
            if trial.reference is not None:
                reference = load_references(self.store, trial.reference["key"])
        except (DamagedObjectError, ObjectMissingError) as error:
            return replace(_failure(error), kind="features")
        return TrialData(self._held.train, self._held.test, self._held.masks, self._held.labels, reference)


def _work(trial: Trial) -> Callable[[Trial, TrialData, Claim, Control, torch.device], Record]:
    """What does the trial: training it, or measuring its cost."""
    if not trial.measures_cost:
        return run_trial
    from fod_bench.measurement import measure_trial  # with timm, see `Worker._extract`

    return measure_trial


def _failure(error: Exception) -> Failure:
    details = "".join(traceback.format_exception(error))
    if isinstance(error, torch.cuda.OutOfMemoryError):
        peak = torch.cuda.max_memory_reserved() / 2**30
        return Failure(f"out of GPU memory: {peak:.1f} GiB were taken and more was asked for", details, "memory")
    if isinstance(error, DatasetError | WeightsError):
        return Failure(str(error), details, "data")
    if isinstance(error, DivergedError):
        return Failure(str(error), details, "diverged")
    if isinstance(error, StoreError):
        return Failure(str(error), details, "store")
    first = str(error).strip().splitlines()[0] if str(error).strip() else "no message"
    return Failure(str(error) if isinstance(error, FodBenchError) else f"{type(error).__name__}: {first}", details)
