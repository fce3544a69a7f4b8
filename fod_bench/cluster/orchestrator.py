"""The driver: hands features and trials to workers, reuses workers, retries what died, and stops cleanly.

The work is a list of trainings, each needing one feature set. A feature set is put into the store once, by whichever
worker is free; a worker prefers trainings on the features it used last. What is done is known from the store alone, so a
new driver goes on where a dead one stood, and several share the work: each piece is claimed by its worker in the store.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError

from fod_bench.cluster.actor import RemoteWorker
from fod_bench.cluster.deaths import Stillbirths, cause_of_death
from fod_bench.cluster.session import Share, node_resources
from fod_bench.cluster.slot import Slot
from fod_bench.errors import ClusterError, StoreError
from fod_bench.features.request import FeatureRequest
from fod_bench.plan import TrialJob
from fod_bench.records.failures import Failure, keep_failure, kept_failure
from fod_bench.records.names import record_name
from fod_bench.runs.backlog import Backlog, Work
from fod_bench.runs.messages import Attempt, Done, Prepared, Stopped, Taken
from fod_bench.runs.progress import Progress
from fod_bench.runs.retries import Again, Retries
from fod_bench.store import Store

STOP_SECONDS = 30.0
"""Time that trials have to leave a checkpoint when the run is stopped."""
_TICK = 0.25


class Orchestrator:
    """Runs trainings on workers of one share each."""

    def __init__(
        self,
        store: Store,
        landmark: str,
        share: Share,
        progress: Progress,
        *,
        driver: str,
        pack: int = 1,
        checkpoint_seconds: float,
        lease_seconds: float,
        worker: type = RemoteWorker,
    ) -> None:
        """`landmark`: an object of the store, by which a worker knows that it has the same one. `pack`: most trials at once for
        a worker."""
        self._store, self._landmark, self._share, self._progress = store, landmark, share, progress
        self._driver, self._checkpoint_seconds, self._lease = driver, checkpoint_seconds, lease_seconds
        self._worker, self._pack = worker, pack
        self._backlog = Backlog()
        self._slots: list[Slot] = []
        self._made = 0
        self._attempts = 0
        self._lost: dict[str, str] = {}
        self._noted: set[str] = set()
        self._retries = Retries()
        self._alone: list[TrialJob] = []
        self._stillbirths = Stillbirths()

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
                self._backlog.keep_alone(self._alone)
                self._drain(self._alone, Share(self._share.cpus, 1.0))
        except KeyboardInterrupt:
            self._stop()
            raise
        finally:
            self._dismiss()

    def _drain(self, trials: list[TrialJob], share: Share) -> None:
        self._backlog.add(trials)
        scaled = float("-inf")
        while self._backlog:
            if time.monotonic() - scaled > 5.0:  # nodes join and leave
                self._scale(share)
                scaled = time.monotonic()
            self._look_again()
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
        if not self._stillbirths.over:
            return
        for _ in range(len(self._slots), min(share.fit(node_resources()), len(self._backlog))):
            remote: Any = ray.remote  # its stubs lack concurrency groups
            kind = remote(concurrency_groups={"control": 1}, num_cpus=share.cpus, num_gpus=share.gpus)(self._worker)
            actor = kind.remote(self._store.uri, share, self._landmark)
            self._slots.append(Slot(self._made, actor))
            self._made += 1

    def _assign(self, slot: Slot) -> None:
        """Give an idle worker trainings whose features are there, best those it holds, or features to prepare."""
        free = sum(other.task is None for other in self._slots)
        fair = -(-self._backlog.waiting_to_begin() // free)  # no worker takes what others would stand idle for
        trials = self._backlog.next_trials(slot.holds, max(1, min(self._pack, fair)))
        if trials:
            tasks = [(trial, self._attempt(trial)) for trial in trials]
            slot.begin(trials[0].features.key, *tasks)  # type: ignore[union-attr]
            slot.task = slot.actor.train.remote(
                [(trial.trial(self._checkpoint_seconds), attempt) for trial, attempt in tasks]
            )
            return
        features = self._backlog.next_features()
        if features is not None:
            request, references = features
            attempt = self._attempt(request)
            slot.begin(request.key, (request, attempt))
            slot.task = slot.actor.prepare.remote(request, references, attempt)

    def _attempt(self, work: Work) -> Attempt:
        self._attempts += 1
        return Attempt(f"{self._driver}:{self._attempts}", self._lost.pop(work.key, None), self._lease)

    def _finish(self, slot: Slot, share: Share) -> None:
        task, begun = slot.task, slot.work
        works = [work for work, _ in begun]
        self._lost |= {work.key: attempt.name for work, attempt in begun}  # it is over, whatever its claim says
        try:
            came = ray.get(task)
            outcomes = came if isinstance(came, list) else [came]
        except RayError as error:
            kind, reason = cause_of_death(error, slot.on_lost_node)
            outcomes = [self._bereaved(work, kind, slot, Failure(reason, str(error), "worker")) for work in works]
            self._drop(slot)
        slot.task, slot.work = None, ()
        if any(isinstance(outcome, Stopped) for outcome in outcomes):  # nobody here asked for it
            self._drop(slot)
        for work, outcome in zip(works, outcomes, strict=True):
            self._end(work, outcome, slot, share, packed=len(works) > 1)

    def _bereaved(self, work: Work, kind: str, slot: Slot, failure: Failure) -> Failure | Again | Done:
        """What becomes of work whose worker is gone. Of a pack some may have records; others go on alone if one may be to blame."""
        if len(slot.work) > 1 and self._store.exists(record_name(work.key)):
            return Done(work.key, True)
        if len(slot.work) > 1 and kind == "killed":
            self._backlog.keep_alone(slot.training())
        return self._again(work, kind, slot, failure)

    def _end(
        self,
        work: Work,
        outcome: Done | Prepared | Stopped | Taken | Failure | Again,
        slot: Slot,
        share: Share,
        packed: bool,
    ) -> None:
        """What became of a piece of work, whether it is to be tried again or not."""
        if isinstance(outcome, Stopped):
            self._progress.note(f"again     {work.name}: its worker was told to end, and left a checkpoint")
            outcome = Again()
        if isinstance(outcome, Failure) and outcome.kind in ("store", "features"):
            outcome = self._again(work, outcome.kind, slot, outcome)
        # What fails a shared step fails all; and memory may be there for one.
        if (
            isinstance(outcome, Failure)
            and outcome.kind in ("memory", "fault")
            and packed
            and isinstance(work, TrialJob)
        ):
            self._progress.note(f"again     {work.name}: {outcome.reason}; now by itself")
            self._backlog.keep_alone([work])
            outcome = Again()
        if isinstance(outcome, Failure) and outcome.kind == "memory" and 0 < share.gpus < 1:
            assert isinstance(work, TrialJob)
            self._alone.append(work)
            self._close(work)
        else:
            self._settle(work, outcome)

    def _settle(self, work: Work, outcome: Done | Prepared | Taken | Failure | Again) -> None:
        """What becomes of a piece of work that a worker is through with."""
        if isinstance(outcome, Again | Taken):
            taken = isinstance(outcome, Taken)
            pause = min(15.0, self._lease / 4) if isinstance(outcome, Taken) else outcome.pause
            if isinstance(work, FeatureRequest):
                self._backlog.prepared(work.key, False, pause)
            else:
                self._backlog.put_off(work, pause, elsewhere=taken)
        elif isinstance(work, TrialJob):
            assert not isinstance(outcome, Prepared)
            self._tell(work, outcome)
            self._close(work)
        elif isinstance(outcome, Prepared):
            self._backlog.prepared(work.key, True)
            self._note(outcome)
            self._progress.prepared(work, outcome)
            for trial in self._backlog.waiting(work.key):
                failure = outcome.unmade.get(trial.reference_key or "")
                if failure is not None:
                    self._tell(trial, failure)
                    self._close(trial)
        elif isinstance(outcome, Failure):
            self._backlog.prepared(work.key, False)
            for trial in self._backlog.waiting(work.key):
                self._tell(trial, outcome)
                self._close(trial)

    def _again(self, work: Work, kind: str, slot: Slot, failure: Failure) -> Failure | Again:
        """Whether, and after how long, the work is to be tried again. Raises `StoreError` when the store fails too often."""
        if kind == "features" and isinstance(work, TrialJob):
            self._backlog.spoilt(work.features.key)  # type: ignore[union-attr]
        if self._retries.again(work.key, kind, slot.mark(work)):
            self._progress.note(f"again     {work.name}: {failure.reason}")
            return Again(self._retries.pause(work.key))
        if kind == "store":
            raise StoreError(f"{failure.reason}; when that is put right, the same command goes on")
        return replace(failure, reason=self._retries.verdict(failure, kind))

    def _look_again(self) -> None:
        """Trainings whose time to be looked at again has come: done elsewhere, failed there, or to be tried here."""
        for _, trial, elsewhere in self._backlog.due():
            failed = kept_failure(self._store, trial.key) if elsewhere else None
            if elsewhere and self._store.exists(record_name(trial.key)):
                self._progress.elsewhere(trial)
                self._close(trial)
            elif failed is not None:
                self._progress.failed(trial, Failure(failed[0], ""), failed[1])
                self._close(trial)
            else:
                self._backlog.put_back(trial)

    def _tell(self, trial: TrialJob, outcome: Done | Failure) -> None:
        if isinstance(outcome, Failure):
            if self._store.exists(record_name(trial.key)):  # its worker died when it had just committed
                self._progress.done(trial)
            else:
                self._progress.failed(trial, outcome, keep_failure(self._store, trial.key, trial.name, outcome))
            return
        self._note(outcome)
        if outcome.ours:
            self._progress.done(trial)
        else:
            self._progress.elsewhere(trial)

    def _close(self, trial: TrialJob) -> None:
        self._backlog.close(trial)
        self._lost.pop(trial.key, None)

    def _watch(self) -> None:
        """Collect the statuses that have arrived and ask for the next; never waits for a busy or starting worker."""
        for slot in list(self._slots):
            if slot.asked is None:
                slot.ask()
            elif ray.wait([slot.asked], timeout=0)[0]:
                newborn = not slot.alive
                try:
                    statuses = slot.answer()
                    self._progress.status(slot.number, [work for work, _ in slot.work], statuses)
                    if newborn:
                        self._stillbirths.forget()
                except RayError as error:
                    if slot.task is None:  # otherwise `_finish` finds out what became of its work
                        self._lost_idle(slot, error)
            elif slot.silent_for() > self._lease:  # by then its claim may be another's too
                self._give_up(slot)
        self._progress.tick()

    def _give_up(self, slot: Slot) -> None:
        """A worker that hangs, or whose machine is out of reach, no longer counts; the fence keeps its late results out."""
        self._drop(slot)
        for work, attempt in slot.work:
            self._lost[work.key] = attempt.name
            self._settle(
                work, self._bereaved(work, "lost", slot, Failure("its worker no longer answers", "", "worker"))
            )

    def _lost_idle(self, slot: Slot, error: RayError) -> None:
        """A worker without work is gone. Several in a row that never came to life, and no other, mean that none will."""
        self._drop(slot)
        if slot.alive:
            return
        reason = self._stillbirths.add(error)
        if self._stillbirths.too_many and not self._slots:
            raise ClusterError(f"workers do not start: {reason}")
        self._progress.note(f"again     a worker did not start: {reason}")

    def _stop(self) -> None:
        """Ask running trials for a checkpoint and wait for it, up to `STOP_SECONDS`."""
        training = [slot for slot in self._slots if slot.training()]
        if not training:
            return
        trials = sum(len(slot.training()) for slot in training)
        leave = "1 trial leaves" if trials == 1 else f"{trials} trials leave"
        self._progress.note(f"stopping: {leave} a checkpoint (again Ctrl-C: at once)")
        for slot in training:
            slot.actor.stop.options(concurrency_group="control").remote()
        ray.wait([slot.task for slot in training], num_returns=len(training), timeout=STOP_SECONDS)

    def _dismiss(self) -> None:
        for slot in list(self._slots):
            self._drop(slot)

    def _drop(self, slot: Slot) -> None:
        """The worker is no longer one of ours, and does not go on working unseen if it was only out of reach."""
        self._slots.remove(slot)
        with suppress(RayError, ValueError):  # it is gone, or Ray is
            ray.kill(slot.actor)
        self._progress.status(slot.number, [])

    def _note(self, outcome: Done | Prepared) -> None:
        for note in outcome.notes:
            if note not in self._noted:  # several feature sets of a category have the same to say
                self._noted.add(note)
                self._progress.note(note)
