"""The work that is left: trainings by the features they need, which of them can begin, and which have to wait for how long."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from fod_bench.features.request import FeatureRequest
from fod_bench.methods.settings import Reference
from fod_bench.plan import TrialJob
from fod_bench.runs.executor import Clock

Work: TypeAlias = TrialJob | FeatureRequest
"""A piece of it."""


@dataclass
class _Queue:
    """Trainings to do on one feature set."""

    request: FeatureRequest
    trials: dict[str, TrialJob] = field(default_factory=dict)
    """Waiting ones by key, the next one first."""
    open: dict[str, TrialJob] = field(default_factory=dict)
    """All that are not finished, by key."""
    ready: bool = False
    """Whether the store has the features."""
    preparing: bool = False
    not_before: float = 0.0
    """When preparing may be tried again."""


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
        self._queues: dict[str, _Queue] = {}
        self._put_off: dict[str, Waiting] = {}
        self._never_packed: set[str] = set()

    def __len__(self) -> int:
        return sum(len(queue.open) for queue in self._queues.values())

    def __bool__(self) -> bool:
        return bool(self._queues)

    def add(self, trials: Iterable[TrialJob]) -> None:
        """More trainings, each of which can run."""
        for trial in trials:
            assert trial.features is not None
            queue = self._queues.setdefault(trial.features.key, _Queue(trial.features))
            queue.trials[trial.key] = queue.open[trial.key] = trial

    def next_trial(self, features: str | None) -> TrialJob | None:
        """A training that can begin, best one on `features`; it is the caller's from now on."""
        held = self._queues.get(features or "")
        candidates = [held, *self._queues.values()] if held else self._queues.values()
        queue = next((queue for queue in candidates if queue.ready and queue.trials), None)
        return queue.trials.pop(next(iter(queue.trials))) if queue else None

    def next_trials(self, features: str | None, most: int) -> list[TrialJob]:
        """`next_trial` and others that can share its steps, best ones on the same features, up to `most`; none if there is none."""
        first = self.next_trial(features)
        if first is None or most == 1 or first.kind is None or first.key in self._never_packed:
            return [first] if first else []
        chosen = [first]
        held = self._queues[first.features.key]  # type: ignore[union-attr]
        for queue in [held, *(other for other in self._queues.values() if other is not held)]:
            for key, trial in list(queue.trials.items()) if queue.ready else ():
                if len(chosen) >= most:
                    return chosen
                if trial.kind == first.kind and key not in self._never_packed:
                    chosen.append(queue.trials.pop(key))
        return chosen

    def waiting_to_begin(self) -> int:
        """How many trainings wait, whether their features are there or not."""
        return sum(len(queue.trials) for queue in self._queues.values())

    def keep_alone(self, trials: Iterable[TrialJob]) -> None:
        """From now on these share no worker: one of them may be what kills it."""
        self._never_packed.update(trial.key for trial in trials)

    def next_features(self) -> tuple[FeatureRequest, list[Reference]] | None:
        """Features to prepare, with the references wanted of them; the caller tells by `prepared` how that went."""
        now = self._clock.now()
        missing = (queue for queue in self._queues.values() if queue.trials and not queue.ready and not queue.preparing)
        queue = next((queue for queue in missing if queue.not_before <= now), None)
        if queue is None:
            return None
        queue.preparing = True
        wanted = {trial.reference_key: trial.settings.needs().reference for trial in queue.open.values()}
        return queue.request, [reference for reference in wanted.values() if reference is not None]

    def prepared(self, key: str, ready: bool, pause: float = 0.0) -> None:
        """Preparing is over; if they are not `ready`, it is tried again after `pause` seconds."""
        queue = self._queues.get(key)
        if queue is not None:  # otherwise the last training that needed them is over
            queue.preparing, queue.ready, queue.not_before = False, ready, self._clock.now() + pause

    def spoilt(self, key: str) -> None:
        """The store no longer has these features."""
        self._queues[key].ready = False

    def waiting(self, key: str) -> list[TrialJob]:
        """Trainings that wait for these features, or were put off."""
        queue = self._queues.get(key)
        if queue is None:
            return []
        return [trial for trial in queue.open.values() if trial.key in queue.trials or trial.key in self._put_off]

    def put_back(self, trial: TrialJob) -> None:
        """It has to be done again, before the others."""
        queue = self._queues[trial.features.key]  # type: ignore[union-attr]
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
        assert trial.features is not None
        queue = self._queues[trial.features.key]
        queue.trials.pop(trial.key, None)
        self._put_off.pop(trial.key, None)
        del queue.open[trial.key]
        if not queue.open:
            del self._queues[trial.features.key]
