"""The actor that works: it makes features and trains trials, one after the other, and tells how far it is.

Every method returns a result or a `Failure`; nothing that a trial does wrong kills its worker.
"""

from __future__ import annotations

import logging
import socket
import threading
import traceback
from dataclasses import replace

import torch

from fod_bench.cluster.messages import Done, Failure, Levels, Prepared, PreparedInfo, Status, Stopped
from fod_bench.errors import DamagedObjectError, DatasetError, DivergedError, FodBenchError, StoreError, WeightsError
from fod_bench.features.extract import extract
from fod_bench.features.feature_set import FeatureSet, drop_features, load_features, save_features
from fod_bench.features.request import FeatureRequest
from fod_bench.features.weights import resolve_weights
from fod_bench.methods import TrialData
from fod_bench.record import Trial
from fod_bench.references import BUILDERS, reference_key, reference_name
from fod_bench.store import ObjectMissingError, Store, open_store
from fod_bench.store.tensors import load_tensors, save_tensors
from fod_bench.trial import Interrupted, run_trial

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
        self.store: Store = open_store(store_uri)
        self.device = torch.device("cuda" if gpu else "cpu")
        self._stop = threading.Event()
        self._notes = _Notes(logging.WARNING)
        logging.getLogger("fod_bench").addHandler(self._notes)
        self._status = Status(node=socket.gethostname())

    def status(self) -> Status:
        """How far the work in hand is."""
        return self._status

    def stop(self) -> None:
        """Ask the trial in hand to leave a checkpoint and end."""
        self._stop.set()

    def should_stop(self) -> bool:
        """See `fod_bench.trial.Control`."""
        return self._stop.is_set()

    def report(self, epoch: int, epochs: int, step: int, steps: int, loss: float | None) -> None:
        """See `fod_bench.trial.Control`."""
        self._status = replace(self._status, epoch=epoch, epochs=epochs, step=step, steps=steps, loss=loss)

    def prepare(self, request: FeatureRequest, references: list[str]) -> tuple[PreparedInfo | Failure, Prepared | None]:
        """Features of a category, from the store or made and stored, and the references of the kinds asked for.

        Apart from the arrays, so that the driver learns what happened without having them moved to its node.
        """
        self._status = Status("features", node=self._status.node)
        try:
            features, extracted = self._features(request)
            made = {kind: self._reference(features, kind) for kind in references}
            arrays = Prepared(features.train, features.test, features.masks, features.labels, made)
            return PreparedInfo(extracted, features.nbytes(), self._notes.taken()), arrays
        except Exception as error:  # whatever it was, the driver tells it and goes on with the others
            return _failure(error), None
        finally:
            self._status = Status(node=self._status.node)

    def _features(self, request: FeatureRequest) -> tuple[FeatureSet, bool]:
        try:
            found = load_features(self.store, request.key)
        except DamagedObjectError:
            place = self.store.location(f"features/{request.key}")
            _LOG.warning("damaged   features of %s (%s): extracted anew", request.category.name, place)
            drop_features(self.store, request.key)
            found = None
        if found is not None:
            return found, False
        weights = request.weights
        if weights.path is not None and not weights.path.is_file():  # another machine than the planner's
            weights = resolve_weights(weights.backbone, "pretrained", 0, download=True)
            if weights.digest != request.weights.digest:
                raise WeightsError(
                    f"{request.weights.path} is not on {self._status.node}, and the hub's weights of {weights.backbone} "
                    "are others; put the file at the same path on every node"
                )
        features = extract(replace(request, weights=weights), self.device)
        save_features(self.store, features)
        return features, True

    def _reference(self, features: FeatureSet, kind: str) -> Levels:
        name = reference_name(reference_key(features.key, kind))
        try:
            stored, _ = load_tensors(self.store, name)
            return {int(level.removeprefix("level_")): array for level, array in stored.items()}
        except ObjectMissingError:
            pass
        except DamagedObjectError:
            _LOG.warning("damaged   reference %s: made anew", self.store.location(name))
            self.store.delete(name)
        reference = BUILDERS[kind](features.train)
        arrays = {f"level_{level}": array for level, array in reference.items()}
        save_tensors(self.store, name, arrays, {"kind": kind, "features": features.key})
        return reference

    def train(self, trial: Trial, prepared: Prepared) -> Done | Stopped | Failure:
        """Train and evaluate one trial on features that are shared with other workers."""
        self._status = Status("trial", epochs=trial.setting["epochs"], node=self._status.node)
        try:
            reference = prepared.references[trial.setting["reference"]] if trial.reference else None
            data = TrialData(prepared.train, prepared.test, prepared.masks, prepared.labels, reference)
            run_trial(trial, data, self.store, self, self.device)
            return Done(trial.key, self._notes.taken())
        except Interrupted:
            return Stopped(trial.key)
        except Exception as error:  # see `prepare`
            return _failure(error)
        finally:
            self._status = Status(node=self._status.node)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()


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
