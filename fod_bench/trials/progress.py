"""How far a trial is: everything a checkpoint holds, how an epoch is finished, and what is left at the end."""

from __future__ import annotations

import json
import logging
import socket
import time
from typing import Annotated

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from fod_bench.errors import DamagedObjectError, DivergedError
from fod_bench.evaluation.evaluate import evaluate
from fod_bench.evaluation.metric import MetricName
from fod_bench.evaluation.ranking import NonFiniteScoresError
from fod_bench.machine.provenance import device_name, now, versions
from fod_bench.methods.base import Method
from fod_bench.methods.registry import method_class
from fod_bench.records.checkpoints import Checkpoints, State
from fod_bench.records.claims import Claim
from fod_bench.records.curves import Curves, EpochResult
from fod_bench.records.index.changes import note_change
from fod_bench.records.names import checkpoints_prefix, curves_name, kept_folder, record_name, weights_name
from fod_bench.records.record import SELECTED_WEIGHTS, Record, RunInfo, Trial
from fod_bench.records.scores import EPOCHS, LAST, save_scores
from fod_bench.records.tidy import tidy_trial
from fod_bench.store import ObjectMissingError
from fod_bench.store.reading import Amount, Count, reading
from fod_bench.store.tensors import load_tensors, save_tensors
from fod_bench.trials.data import TrialData
from fod_bench.trials.scores import TestImages, as_arrays, scorings

_LOG = logging.getLogger(__name__)


class _About(BaseModel):
    """What a checkpoint says beside its arrays."""

    model_config = ConfigDict(extra="forbid")

    epoch: Count
    step: Count
    results: list[EpochResult]
    undefined: dict[str, str]
    resumed_after: list[Count]
    seconds: dict[str, Amount]
    packed: Annotated[int, Field(ge=1)] = 1
    """Absent before trials could share steps."""


