"""Who does what next: hands sets and trials to workers, reuses workers, retries what was lost, and stops cleanly.

The work is a list of trainings, each needing some sets of features or images. A set is put into the store once, by whichever
worker is free; a worker prefers trainings on the sets it used last. What is done is known from the store alone, so a
new driver goes on where a dead one stood, and several share the work: each piece is claimed by its worker in the store.

The workers are an executor's, and so is the time: the same scheduler runs on a cluster and on a simulated one.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress

from fod_bench.errors import ClusterError
from fod_bench.plan import TrialJob
from fod_bench.records.failures import Failure
from fod_bench.records.record import KeepScores
from fod_bench.runs.backlog import Backlog
from fod_bench.runs.executor import Event, Executor, StatusTold, WorkEnded, WorkerLost
from fod_bench.runs.messages import Done, SetTask, Stopped
from fod_bench.runs.progress import Progress
from fod_bench.runs.resources import Share
from fod_bench.runs.retries import Attempts, Cause, StartupFailures, cause_of
from fod_bench.runs.settle import Settlement
from fod_bench.runs.slot import Slot
from fod_bench.store import Store

STOP_SECONDS = 30.0
"""Time that trials have to leave a checkpoint when the run is stopped."""
SCALE_SECONDS = 5.0
"""Time between two looks at how many workers the cluster holds: nodes join and leave."""
TICK_SECONDS = 0.25
"""Longest time between two looks at the workers."""


class Scheduler:
    """Runs trainings on workers of one share each."""

    def __init__(
        self,
        executor: Executor,
        store: Store,
        share: Share,
        progress: Progress,
        *,
        driver: str,
        pack: int = 1,
        workers: int | None = None,
        checkpoint_seconds: float,
        keep_scores: KeepScores = "selected",
        lease_seconds: float,
        tick_seconds: float = TICK_SECONDS,
    ) -> None:
        """`pack`: most trials at once for a worker. `workers`: most workers at once; None: as many as the cluster holds.
        `tick_seconds` may be longer where hours are simulated."""
        self._executor, self._clock = executor, executor.clock
        self._share, self._progress, self._pack, self._most = share, progress, pack, workers
        self._checkpoint_seconds, self._keep_scores = checkpoint_seconds, keep_scores
        self._lease, self._tick = lease_seconds, tick_seconds
        self._backlog = Backlog(self._clock)
        self._attempts = Attempts(driver, lease_seconds)
        self._settlement = Settlement(store, self._backlog, progress, self._attempts, lease_seconds)
        self._startup = StartupFailures(self._clock)
        self._slots: dict[int, Slot] = {}
        self._events: deque[Event] = deque()
        self._looked = self._clock.now()

    def run(self, trials: list[TrialJob]) -> None:
        """Do all of `trials`; failures are kept in the store and told to the progress.

        Raises:
            KeyboardInterrupt: after the trials under way have left their checkpoints.
            ClusterError: workers do not start, or the cluster is gone.
            StoreError: the store fails again and again.
        """
        try:
            self._drain(trials)
            too_large = self._settlement.too_large
            if too_large:  # for a shared GPU: once more, each with a whole one
                self._dismiss()
                self._backlog.keep_alone(too_large)
                self._share = Share(self._share.cpus, 1.0)
                self._drain(too_large)
        except KeyboardInterrupt:
            with suppress(ClusterError):
                self._stop()
            raise
        finally:
            self._dismiss()

    def _drain(self, trials: list[TrialJob]) -> None:
        self._backlog.add(trials)
        scaled = float("-inf")
        while self._backlog:
            if self._clock.now() - scaled > SCALE_SECONDS:
                self._scale()
                scaled = self._clock.now()
            self._settlement.look_again()
            for slot in self._slots.values():
                if slot.idle:
                    self._assign(slot)
            self._events.extend(self._executor.wait(self._tick))
            while self._events:
                self._heed(self._events.popleft())
            self._give_up_the_silent()
            self._progress.tick()

    def _scale(self) -> None:
        """As many workers as the cluster holds, the work can keep busy and were asked for."""
        if not self._startup.over:
            return
        wanted = min(self._share.fit(self._executor.nodes()), len(self._backlog), self._most or len(self._backlog))
        for _ in range(len(self._slots), wanted):
            worker = self._executor.start(self._share)
            self._slots[worker] = Slot(worker)

    def _assign(self, slot: Slot) -> None:
        """Give an idle worker trainings whose sets are there, best those it holds, or sets to prepare."""
        free = sum(not other.work for other in self._slots.values())
        fair = -(-self._backlog.waiting_to_begin() // free)  # no worker takes what others would stand idle for
        most = max(1, min(self._pack, fair))
        sets = []
        if most > 1 and self._backlog.grows_by_preparing(slot.holds, most):
            sets = self._backlog.next_sets()
        trials = [] if sets else self._backlog.next_trials(slot.holds, most)
        if trials:
            tasks = [(trial, self._attempts.next(trial.key)) for trial in trials]
            slot.begin(trials[0].wanted.key, *tasks)  # type: ignore[union-attr]
            given = [(trial.trial(self._checkpoint_seconds, self._keep_scores), attempt) for trial, attempt in tasks]
            self._executor.train(slot.worker, given)
            return
        tasks_of_sets = [SetTask(*one, self._attempts.next(one[0].key)) for one in sets or self._backlog.next_sets()]
        if tasks_of_sets:
            slot.begin(tasks_of_sets[0].request.key, *((task.request, task.attempt) for task in tasks_of_sets))
            self._executor.prepare(slot.worker, tasks_of_sets)

    def _heed(self, event: Event) -> None:
        slot = self._slots.get(event.worker)
        if slot is None:  # given up meanwhile
            return
        if isinstance(event, StatusTold):
            if not slot.started:
                self._startup.forget()
            slot.told(event.statuses)
            self._progress.status(slot.worker, [work for work, _ in slot.work], event.statuses)
        elif isinstance(event, WorkEnded):
            self._ended(slot, event)
        elif slot.work:
            self._lost(slot, cause_of(event.kind), Failure(event.reason, event.details, "worker"))
        else:
            self._drop(slot)
            if not slot.started:
                self._did_not_start(event)

    def _ended(self, slot: Slot, event: WorkEnded) -> None:
        ended = slot.end()
        for work, attempt in ended:
            self._attempts.over(work.key, attempt)  # whatever its claim says
        if any(isinstance(outcome, Stopped) for outcome in event.outcomes):  # nobody here asked for it
            self._drop(slot)
        for (work, _), outcome in zip(ended, event.outcomes, strict=True):
            self._settlement.ended(work, outcome, slot.mark(work), self._share, packed=len(ended) > 1)

    def _lost(self, slot: Slot, cause: Cause, failure: Failure) -> None:
        """A worker is gone, or no longer counted on; the store's fence keeps late results of it out."""
        self._drop(slot)
        lost = slot.end()
        for work, attempt in lost:
            self._attempts.over(work.key, attempt)
        self._settlement.lost([(work, slot.mark(work)) for work, _ in lost], cause, failure)

    def _did_not_start(self, loss: WorkerLost) -> None:
        """Several in a row that never started, and no other worker, mean that none will."""
        reason = self._startup.add(loss)
        if self._startup.too_many and not self._slots:
            raise ClusterError(f"workers do not start: {reason}")
        self._progress.note(f"again     a worker did not start: {reason}")

    def _give_up_the_silent(self) -> None:
        """A worker that hangs, or whose node is out of reach, is not waited for longer than a lease: by then its claim may be
        another's too."""
        now = self._clock.now()
        passed = min(now - self._looked, self._lease / 4)  # if the driver itself stood still, that is not their silence
        self._looked = now
        for slot in [slot for slot in self._slots.values() if slot.started]:
            slot.silent += passed
            if slot.silent > self._lease:
                self._lost(slot, "lost", Failure("its worker no longer answers", "", "worker"))

    def _stop(self) -> None:
        """Ask running trials for a checkpoint and wait for it, up to `STOP_SECONDS`."""
        training = [slot for slot in self._slots.values() if slot.trainings()]
        if not training:
            return
        trials = sum(len(slot.trainings()) for slot in training)
        leave = "1 trial leaves" if trials == 1 else f"{trials} trials leave"
        self._progress.note(f"stopping: {leave} a checkpoint (again Ctrl-C: at once)")
        for slot in training:
            self._executor.stop(slot.worker)
        end = self._clock.now() + STOP_SECONDS
        while True:
            while self._events:
                self._heed_stopping(self._events.popleft())
            left = end - self._clock.now()
            if left <= 0 or not any(slot.work for slot in training):
                return
            self._events.extend(self._executor.wait(left))

    def _heed_stopping(self, event: Event) -> None:
        """What ended well by itself counts; all else is for the next run."""
        slot = self._slots.get(event.worker)
        if slot is None or isinstance(event, StatusTold):
            return
        outcomes = event.outcomes if isinstance(event, WorkEnded) else ()
        for (work, _), outcome in zip(slot.end(), outcomes, strict=False):  # a worker that was lost tells nothing
            if isinstance(outcome, Done):
                self._settlement.ended(work, outcome, slot.mark(work), self._share, packed=False)

    def _dismiss(self) -> None:
        for slot in list(self._slots.values()):
            self._drop(slot)

    def _drop(self, slot: Slot) -> None:
        """The worker is no longer one of ours, and does not go on working unseen if it was only out of reach."""
        del self._slots[slot.worker]
        self._executor.kill(slot.worker)
        self._progress.status(slot.worker, [])
