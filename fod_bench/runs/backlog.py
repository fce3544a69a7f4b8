"""The work that is left: trainings by the sets they need, which of them can begin, and which have to wait for how long."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import islice
from typing import TypeAlias

from fod_bench.features.request import SetRequest
from fod_bench.methods.settings import Reference
from fod_bench.plan import TrialJob
from fod_bench.runs.executor import Clock
from fod_bench.runs.order import Order, Turn
from fod_bench.runs.queues import Queue, Seat, Waiting, WantedSet, distance
from fod_bench.runs.resources import Share, Shares

Work: TypeAlias = TrialJob | SetRequest
"""A piece of it."""


_FEWER = 0.95
"""Part of the trainings that still waits when it is reckoned again what is left."""
IDLE_PART = 0.05
"""A worker waits for the sets of a longer training, instead of beginning a shorter one, for this part of its time at most."""


class Backlog:
    """Empty, and so false, when every training is over. Times are the clock's."""

    def __init__(self, clock: Clock, order: Order, shares: Shares) -> None:
        self._clock, self._order, self._shares = clock, order, shares
        self._queues: dict[str, Queue] = {}  # by the key of all that is wanted
        self._sets: dict[str, WantedSet] = {}
        self._put_off: dict[str, Waiting] = {}
        self._never_packed: set[str] = set()
        self._waiting: set[str] = set()
        self._again: set[str] = set()
        self._open = Counter[Share]()
        self._workers: Mapping[Share, int] = {}
        self._counted = 0
        """Workers of each share, and trainings waiting, when last it was reckoned what is left."""

    def __bool__(self) -> bool:
        return bool(self._queues)

    def add(self, trials: Iterable[TrialJob]) -> None:
        """More trainings, each of which can run."""
        for trial in trials:
            assert trial.wanted is not None
            if trial.wanted.key not in self._queues:
                sets = [self._sets.setdefault(one.key, WantedSet(one)) for one in trial.wanted.sets]
                self._queues[trial.wanted.key] = Queue(sets)
            share, queue = self._shares.of(trial), self._queue(trial)
            queue.open[trial.key] = trial
            queue.waiting.setdefault(share, []).insert(0, trial)
            self._waiting.add(trial.key)
            self._open[share] += 1
        self._sort()

    def reorder(self, workers: Mapping[Share, int]) -> None:
        """Heed what trainings are expected to take by now, and how much is left for each of so many workers; those of equal turns
        stay as they were."""
        moved = self._order.moved()
        if moved:
            self._sort()
        if moved or workers != self._workers or len(self._waiting) < _FEWER * self._counted:
            self._workers, self._counted = dict(workers), len(self._waiting)
            left = defaultdict[Share, float](float)
            for queue in self._queues.values():
                for share, waiting in queue.waiting.items():
                    left[share] += sum(self._order.seconds(trial, share) for trial in waiting)
            for share, number in workers.items():
                self._order.left(share, left[share] / number)

    def _sort(self) -> None:
        for queue in self._queues.values():
            for share, waiting in queue.waiting.items():
                waiting.reverse()
                waiting.sort(key=partial(self._turn, share=share))
                waiting.reverse()

    def needed(self, seconds: float = float("inf")) -> dict[Share, int]:
        """How many workers of each share the work keeps busy; of trainings that wait those count that end in so many seconds."""
        counted = Counter(self._open)
        for queue in self._queues.values() if seconds != float("inf") else ():
            for share, waiting in queue.waiting.items():
                counted[share] -= sum(self._order.seconds(trial, share) > seconds for trial in waiting)
        return {share: number for share, number in counted.items() if number}

    def left(self) -> list[TrialJob]:
        """All trainings that are not over."""
        return [trial for queue in self._queues.values() for trial in queue.open.values()]

    def next_trials(self, seat: Seat, most: int = 1) -> list[TrialJob]:
        """A training that can begin and others that can share its steps, best ones on the same sets, up to `most`; none if there is
        none. They are the caller's from now on."""
        held = self._next_queue(seat)
        if held is None:
            return []
        waiting = held.waiting[seat.share]
        place = next(place for place in reversed(range(len(waiting))) if self._ends_in(waiting[place], seat))
        first = self._begin(held, seat.share, place)
        if most == 1 or first.kind is None or first.key in self._never_packed:
            return [first]
        chosen = [first]
        for queue in [held, *(other for other in self._queues.values() if other is not held)]:
            if not queue.ready:
                continue
            alike = [
                place
                for place, trial in enumerate(queue.waiting.get(seat.share, ()))
                if trial.kind == first.kind and trial.key not in self._never_packed and self._ends_in(trial, seat)
            ]
            for place in reversed(alike):
                if len(chosen) >= most:
                    return chosen
                chosen.append(self._begin(queue, seat.share, place))
        return chosen

    def longer_to_come(self, seat: Seat) -> int:
        """How many trainings are worth an idle worker's waiting: they come before the one that it could begin, and their sets are
        being prepared. It waits for a small part of what they take, and no longer."""
        queue = self._next_queue(seat)
        head = self._head(queue, seat) if queue is not None else None
        if head is None or seat.idle == float("inf"):
            return 0
        first, coming = self._order.turn(head, seat.share), 0

        def worth(trial: TrialJob) -> bool:
            turn = self._order.turn(trial, seat.share)
            return turn[:2] < first[:2] and seat.idle <= -IDLE_PART * turn.seconds

        for other in self._queues.values():
            if other.ready or not all(one.ready or one.preparing for one in other.sets):
                continue
            waiting = other.waiting.get(seat.share, [])
            coming += len(waiting) - bisect_left(waiting, True, key=worth)
        return coming

    def _next_queue(self, seat: Seat) -> Queue | None:
        """The one whose next training is to begin on this seat."""
        best: tuple[tuple[bool, Turn], Queue] | None = None
        for wanted, queue in self._queues.items():
            if not queue.ready:
                continue
            trial = self._head(queue, seat)
            if trial is not None:
                turn = self._turn(trial, seat.share, distance(seat, wanted, queue))
                if best is None or turn < best[0]:
                    best = turn, queue
        return None if best is None else best[1]

    def _head(self, queue: Queue, seat: Seat) -> TrialJob | None:
        waiting = queue.waiting.get(seat.share, ())
        return next((trial for trial in reversed(waiting) if self._ends_in(trial, seat)), None)

    def _ends_in(self, trial: TrialJob, seat: Seat) -> bool:
        return seat.seconds == float("inf") or self._order.seconds(trial, seat.share) <= seat.seconds

    def _turn(self, trial: TrialJob, share: Share, elsewhere: int = 0) -> tuple[bool, Turn]:
        """What has been begun before goes first."""
        return trial.key not in self._again, self._order.turn(trial, share, elsewhere)

    def _begin(self, queue: Queue, share: Share, place: int) -> TrialJob:
        trial = queue.waiting[share].pop(place)
        self._waiting.discard(trial.key)
        return trial

    def grows_by_preparing(self, seat: Seat, most: int) -> bool:
        """Whether `next_trials` would give fewer than `most`, and more of their kind wait for sets that nobody prepares yet."""
        queue = self._next_queue(seat)
        head = self._head(queue, seat) if queue is not None else None
        if head is None or head.kind is None:
            return False
        alike = (
            trial
            for one in self._queues.values()
            if one.ready
            for trial in one.waiting.get(seat.share, ())
            if trial.kind == head.kind
        )
        if len(list(islice(alike, most))) == most:
            return False
        return any(
            trial.kind == head.kind
            for one in self._queues.values()
            if not one.ready and not any(each.preparing for each in one.sets)
            for trial in one.waiting.get(seat.share, ())
        )

    def waiting_to_begin(self, share: Share) -> int:
        """How many trainings wait for a worker of this share, whether their sets are there or not."""
        return sum(len(queue.waiting.get(share, ())) for queue in self._queues.values())

    def keep_alone(self, trials: Iterable[TrialJob]) -> None:
        """From now on these share no worker: one of them may be what kills it."""
        self._never_packed.update(trial.key for trial in trials)

    def give_whole(self, trial: TrialJob) -> None:
        """A training that is at work needs more of a GPU than its share: from now on it gets one to itself."""
        self._open[self._shares.of(trial)] -= 1
        self._shares.give_whole(trial)
        self._open[self._shares.of(trial)] += 1

    def next_sets(self, seconds: float = float("inf")) -> list[tuple[SetRequest, list[Reference]]]:
        """Sets to prepare in one pass over the images, each with the references wanted of it; none if there is nothing to prepare.

        The first are those of the training that is next, of those that end in so many seconds. The caller tells by `prepared` how
        that went, of each.
        """
        missing = self._missing(seconds)
        if not missing:
            return []
        first = min(missing, key=lambda one: one[0])[1][0].request.made_with
        chosen = {one.request.key: one for _, sets in missing for one in sets if one.request.made_with == first}
        for one in chosen.values():
            one.preparing = True
        return [(one.request, self._references(one.request.key)) for one in chosen.values()]

    def sets_come_first(self, seat: Seat) -> bool:
        """Whether a training of a better rank than that of `next_trials` waits for sets that nobody prepares yet."""
        queue = self._next_queue(seat)
        head = self._head(queue, seat) if queue is not None else None
        missing = self._missing(seat.seconds) if head is not None else []
        return head is not None and any(turn[1].rank < self._turn(head, seat.share)[1].rank for turn, _ in missing)

    def _missing(self, seconds: float) -> list[tuple[tuple[bool, Turn], list[WantedSet]]]:
        """Sets that can be prepared now, and the turn of the training that waits for them."""
        now, missing = self._clock.now(), []
        for queue in self._queues.values():
            sets = [one for one in queue.sets if not one.ready and not one.preparing and one.not_before <= now]
            heads = [(self._head(queue, Seat(share, seconds=seconds)), share) for share in queue.waiting if sets]
            turns = [self._turn(head, share) for head, share in heads if head is not None]
            if turns:
                missing.append((min(turns), sets))
        return missing

    def _references(self, key: str) -> list[Reference]:
        """References wanted of the set."""
        open_ones = [trial for queue in self._queues.values() for trial in queue.open.values()]
        wanted = {
            trial.reference_key: trial.settings.needs().reference
            for trial in open_ones
            if trial.wanted is not None and trial.wanted.sets[0].key == key
        }
        return [reference for reference in wanted.values() if reference is not None]

    def prepared(self, key: str, ready: bool, pause: float = 0.0) -> None:
        """Preparing a set is over; if it is not `ready`, it is tried again after `pause` seconds."""
        one = self._sets.get(key)
        if one is not None:  # otherwise the last training that needed it is over
            one.preparing, one.ready, one.not_before = False, ready, self._clock.now() + pause

    def spoilt(self, trial: TrialJob) -> None:
        """The store no longer has all that the training works on."""
        for one in self._queue(trial).sets:
            one.ready = False

    def waiting(self, key: str) -> list[TrialJob]:
        """Trainings that wait for the set, or were put off."""
        queues = [queue for queue in self._queues.values() if any(one.request.key == key for one in queue.sets)]
        return [
            trial
            for queue in queues
            for trial in queue.open.values()
            if trial.key in self._waiting or trial.key in self._put_off
        ]

    def put_back(self, trial: TrialJob) -> None:
        """It has to be done again, before the others."""
        self._queue(trial).waiting.setdefault(self._shares.of(trial), []).append(trial)
        self._waiting.add(trial.key)
        self._again.add(trial.key)

    def begun_before(self, trial: TrialJob) -> bool:
        """Whether the training was handed out more than once."""
        return trial.key in self._again

    def put_off(self, trial: TrialJob, seconds: float, elsewhere: bool = False) -> None:
        """It is looked at again after some time; `elsewhere`: somebody else may have done it by then."""
        self._put_off[trial.key] = Waiting(self._clock.now() + seconds, trial, elsewhere)

    def due(self) -> list[Waiting]:
        """Trainings that were put off until now; they are the caller's."""
        now = self._clock.now()
        found = [waiting for waiting in self._put_off.values() if waiting.until <= now]
        for waiting in found:
            del self._put_off[waiting.trial.key]
        return found

    def close(self, trial: TrialJob) -> None:
        """The training is over."""
        assert trial.wanted is not None
        queue = self._queue(trial)
        if trial.key in self._waiting:
            queue.waiting[self._shares.of(trial)].remove(trial)
        self._open[self._shares.of(trial)] -= 1
        for keys in (self._waiting, self._again, self._never_packed):
            keys.discard(trial.key)
        self._put_off.pop(trial.key, None)
        del queue.open[trial.key]
        if not queue.open:
            del self._queues[trial.wanted.key]
            needed = {one.request.key for other in self._queues.values() for one in other.sets}
            self._sets = {key: one for key, one in self._sets.items() if key in needed}

    def _queue(self, trial: TrialJob) -> Queue:
        assert trial.wanted is not None
        return self._queues[trial.wanted.key]