class TrialProgress:
    """State of a running trial: everything a checkpoint holds, and how it is advanced."""

    def __init__(self, trial: Trial, data: TrialData, claim: Claim, device: torch.device) -> None:
        self.trial, self.data, self.claim, self.device = trial, data, claim, device
        self.test = TestImages(data.test, device)
        self.checkpoints = Checkpoints(claim)
        self.method: Method = method_class(trial.method)(trial.setting, data.train, data.context, trial.seed, device)
        self.epoch = 0  # finished ones
        self.step = 0  # finished ones of the epoch under way
        self.losses: list[torch.Tensor] = []  # of those steps, each (len(loss_names),)
        self.results: list[EpochResult] = []
        self.undefined: dict[str, str] = {}
        self.kept: dict[str, State] = {}  # weights of the selected epochs
        self.scores: dict[str, State] = {}  # of the epochs that are kept
        self.resumed_after: list[int] = []
        self.packed = 1  # most trials that shared a step, this one included
        self.seconds = {"train": 0.0, "evaluate": 0.0}
        self.saved_at = 0.0  # of those seconds

    def stepped(self, losses: torch.Tensor, seconds: float, together: int) -> None:
        """Note that the next step was taken, in `seconds` of this trial's own, by so many trials together."""
        self.losses.append(losses)
        self.step += 1
        self.seconds["train"] += seconds
        self.packed = max(self.packed, together)

    def headline(self) -> float | None:
        """The last finished epoch's first loss."""
        return next(iter(self.results[-1].losses.values()), None) if self.results else None

    def finish_epoch(self) -> None:
        """Average the losses, evaluate where due, and remember the weights of a new best epoch."""
        start = time.perf_counter()
        losses = torch.stack(self.losses).double().cpu().numpy()  # (steps, len(loss_names))
        self.seconds["train"] += time.perf_counter() - start
        finite = np.isfinite(losses).all(1)
        if not finite.all():
            raise DivergedError(f"diverged: a loss is not finite in epoch {self.epoch + 1}, step {finite.argmin() + 1}")
        self.epoch, self.step, self.losses = self.epoch + 1, 0, []
        metrics = None
        if self.method.evaluates_after(self.epoch):
            start = time.perf_counter()
            try:
                parts = self.test.parts(self.method.detector())
                metrics, self.undefined = evaluate(scorings(self.trial, parts), self.data.truth)
            except NonFiniteScoresError as error:
                raise DivergedError(f"diverged: {error} after epoch {self.epoch}") from error
            self.seconds["evaluate"] += time.perf_counter() - start
        means = dict(zip(self.method.loss_names, losses.mean(0).tolist(), strict=True))
        self.results.append(EpochResult(epoch=self.epoch, losses=means, metrics=metrics))
        if metrics is not None:
            best = [name for name, metric in SELECTED_WEIGHTS.items() if self._is_best(metric)]
            if best:
                self.kept |= dict.fromkeys(best, self.method.weights())
            scored = [*best, LAST] if self.epoch == self.method.epochs else best
            scored = [name for name in scored if self._keeps_scores_of(name)]
            if scored:
                self.scores |= dict.fromkeys(scored, as_arrays(parts))

    def _keeps_scores_of(self, epoch: str) -> bool:
        return self.trial.keep_scores == "selected" or (self.trial.keep_scores, epoch) == ("last", LAST)

    def _is_best(self, metric: MetricName) -> bool:
        """Whether the last result is the first to reach the highest value so far of the primary score's `metric`."""
        values = [
            (result.metrics or {}).get(self.method.primary_score, {}).get(metric)
            for result in self.results
            if result.metrics is not None
        ]
        *earlier, latest = values
        return latest is not None and all(value is None or value < latest for value in earlier)

    def save_if_due(self) -> None:
        """Write a checkpoint when it is time for one: by the trial's own time, or a pack would soon do nothing else.

        Raises `LostClaimError` as soon as that is known.
        """
        if self.claim.lost:
            self.claim.check()
        if sum(self.seconds.values()) - self.saved_at >= self.trial.checkpoint_seconds:
            self.save()

    def save(self) -> None:
        """Write a checkpoint."""
        arrays = {f"method/{name}": array for name, array in self.method.state().items()}
        for part, weights in self.kept.items():
            arrays |= {f"{part}/{name}": array for name, array in weights.items()}
        for part, scores in self.scores.items():
            arrays |= {f"scores-{part}/{name}": array for name, array in scores.items()}
        if self.losses:
            arrays["losses"] = torch.stack(self.losses).cpu().numpy()
        about = _About(
            epoch=self.epoch,
            step=self.step,
            results=self.results,
            undefined=self.undefined,
            resumed_after=self.resumed_after,
            seconds=self.seconds,
            packed=self.packed,
        )
        self.checkpoints.save(arrays, {"progress": json.dumps(about.model_dump(mode="json"))})
        self.saved_at = sum(self.seconds.values())

    def resume(self) -> None:
        """Go on from the newest checkpoint that can be used; without one, training starts anew."""
        for name in self.checkpoints.newest_first():
            try:
                arrays, metadata = load_tensors(self.claim.store, name)
                with reading(name, "checkpoint of this trial"):
                    self._restore(arrays, metadata)
                return
            except ObjectMissingError:
                continue
            except DamagedObjectError:
                _LOG.warning("damaged   checkpoint %s: not used", self.claim.store.location(name))

    def _restore(self, arrays: State, metadata: dict[str, str]) -> None:
        """Take over what `save` wrote. Raises, with nothing changed, an error that `reading` knows for anything else."""
        about = _About.model_validate_json(metadata["progress"])
        epochs, steps = self.method.epochs, self.method.steps_per_epoch
        taken = arrays["losses"].shape if "losses" in arrays else (0, len(self.method.loss_names))
        if about.epoch > epochs or about.step > steps or len(about.results) != about.epoch:
            raise ValueError(
                f"epoch {about.epoch} of {epochs}, step {about.step} of {steps}, {len(about.results)} results"
            )
        names = set(self.method.loss_names)
        if any(result.epoch != n or result.losses.keys() != names for n, result in enumerate(about.results, 1)):
            raise ValueError(f"its results are not those of epochs 1 to {about.epoch} of this method")
        if taken != (about.step, len(self.method.loss_names)):
            raise ValueError(f"losses {taken} of {about.step} steps")
        losses = list(torch.from_numpy(arrays.pop("losses").copy()).to(self.device)) if "losses" in arrays else []
        parts: dict[str, State] = {}
        for name, array in arrays.items():
            part, _, rest = name.partition("/")
            parts.setdefault(part, {})[rest] = array.copy()
        state, weights = parts.pop("method"), {name: array.shape for name, array in self.method.weights().items()}
        scores = {part: parts.pop(f"scores-{part}") for part in EPOCHS if f"scores-{part}" in parts}
        for part, kept in parts.items():
            if part not in SELECTED_WEIGHTS or {name: array.shape for name, array in kept.items()} != weights:
                raise ValueError(f"the kept weights {part} are of other networks")
        seconds = {name: about.seconds[name] for name in ("train", "evaluate")}
        self.method.load_state(state)
        self.epoch, self.step, self.losses, self.results = about.epoch, about.step, losses, about.results
        self.undefined, self.seconds, self.kept = about.undefined, dict(seconds), parts
        self.resumed_after = [*about.resumed_after, about.epoch]
        self.saved_at = sum(seconds.values())
        self.packed = about.packed
        self.scores = {part: found for part, found in scores.items() if self._keeps_scores_of(part)}

    def finish(self, started: str) -> None:
        """Store weights, scores and curves worth keeping, then the record, if the claim stands; then only they are left."""
        for part, weights in {**self.kept, "last": self.method.weights()}.items():
            name = weights_name(self.trial.key, self.claim.name, part)
            save_tensors(self.claim.store, name, weights, {"key": self.trial.key})
        if self._keeps_scores_of(LAST) and LAST not in self.scores:  # the checkpoint was of a version that kept none
            self.scores[LAST] = as_arrays(self.test.parts(self.method.detector()))
        for part, scores in self.scores.items():
            save_scores(self.claim.store, self.trial.key, self.claim.name, part, scores)
        curves = Curves.of(self.trial.key, self.results)
        self.claim.store.put(curves_name(self.trial.key, self.claim.name), curves.model_dump_json().encode())
        note_change(self.claim.store, self.trial.key)
        self.claim.commit(record_name(self.trial.key), self._record(started, curves).model_dump_json().encode())
        tidy_trial(self.claim.store, self.trial.key, self.claim.name)

    def withdraw(self) -> None:
        """Remove what this claim has stored, now that another has taken over."""
        store = self.claim.store
        mine = self.trial.key, self.claim.name
        for prefix in (kept_folder(*mine), checkpoints_prefix(*mine)):
            for info in list(store.list(prefix)):
                store.delete(info.name)

    def _record(self, started: str, curves: Curves) -> Record:
        trial, reference, made = self.trial, self.trial.reference, self.data.context.reference
        if reference is not None and made is not None and made.facts:
            reference = {**reference, "facts": made.facts}
        steps = self.method.epochs * self.method.steps_per_epoch
        return Record(
            **{**trial.training(), "reference": reference},
            counts=self.data.counts(),
            primary_score=self.method.primary_score,
            epochs=self.epoch,
            selected=curves.selected(),
            curves=curves.digest(),
            undefined=self.undefined,
            run=RunInfo(
                started=started,
                finished=now(),
                train_seconds=self.seconds["train"],
                evaluate_seconds=self.seconds["evaluate"],
                seconds_per_step=self.seconds["train"] / steps,
                device=device_name(self.device),
                threads=torch.get_num_threads(),
                packed=self.packed,
                correlation=getattr(self.method, "correlation", ""),
                host=socket.gethostname(),
                claim=self.claim.name,
                versions=versions(),
                resumed_after=self.resumed_after,
            ),
        )
