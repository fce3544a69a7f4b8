"""What becomes of work once a worker is through with it, or is lost with it: done, failed, or to be tried again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fod_bench.errors import StoreError
from fod_bench.features.request import SetRequest
from fod_bench.plan import TrialJob
from fod_bench.records.failures import Failure, keep_failure, kept_failure
from fod_bench.records.names import record_name
from fod_bench.runs.backlog import Backlog, Work
from fod_bench.runs.messages import Done, Outcome, Prepared, Stopped, Taken
from fod_bench.runs.progress import Progress
from fod_bench.runs.resources import Share
from fod_bench.runs.retries import Attempts, Cause, Mark, Retries, Retry
from fod_bench.store import Store

_LOOK_SECONDS = 15.0
"""Longest time between two looks at work that somebody else has claimed."""


class Settlement:
    """Settles work: in the backlog, in the store where failures are kept, and with the progress that tells of it."""

    def __init__(self, store: Store, backlog: Backlog, progress: Progress, attempts: Attempts, lease: float) -> None:
        self._store, self._backlog, self._progress, self._attempts = store, backlog, progress, attempts
        self._look_seconds = min(_LOOK_SECONDS, lease / 4)
        self._retries = Retries()
        self._noted: set[str] = set()

    def ended(self, work: Work, outcome: Outcome | Prepared, mark: Mark, share: Share, packed: bool) -> None:
        """A worker of this share is through with a piece of work, of several if `packed`; `mark`: how far it was.

        Raises `StoreError` when the store has failed too often.
        """
        if isinstance(outcome, Stopped):
            self._progress.note(f"again     {work.name}: its worker was told to end, and left a checkpoint", work)
            self._settle(work, Retry())
        elif not isinstance(outcome, Failure):
            self._settle(work, outcome)
        elif outcome.kind in ("store", "features"):
            self._settle(work, self._again(work, "store" if outcome.kind == "store" else "features", mark, outcome))
        elif packed and isinstance(work, TrialJob) and outcome.kind in ("memory", "fault"):
            # What fails a shared step fails all; and memory may be there for one.
            self._progress.note(f"again     {work.name}: {outcome.reason}; now by itself", work)
            self._backlog.keep_alone([work])
            self._settle(work, Retry())
        elif isinstance(work, TrialJob) and outcome.kind == "memory" and 0 < share.gpus < 1:
            self._progress.note(f"again     {work.name}: {outcome.reason}; now with a whole GPU")
            self._backlog.keep_alone([work])
            self._backlog.give_whole(work)
            self._settle(work, Retry())
        else:
            self._settle(work, outcome)

    def lost(self, works: Sequence[tuple[Work, Mark]], cause: Cause, failure: Failure) -> None:
        """All that a worker had at hand was lost with it. Raises `StoreError`."""
        packed = len(works) > 1
        if packed and cause == "killed":  # one of them may be to blame
            self._backlog.keep_alone(work for work, _ in works if isinstance(work, TrialJob))
        for work, mark in works:
            if packed and self._store.exists(record_name(work.key)):  # it had ended while others went on
                self._settle(work, Done(work.key, True))
            else:
                self._settle(work, self._again(work, cause, mark, failure))

    def look_again(self) -> None:
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

    def _settle(self, work: Work, outcome: Done | Prepared | Taken | Failure | Retry) -> None:
        if isinstance(outcome, Retry | Taken):
            pause = outcome.pause if isinstance(outcome, Retry) else self._look_seconds
            if isinstance(work, TrialJob):
                self._backlog.put_off(work, pause, elsewhere=isinstance(outcome, Taken))
            else:
                self._backlog.prepared(work.key, False, pause)
        elif isinstance(work, TrialJob):
            assert not isinstance(outcome, Prepared)
            self._tell(work, outcome)
            self._close(work)
        else:
            assert not isinstance(outcome, Done)
            self._settle_set(work, outcome)

    def _settle_set(self, request: SetRequest, outcome: Prepared | Failure) -> None:
        """Trainings can begin on the set, but for those that need what could not be made."""
        self._backlog.prepared(request.key, isinstance(outcome, Prepared))
        if isinstance(outcome, Prepared):
            self._note(outcome)
            self._progress.prepared(request, outcome)
        for trial in self._backlog.waiting(request.key):
            failed = outcome if isinstance(outcome, Failure) else outcome.unmade.get(trial.reference_key or "")
            if failed is not None:
                self._tell(trial, failed)
                self._close(trial)

    def _again(self, work: Work, cause: Cause, mark: Mark, failure: Failure) -> Failure | Retry:
        """Whether, and after how long, the work is to be tried again. Raises `StoreError` when the store fails too often."""
        if cause == "features" and isinstance(work, TrialJob):
            self._backlog.spoilt(work)
        if self._retries.again(work.key, cause, mark):
            self._progress.note(f"again     {work.name}: {failure.reason}", work)
            return Retry(self._retries.pause(work.key))
        if cause == "store":
            raise StoreError(f"{failure.reason}; when that is put right, the same command goes on")
        return replace(failure, reason=self._retries.verdict(failure, cause))

    def _tell(self, trial: TrialJob, outcome: Done | Failure) -> None:
        if isinstance(outcome, Failure):
            if self._store.exists(record_name(trial.key)):  # its worker was lost when it had just committed
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
        self._attempts.forget(trial.key)

    def _note(self, outcome: Done | Prepared) -> None:
        for note in outcome.notes:
            if note not in self._noted:  # several sets of a category have the same to say
                self._noted.add(note)
                self._progress.note(note)
