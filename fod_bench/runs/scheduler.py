"""Who does what next: hands sets and trials to workers, reuses workers, retries what was lost, and stops cleanly.

The work is a list of trainings, each needing some sets of features or images. A set is put into the store once, by whichever
worker is free. Which training is next is told by `order`, where workers are by `placement`. What is done is known from the store
alone, so a new driver goes on where a dead one stood, and several share the work: each piece is claimed by its worker in the store.

The workers are an executor's, and so is the time: the same scheduler runs on a cluster and on a simulated one.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress

from fod_bench.errors import ClusterError
from fod_bench.features.request import Wanted
from fod_bench.plan import TrialJob
from fod_bench.records.failures import Failure
from fod_bench.records.record import KeepScores
from fod_bench.runs.backlog import Backlog, Work
from fod_bench.runs.budget import Allowance
from fod_bench.runs.executor import Event, Executor, SpeedMeasured, StatusReport, WorkEnded, WorkerLost
from fod_bench.runs.messages import Attempt, Done, SetTask, Stopped
from fod_bench.runs.order import Order
from fod_bench.runs.placement import at_most, workers_to_end, workers_to_start
from fod_bench.runs.progress import Progress
from fod_bench.runs.queues import Seat
from fod_bench.runs.resources import NodeResources, Share, Shares
from fod_bench.runs.retries import Attempts, Cause, StartupFailures, cause_of
from fod_bench.runs.settle import Settlement
from fod_bench.runs.slot import Slot
from fod_bench.store import Store

STOP_SECONDS = 30.0
"""Time that trials have to leave a checkpoint when the run is stopped."""
SCALE_SECONDS = 5.0
"""Time between two looks at how many workers the cluster holds: nodes join and leave."""
REORDER_SECONDS = 60.0
"""Time between two looks at what trainings are expected to take: those that end tell it better."""
TICK_SECONDS = 0.25
"""Longest time between two looks at the workers."""


class Scheduler:
    """Runs trainings on workers, each with the share of its node that they run on."""

    def __init__(
        self,
        executor: Executor,
        store: Store,
        shares: Shares,
        order: Order,
        progress: Progress,
        *,
        driver: str,
        pack: int = 1,
        workers: int | None = None,
        allowance: Allowance | None = None,
        checkpoint_seconds: float,
        keep_scores: KeepScores = "selected",
        lease_seconds: float,
        tick_seconds: float = TICK_SECONDS,
    ) -> None:
        """`pack`: most trials at once for a worker. `workers`: most workers at once; None: as many as the cluster holds.
        `allowance`: what the run may take; None: whatever it needs. `tick_seconds` may be longer where hours are simulated."""
        self._executor, self._clock = executor, executor.clock
        self._order, self._progress, self._pack, self._most = order, progress, pack, workers
        self._allowance = allowance
        self._checkpoint_seconds, self._keep_scores = checkpoint_seconds, keep_scores
        self._lease, self._tick = lease_seconds, tick_seconds
        self._backlog = Backlog(self._clock, order, shares)
        self._attempts = Attempts(driver, lease_seconds)
        self._settlement = Settlement(store, self._backlog, progress, self._attempts, lease_seconds)
        self._startup = StartupFailures(self._clock)
        self._slots: dict[int, Slot] = {}
        self._used: dict[str, set[str]] = {}
        """By node: keys of the sets that its workers have used."""
        self._events: deque[Event] = deque()
        self._looked = self._clock.now()
        self._requested: dict[Share, int] = {}
        self._unpriced: dict[str, str] = {}
        """By name of a node that is given no work: why."""
        self._noted: set[str] = set()

    def run(self, trials: list[TrialJob]) -> list[TrialJob]:
        """Do all of `trials`, or what the allowance holds; failures are kept in the store and told to the progress. Those that the
        allowance left out.

        Raises:
            KeyboardInterrupt: after the trials under way have left their checkpoints.
            ClusterError: workers do not start, or the cluster is gone.
            StoreError: the store fails again and again.
        """
        try:
            self._drain(trials)
            return self._backlog.left()
        except KeyboardInterrupt:
            with suppress(ClusterError):
                self._stop()
            raise
        finally:
            self._dismiss()

    def _drain(self, trials: list[TrialJob]) -> None:
        self._backlog.add(trials)
        scaled = reordered = float("-inf")
        while self._backlog:
            now = self._clock.now()
            if now - reordered > REORDER_SECONDS:
                self._backlog.reorder(Counter(slot.share for slot in self._slots.values()))
                reordered = now
            if now - scaled > SCALE_SECONDS:
                if not self._scale():
                    return
                scaled = now
            if self._seconds_left() <= 0:
                self._stop()
                return
            self._settlement.look_again()
            self._assign_all()
            self._events.extend(self._executor.wait(min(self._tick, self._seconds_left())))
            while self._events:
                self._heed(self._events.popleft())
            self._give_up_the_silent()
            self._progress.tick()

    def _seconds_left(self) -> float:
        return float("inf") if self._allowance is None else self._allowance.seconds

    def _scale(self) -> bool:
        """As many workers as the cluster holds, the work can keep busy and were asked for; False when nothing is left that may
        be begun."""
        nodes = self._usable_nodes()
        needed = self._backlog.needed(self._seconds_left())
        if not needed:
            return False
        if self._unpriced and not self._slots and not any(share.fit(nodes.values()) for share in needed):
            raise ClusterError(f"no node that is left has a price: {next(iter(self._unpriced.values()))}")
        if needed != self._requested:
            self._executor.ask_for(at_most(needed, self._most))
            self._requested = needed
        for slot in workers_to_end(self._slots.values(), needed):
            self._drop(slot)
        for share, node in (
            workers_to_start(nodes, self._slots.values(), needed, self._most) if self._startup.over else ()
        ):
            worker = self._executor.start(share, node)
            self._slots[worker] = Slot(worker, share, node)
        return True

    def _usable_nodes(self) -> dict[str, NodeResources]:
        """The nodes that are there, but those that have joined without a price where the allowance is money. A worker that was put
        there all the same ends what it has begun, and is given no more."""
        nodes = self._executor.nodes()
        self._unpriced = {} if self._allowance is None else self._allowance.look(nodes)
        for why in dict.fromkeys(self._unpriced.values()):
            if why not in self._noted:
                self._progress.note(f"node      gets no work: {why}")
                self._noted.add(why)
        for slot in [slot for slot in self._slots.values() if slot.idle and slot.node in self._unpriced]:
            self._drop(slot)
        return {name: node for name, node in nodes.items() if name not in self._unpriced}

    def _assign_all(self) -> None:
        """Give idle workers work, those with GPUs first, since they make features sooner."""
        served: set[Share] = set()  # for which nothing more is there
        waiting = Counter[Share]()  # for longer trainings, whose sets are being prepared
        idle = (slot for slot in self._slots.values() if slot.idle and slot.node not in self._unpriced)
        for slot in sorted(idle, key=lambda slot: -slot.share.gpus):
            if slot.share in served:
                continue
            seat = self._seat(slot)
            waits = self._backlog.longer_to_come(seat) > waiting[slot.share]
            waiting[slot.share] += waits
            if not self._assign(slot, seat, waits) and not waits:
                served.add(slot.share)

    def _seat(self, slot: Slot) -> Seat:
        used, idle = self._used.get(slot.node, ()), self._clock.now() - slot.idle_since
        return Seat(slot.share, slot.holds, used, self._seconds_left(), idle)

    def _assign(self, slot: Slot, seat: Seat, waits: bool) -> bool:
        """Give an idle worker trainings whose sets are there, unless it waits for others, or sets to prepare; whether there was
        work."""
        most = self._pack
        if most > 1:
            free = sum(not other.work for other in self._slots.values() if other.share == slot.share)
            fair = -(
                -self._backlog.waiting_to_begin(slot.share) // free
            )  # no worker takes what others would stand idle for
            most = max(1, min(most, fair))
        sets = []
        if self._backlog.sets_come_first(seat) or (most > 1 and self._backlog.grows_by_preparing(seat, most)):
            sets = self._backlog.next_sets(seat.seconds)
        trials = [] if sets or waits else self._backlog.next_trials(seat, most)
        if trials:
            tasks = [(trial, self._attempts.next(trial.key)) for trial in trials]
            self._begin(slot, [trial.wanted for trial in trials], *tasks)
            given = [(trial.trial(self._checkpoint_seconds, self._keep_scores), attempt) for trial, attempt in tasks]
            self._executor.train(slot.worker, given)
            return True
        tasks_of_sets = [
            SetTask(*one, self._attempts.next(one[0].key)) for one in sets or self._backlog.next_sets(seat.seconds)
        ]
        if tasks_of_sets:
            wanted = [Wanted((task.request,)) for task in tasks_of_sets]
            self._begin(slot, wanted, *((task.request, task.attempt) for task in tasks_of_sets))
            self._executor.prepare(slot.worker, tasks_of_sets)
        return bool(tasks_of_sets)

    def _begin(self, slot: Slot, wanted: Sequence[Wanted | None], *work: tuple[Work, Attempt]) -> None:
        used = self._used.setdefault(slot.node, set())
        used.update(one.key for all_of_it in wanted if all_of_it is not None for one in all_of_it.sets)
        slot.begin(self._clock.now(), wanted[0].key, *work)  # type: ignore[union-attr]

    def _heed(self, event: Event) -> None:
        slot = self._slots.get(event.worker)
        if slot is None or isinstance(event, SpeedMeasured):  # given up meanwhile, or asked for by somebody else
            return
        if isinstance(event, StatusReport):
            if not slot.started:
                self._startup.forget()
            slot.node = event.node
            slot.note_status(self._clock.now(), event.statuses)
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
        ended = slot.end(self._clock.now())
        seconds = (self._clock.now() - slot.since) / len(ended)
        for (work, _), outcome in zip(ended, event.outcomes, strict=True):
            whole = isinstance(outcome, Done) and outcome.ours and isinstance(work, TrialJob)
            if whole and isinstance(work, TrialJob) and not self._backlog.begun_before(work):
                self._order.took(work, slot.share, seconds)
        for work, attempt in ended:
            self._attempts.over(work.key, attempt)  # whatever its claim says
        if any(isinstance(outcome, Stopped) for outcome in event.outcomes):  # nobody here asked for it
            self._drop(slot)
        for (work, _), outcome in zip(ended, event.outcomes, strict=True):
            self._settlement.ended(work, outcome, slot.mark(work), slot.share, packed=len(ended) > 1)

    def _lost(self, slot: Slot, cause: Cause, failure: Failure) -> None:
        """A worker is gone, or no longer counted on; the store's fence keeps late results of it out."""
        self._drop(slot)
        lost = slot.end(self._clock.now())
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
        if slot is None or isinstance(event, StatusReport):
            return
        outcomes = event.outcomes if isinstance(event, WorkEnded) else ()
        for (work, _), outcome in zip(
            slot.end(self._clock.now()), outcomes, strict=False
        ):  # a worker that was lost tells nothing
            if isinstance(outcome, Done):
                self._settlement.ended(work, outcome, slot.mark(work), slot.share, packed=False)

    def _dismiss(self) -> None:
        for slot in list(self._slots.values()):
            self._drop(slot)
        if self._requested:
            with suppress(ClusterError):
                self._executor.ask_for({})

    def _drop(self, slot: Slot) -> None:
        """The worker is no longer one of ours, and does not go on working unseen if it was only out of reach."""
        del self._slots[slot.worker]
        self._executor.kill(slot.worker)
        self._progress.status(slot.worker, [])
