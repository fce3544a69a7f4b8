"""The driver: hands features and trials to workers, reuses workers, retries what died, and stops cleanly.

The work is a list of trainings, each needing one feature set. A feature set is prepared once, by whichever worker is
free, and lies in Ray's object store for as long as trainings need it; a worker prefers trainings on the features it
used last. What is done is known from the store alone, so a new driver goes on where a dead one stood.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from fod_bench.cluster.actor import RemoteWorker
from fod_bench.cluster.failures import forget_failure, keep_failure
from fod_bench.cluster.messages import Done, Failure, PreparedInfo, Status, Stopped
from fod_bench.cluster.progress import Progress
from fod_bench.cluster.session import Share, node_resources
from fod_bench.errors import ClusterError, StoreError
from fod_bench.features.request import FeatureRequest
from fod_bench.plan import TrialJob
from fod_bench.store import Store

ATTEMPTS = 3
"""Times that a piece of work is tried when its worker dies or the store fails."""
STOP_SECONDS = 30.0
"""Time that trials have to leave a checkpoint when the run is stopped."""
_TICK = 0.25


@dataclass(eq=False)
class _Slot:
    """A worker and what it is doing."""

    number: int
    actor: Any
    alive: bool = False
    """Whether it has answered once. One that waits for its share of a busy cluster is given no work."""
    task: Any = None
    """Reference of the call under way; None when idle."""
    work: TrialJob | FeatureRequest | None = None
    holds: str | None = None
    """Key of the features it used last."""
    asked: Any = None
    """Reference of a status call under way."""


@dataclass
class _Queue:
    """Trainings to do on one feature set."""

    request: FeatureRequest
    trials: list[TrialJob] = field(default_factory=list)
    open: int = 0
    """Trainings not finished, waiting or running."""
    arrays: Any = None
    """Reference of the prepared features."""
    preparing: bool = False

    @property
    def ready(self) -> bool:
        """Whether a training can begin at once."""
        return self.arrays is not None and not self.preparing


class Orchestrator:
    """Runs trainings on workers of one share each."""

    def __init__(
        self, store: Store, landmark: str, share: Share, progress: Progress, checkpoint_seconds: float
    ) -> None:
        """`landmark`: an object of the store, by which a worker knows that it has the same one."""
        self._store, self._landmark, self._share, self._progress = store, landmark, share, progress
        self._checkpoint_seconds = checkpoint_seconds
        self._queues: dict[str, _Queue] = {}
        self._slots: list[_Slot] = []
        self._made = 0
        self._attempts: dict[str, int] = {}
        self._alone: list[TrialJob] = []
        self._stillborn = 0

    def run(self, trials: list[TrialJob]) -> None:
        """Do all of `trials`; failures are kept in the store and told to the progress.

        Raises:
            KeyboardInterrupt: after the trials under way have left their checkpoints.
            ClusterError: workers do not come to life.
            StoreError: the store fails again and again.
        """
        try:
            self._drain(trials, self._share)
            if self._alone:  # did not fit a shared GPU: once more, each with a whole one
                self._dismiss()
                self._drain(self._alone, Share(self._share.cpus, 1.0))
        except KeyboardInterrupt:
            self._stop()
            raise
        finally:
            self._dismiss()

    def _drain(self, trials: list[TrialJob], share: Share) -> None:
        for trial in trials:
            assert trial.features is not None
            queue = self._queues.setdefault(trial.features.key, _Queue(trial.features))
            queue.trials.append(trial)
            queue.open += 1
        scaled = float("-inf")
        while self._queues:
            if time.monotonic() - scaled > 5.0:  # nodes join and leave
                self._scale(share)
                scaled = time.monotonic()
            for slot in self._slots:
                if slot.alive and slot.task is None:
                    self._assign(slot)
            tasks = {slot.task: slot for slot in self._slots if slot.task is not None}
            if tasks:
                finished, _ = ray.wait(list(tasks), num_returns=1, timeout=_TICK)
                for task in finished:
                    self._finish(tasks[task], share)
            else:
                time.sleep(_TICK)
            self._watch()

    def _scale(self, share: Share) -> None:
        """As many workers as the cluster holds and the work can keep busy."""
        if self._slots and self._stillborn >= ATTEMPTS:
            return  # some nodes cannot start one: those there are have to do
        work = sum(queue.open for queue in self._queues.values())
        for _ in range(len(self._slots), min(share.fit(node_resources()), work)):
            remote: Any = ray.remote  # its stubs lack concurrency groups
            kind = remote(concurrency_groups={"control": 1}, num_cpus=share.cpus, num_gpus=share.gpus)(RemoteWorker)
            actor = kind.remote(self._store.uri, share, self._landmark)
            self._slots.append(_Slot(self._made, actor))
            self._made += 1

    def _assign(self, slot: _Slot) -> None:
        """Give an idle worker a training whose features are there, best those it holds, or features to prepare."""
        ready = [queue for queue in self._queues.values() if queue.ready and queue.trials]
        ready.sort(key=lambda queue: queue.request.key != slot.holds)
        if ready:
            queue = ready[0]
            trial = queue.trials.pop(0)
            slot.work, slot.holds = trial, queue.request.key
            slot.task = slot.actor.train.remote(trial.trial(self._checkpoint_seconds), queue.arrays)
            return
        at_hand = sum(queue.ready or queue.preparing for queue in self._queues.values())
        waiting = [queue for queue in self._queues.values() if queue.arrays is None and not queue.preparing]
        if waiting and at_hand <= len(self._slots):  # bounds the features in memory
            queue = waiting[0]
            kinds = sorted({trial.settings.reference for trial in queue.trials if trial.reference_key})
            slot.work, slot.holds, queue.preparing = queue.request, queue.request.key, True
            slot.task, queue.arrays = slot.actor.prepare.options(num_returns=2).remote(queue.request, kinds)

    def _finish(self, slot: _Slot, share: Share) -> None:
        task, work = slot.task, slot.work
        slot.task = slot.work = None
        assert work is not None
        try:
            outcome = ray.get(task)
        except RayActorError as error:
            self._drop(slot)
            outcome = self._again(work, Failure("its worker died", str(error), "worker"))
        except RayError as error:
            outcome = self._again(work, Failure("its features were lost", str(error), "worker"))
        if isinstance(outcome, Failure) and outcome.kind == "store":
            outcome = self._again(work, outcome)
        if isinstance(work, FeatureRequest):
            self._prepared(work, outcome)
        elif outcome is None:  # to be tried again
            self._queues[work.features.key].trials.insert(0, work)  # type: ignore[union-attr]
        elif isinstance(outcome, Failure) and outcome.kind == "memory" and 0 < share.gpus < 1:
            self._alone.append(work)
            self._close(work)
        else:
            self._tell(work, outcome)
            self._close(work)

    def _prepared(self, request: FeatureRequest, outcome: PreparedInfo | Failure | None) -> None:
        queue = self._queues[request.key]
        queue.preparing = False
        if isinstance(outcome, PreparedInfo):
            self._note(outcome)
            self._progress.prepared(request, outcome)
            return
        queue.arrays = None
        if isinstance(outcome, Failure):
            for trial in list(queue.trials):
                self._tell(trial, outcome)
                self._close(trial)

    def _again(self, work: TrialJob | FeatureRequest, failure: Failure) -> Failure | None:
        """None while the work is to be tried again; its features are prepared anew, as they may have died with a node."""
        key = work.key
        feature_key = key if isinstance(work, FeatureRequest) else work.features.key  # type: ignore[union-attr]
        queue = self._queues[feature_key]
        if not queue.preparing:
            queue.arrays = None
        self._attempts[key] = self._attempts.get(key, 0) + 1
        name = work.name if isinstance(work, TrialJob) else f"features of {work.category.name}"
        if self._attempts[key] < ATTEMPTS:
            self._progress.note(f"again     {name}: {failure.reason}")
            return None
        if failure.kind == "store":
            raise StoreError(f"{failure.reason}; when that is put right, the same command goes on")
        remedy = "set apart (memory too small? raise resources.cpus, so that fewer trials share a node)"
        return replace(failure, reason=f"{failure.reason} {ATTEMPTS} times; {remedy}")

    def _tell(self, trial: TrialJob, outcome: Done | Stopped | Failure) -> None:
        if isinstance(outcome, Failure):
            self._progress.failed(trial, outcome, keep_failure(self._store, trial, outcome))
        elif isinstance(outcome, Done):
            self._note(outcome)
            forget_failure(self._store, trial.key)
            self._progress.done(trial)

    def _close(self, trial: TrialJob) -> None:
        """The training is over; features nobody needs any more are let go."""
        assert trial.features is not None
        queue = self._queues[trial.features.key]
        if trial in queue.trials:
            queue.trials.remove(trial)
        queue.open -= 1
        if queue.open == 0:
            del self._queues[trial.features.key]

    def _watch(self) -> None:
        """Collect the statuses that have arrived and ask for the next; never waits for a busy or starting worker."""
        for slot in list(self._slots):
            if slot.asked is None:
                slot.asked = slot.actor.status.options(concurrency_group="control").remote()
            elif ray.wait([slot.asked], timeout=0)[0]:
                try:
                    self._progress.status(slot.number, slot.work, ray.get(slot.asked))
                    slot.alive, self._stillborn = True, 0
                except RayError as error:
                    if slot.task is None:  # otherwise `_finish` finds out what became of its work
                        self._lost_idle(slot, error)
                slot.asked = None
        self._progress.tick()

    def _lost_idle(self, slot: _Slot, error: RayError) -> None:
        """A worker without work is gone. Several in a row that never came to life, and no other, mean that none will."""
        self._drop(slot)
        if slot.alive:
            return
        self._stillborn += 1
        reason = str(error).strip().splitlines()[-1].strip()
        if self._stillborn >= ATTEMPTS and not self._slots:
            raise ClusterError(f"workers do not start: {reason}")
        self._progress.note(f"again     a worker did not start: {reason}")

    def _stop(self) -> None:
        """Ask running trials for a checkpoint and wait for it, up to `STOP_SECONDS`."""
        training = [slot for slot in self._slots if isinstance(slot.work, TrialJob)]
        if not training:
            return
        leave = "1 trial leaves" if len(training) == 1 else f"{len(training)} trials leave"
        self._progress.note(f"stopping: {leave} a checkpoint (again Ctrl-C: at once)")
        for slot in training:
            slot.actor.stop.options(concurrency_group="control").remote()
        ray.wait([slot.task for slot in training], num_returns=len(training), timeout=STOP_SECONDS)

    def _dismiss(self) -> None:
        for slot in list(self._slots):
            self._drop(slot)

    def _drop(self, slot: _Slot) -> None:
        """The worker is no longer one of ours, and does not go on working unseen if it was only out of reach."""
        self._slots.remove(slot)
        with suppress(RayError, ValueError):  # it is gone, or Ray is
            ray.kill(slot.actor)
        self._progress.status(slot.number, None, Status())

    def _note(self, outcome: Done | PreparedInfo) -> None:
        for note in outcome.notes:
            self._progress.note(note)
