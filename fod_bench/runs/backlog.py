"""The work that is left: trainings by the sets they need, which of them can begin, and which have to wait for how long."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple, TypeAlias

from fod_bench.features.request import SetRequest
from fod_bench.methods.settings import Reference
from fod_bench.plan import TrialJob
from fod_bench.runs.executor import Clock

Work: TypeAlias = TrialJob | SetRequest
"""A piece of it."""


@dataclass
class _Set:
    """A set that trainings need."""

    request: SetRequest
    ready: bool = False
    """Whether the store has it."""
    preparing: bool = False
    not_before: float = 0.0
    """When preparing may be tried again."""


@dataclass
class _Queue:
    """Trainings to do on the same sets."""

    sets: list[_Set]
    trials: dict[str, TrialJob] = field(default_factory=dict)
    """Waiting ones by key, the next one first."""
    open: dict[str, TrialJob] = field(default_factory=dict)
    """All that are not finished, by key."""

    @property
    def ready(self) -> bool:
        return all(one.ready for one in self.sets)


class Waiting(NamedTuple):
    """A training put off."""

    until: float
    trial: TrialJob
    elsewhere: bool
    """Whether somebody else may have done it by then."""


class Backlog:
    """Empty, and so false, when every training is over. Times are the clock's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queues: dict[str, _Queue] = {}  # by the key of all that is wanted
        self._sets: dict[str, _Set] = {}
        self._put_off: dict[str, Waiting] = {}
        self._never_packed: set[str] = set()

    def __len__(self) -> int:
        return sum(len(queue.open) for queue in self._queues.values())

    def __bool__(self) -> bool:
        return bool(self._queues)

    def add(self, trials: Iterable[TrialJob]) -> None:
        """More trainings, each of which can run."""
        for trial in trials:
            assert trial.wanted is not None
            if trial.wanted.key not in self._queues:
                sets = [self._sets.setdefault(one.key, _Set(one)) for one in trial.wanted.sets]
                self._queues[trial.wanted.key] = _Queue(sets)
            queue = self._queues[trial.wanted.key]
            queue.trials[trial.key] = queue.open[trial.key] = trial

    def next_trial(self, wanted: str | None) -> TrialJob | None:
        """A training that can begin, best one that wants what `wanted` is the key of; it is the caller's from now on."""
        queue = self._next_queue(wanted)
        return queue.trials.pop(next(iter(queue.trials))) if queue else None

    def _next_queue(self, wanted: str | None) -> _Queue | None:
        held = [self._queues[wanted]] if wanted in self._queues else []
        if not held:  # it has made one of the sets
            held = [queue for queue in self._queues.values() if any(one.request.key == wanted for one in queue.sets)]
        candidates = [*held, *self._queues.values()]
        return next((queue for queue in candidates if queue.ready and queue.trials), None)

    def grows_by_preparing(self, wanted: str | None, most: int) -> bool:
        """Whether `next_trials` would give fewer than `most`, and more of their kind wait for sets that nobody prepares yet."""
        queue = self._next_queue(wanted)
        kind = next(iter(queue.trials.values())).kind if queue is not None else None
        if kind is None:
            return False
        alike = (
            trial for one in self._queues.values() if one.ready for trial in one.trials.values() if trial.kind == kind
        )
        if len(list(islice(alike, most))) == most:
            return False
        return any(
            trial.kind == kind
            for one in self._queues.values()
            if not one.ready and not any(each.preparing for each in one.sets)
            for trial in one.trials.values()
        )

    def next_trials(self, wanted: str | None, most: int) -> list[TrialJob]:
        """`next_trial` and others that can share its steps, best ones on the same sets, up to `most`; none if there is none."""
        first = self.next_trial(wanted)
        if first is None or most == 1 or first.kind is None or first.key in self._never_packed:
            return [first] if first else []
        chosen = [first]
        held = self._queue(first)
        for queue in [held, *(other for other in self._queues.values() if other is not held)]:
            for key, trial in list(queue.trials.items()) if queue.ready else ():
                if len(chosen) >= most:
                    return chosen
                if trial.kind == first.kind and key not in self._never_packed:
                    chosen.append(queue.trials.pop(key))
        return chosen

    def waiting_to_begin(self) -> int:
        """How many trainings wait, whether their sets are there or not."""
        return sum(len(queue.trials) for queue in self._queues.values())

    def keep_alone(self, trials: Iterable[TrialJob]) -> None:
        """From now on these share no worker: one of them may be what kills it."""
        self._never_packed.update(trial.key for trial in trials)

    def next_sets(self) -> list[tuple[SetRequest, list[Reference]]]:
        """Sets to prepare in one pass over the images, each with the references wanted of it; none if there is nothing to prepare.

        The caller tells by `prepared` how that went, of each.
        """
        now = self._clock.now()
        wanted = {one.request.key for queue in self._queues.values() if queue.trials for one in queue.sets}
        missing = [
            one
            for key, one in self._sets.items()
            if key in wanted and not one.ready and not one.preparing and one.not_before <= now
        ]
        if not missing:
            return []
        first = missing[0].request.made_with
        chosen = [one for one in missing if one.request.made_with == first]
        for one in chosen:
            one.preparing = True
        return [(one.request, self._references(one.request.key)) for one in chosen]

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
            if trial.key in queue.trials or trial.key in self._put_off
        ]

    def put_back(self, trial: TrialJob) -> None:
        """It has to be done again, before the others."""
        queue = self._queue(trial)
        queue.trials = {trial.key: trial} | queue.trials

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
        queue.trials.pop(trial.key, None)
        self._put_off.pop(trial.key, None)
        del queue.open[trial.key]
        if not queue.open:
            del self._queues[trial.wanted.key]
            needed = {one.request.key for other in self._queues.values() for one in other.sets}
            self._sets = {key: one for key, one in self._sets.items() if key in needed}

    def _queue(self, trial: TrialJob) -> _Queue:
        assert trial.wanted is not None
        return self._queues[trial.wanted.key]
