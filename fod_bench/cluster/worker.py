"""What an actor does: it makes sets of features and images and trains trials, and tells how far it is.

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
from typing import Any

import torch

from fod_bench.errors import BlockedObjectError, DamagedObjectError, DivergedError, StoreError
from fod_bench.records.claims import Claim, Held, LostClaimError, sweep, take
from fod_bench.records.failures import Failure, failure_of
from fod_bench.records.names import checkpoints_prefix
from fod_bench.records.record import Record, Trial
from fod_bench.runs.messages import (
    Attempt,
    Done,
    Outcome,
    Prepared,
    SetTask,
    Speed,
    SpeedTask,
    Status,
    Stopped,
    Taken,
)
from fod_bench.store import ObjectMissingError, Store, open_store
from fod_bench.store.open import RUN_PATIENCE
from fod_bench.trials.prepare import Made, Order, Preparation
from fod_bench.trials.trial import Assignment, Interrupted, run_trials


class Worker:
    """One share of the cluster. Ray runs `prepare` and `train` one at a time, `status` and `stop` beside them."""

    def __init__(self, store_uri: str, threads: int, gpu: bool) -> None:
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = False
        self.store: Store = open_store(store_uri, patience=RUN_PATIENCE)
        self.device = torch.device("cuda" if gpu else "cpu")
        self._stop = threading.Event()
        self._idle = threading.Condition()
        self._notes = _Notes()
        logging.getLogger("fod_bench").addHandler(self._notes)
        self._node = socket.gethostname()
        self._statuses: dict[str, Status] = {}
        self._preparation = Preparation(self.store, self.device)
        self.epochs = 0
        """Trained so far, all trials together."""

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
        before = self._statuses[key]
        self._statuses[key] = now = replace(before, **progress)
        if before.steps:  # else it is heard of for the first time, and may go on from a checkpoint
            self.epochs += max(0, now.epoch - before.epoch)

    @contextmanager
    def _at_work(self, *statuses: Status) -> Iterator[None]:
        self._statuses = {status.key: status for status in statuses}
        try:
            yield
        finally:
            with self._idle:
                self._statuses = {}
                self._idle.notify_all()

    def prepare(self, tasks: list[SetTask]) -> list[Prepared | Taken | Failure]:
        """See that the store has sets of a category, and the references asked for; what became of each."""
        with self._at_work(*(Status("features", task.request.key, node=self._node) for task in tasks)):
            outcomes: dict[str, Prepared | Taken | Failure] = {}
            with ExitStack() as stack:
                try:
                    self._prepare(tasks, outcomes, stack)
                except Exception as error:  # whatever it was, the driver tells it and goes on with the others
                    failure = _failure(error)
                    outcomes = {task.request.key: failure for task in tasks} | outcomes
            return [outcomes[task.request.key] for task in tasks]

    def _prepare(self, tasks: list[SetTask], outcomes: dict[str, Prepared | Taken | Failure], stack: ExitStack) -> None:
        """Note what became of each task in `outcomes`; claims are renewed as long as `stack` is open."""
        orders: list[Order] = []
        for task in tasks:
            try:
                begun: Order | Prepared | Taken | Failure = self._begin_set(task)
            except BlockedObjectError as error:  # which is of this set alone
                begun = _failure(error)
            if isinstance(begun, Order):
                stack.enter_context(begun.claim.beating())
                orders.append(begun)
            else:
                outcomes[task.request.key] = begun
        if not orders:
            return
        for order, made in zip(orders, self._preparation.make(orders), strict=True):
            key = order.request.key
            if isinstance(made, Made):
                if not order.claim.lost:  # otherwise the claims that are there are another's
                    sweep(self.store, key)
                unmade = {reference: _failure(error) for reference, error in made.unmade.items()}
                outcomes[key] = Prepared(made.made, made.nbytes, unmade, self._notes.taken())
            else:
                outcomes[key] = Taken(key, "") if isinstance(made, LostClaimError) else _failure(made)

    def _begin_set(self, task: SetTask) -> Order | Prepared | Taken:
        """A set claimed, unless the store has it or somebody else is at work on it."""
        request, references, attempt = task
        nbytes = self._preparation.stored(request, references)
        if nbytes is not None:
            return Prepared(False, nbytes, notes=self._notes.taken())
        claim = take(self.store, request.key, attempt=attempt.name, lease=attempt.lease, previous=attempt.lost)
        if isinstance(claim, Held):
            return Taken(request.key, claim.entry.process.host)
        return Order(request, references, claim)

    def measure(self, task: SpeedTask) -> Speed | Failure:
        """How fast this worker is; its threads are as before afterwards."""
        from fod_bench.trials.speed import measure_speed

        threads = torch.get_num_threads()
        torch.set_num_threads(task.threads)
        try:
            return Speed(*measure_speed(task.settings, task.counts, task.pack, task.seconds, self.device))
        except Exception as error:  # such a share does not do; others may
            return _failure(error)
        finally:
            torch.set_num_threads(threads)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def train(self, tasks: list[tuple[Trial, Attempt]]) -> list[Outcome]:
        """Train and evaluate trials, which share their steps where they can, or measure one's cost; what became of each.

        They work on sets that this machine's workers map into memory together.
        """
        statuses = [
            Status(
                "trial", trial.key, epochs=0 if trial.measures_cost else trial.setting.get("epochs", 1), node=self._node
            )
            for trial, _ in tasks
        ]
        with self._at_work(*statuses):
            try:
                return self._train(tasks)
            finally:
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()

    def _train(self, tasks: list[tuple[Trial, Attempt]]) -> list[Outcome]:
        wanted = [key for trial, _ in tasks for key in trial.sets.values()]
        outcomes: dict[str, Outcome] = {}
        begun: list[Assignment] = []
        with ExitStack() as stack:
            heartbeats: list[
                ExitStack
            ] = []  # a claim is renewed from when it is taken until its trial ends, and no longer
            for trial, attempt in tasks:
                try:
                    started = self._begin(trial, attempt, wanted)
                except Exception as error:  # see `prepare`
                    started = _failure(error)
                if isinstance(started, Assignment):
                    begun.append(started)
                    heartbeats.append(stack.enter_context(ExitStack()))
                    heartbeats[-1].enter_context(started.claim.beating())
                else:
                    outcomes[trial.key] = started
            for number, came in _work(begun, self.device):
                heartbeats[number].close()
                outcomes[begun[number].trial.key] = self._outcome(begun[number].claim, came)
                del came
        return [outcomes[trial.key] for trial, _ in tasks]

    def _begin(self, trial: Trial, attempt: Attempt, wanted: list[str]) -> Assignment | Taken | Failure:
        """A trial with its data, claimed. `wanted`: keys of the features of all trials in hand."""
        try:
            data = self._preparation.data(trial, wanted)
        except (DamagedObjectError, ObjectMissingError) as error:
            return replace(_failure(error), kind="features")
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
        # Trials that diverged have settled it; where the store failed, nobody can.
        if isinstance(came, BlockedObjectError) or not isinstance(came, DivergedError | StoreError):
            try:
                claim.release()
            except StoreError as error:
                return _failure(error)
        return _failure(came)


class _Notes(logging.Handler):
    """Keeps the warnings of a piece of work, which the driver tells."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._texts.append(record.getMessage())

    def taken(self) -> tuple[str, ...]:
        """The texts so far, which are forgotten."""
        texts, self._texts = tuple(self._texts), []
        return texts


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


def _failure(error: Exception) -> Failure:
    """An error as a failure; of memory that ran out, how much was taken."""
    failure = failure_of(error)
    if isinstance(error, torch.cuda.OutOfMemoryError):
        peak = torch.cuda.max_memory_reserved() / 2**30
        reason = f"out of GPU memory: {peak:.1f} GiB were taken and more was asked for"
        return replace(failure, reason=reason, kind="memory")
    return failure
