"""What simulated workers rely on and leave behind: claims, checkpoints, features, records, and a store that may be out of reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from fod_bench.records.failures import Failure
from fod_bench.records.names import record_name
from fod_bench.records.record import Trial
from fod_bench.runs.executor import Clock
from fod_bench.runs.messages import Attempt, Done, Outcome, Prepared, Status, Stopped, Taken
from fod_bench.store import Store
from fod_bench.store.open import RUN_PATIENCE

STEPS = 100
"""Steps that a simulated epoch has."""


@dataclass(eq=False)
class Task:
    """A piece of work at hand."""

    key: str
    attempt: Attempt
    trial: Trial | None
    """None for features."""
    seconds: float
    """Of the whole of it."""
    finish: Callable[[], Failure | Prepared | None]
    """What it comes to when its time is over; None: to a record."""
    since: float = 0.0
    """When it would have begun, had it been done in one go: checkpoints are behind it."""
    outcome: Outcome | Prepared | None = None
    """None while it is under way."""
    ended: bool = False
    """With an outcome, or with its worker."""

    def status(self, now: float, node: str) -> Status:
        """How far it is."""
        if self.trial is None:
            return Status("features", self.key, node=node)
        epochs = self.trial.setting.get("epochs", 0)
        steps = int(epochs * STEPS * min(1.0, (now - self.since) / self.seconds))
        return Status("trial", self.key, steps // STEPS, epochs, steps % STEPS, STEPS, node=node)


@dataclass(frozen=True)
class _Claim:
    attempt: str
    task: Task | None = None
    """What its holder does; None of one whose holder is gone, or is none of ours."""
    until: float = float("inf")
    """End of the lease, where no heartbeat comes any more."""


class SimulatedWork:
    """All that workers share.

    A claim keeps others out until its lease is over or its attempt is known to be lost; whoever takes over goes on from the last
    checkpoint; and a result is not taken once another has taken over.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self.refused = 0
        """Results of late workers that were not taken."""
        self._store, self._clock = store, clock
        self._claims: dict[str, _Claim] = {}
        self._checkpoints: dict[str, float] = {}
        self._features: dict[str, Prepared] = {}
        self._outage = float("-inf")

    def begin(self, task: Task) -> float:
        """Claim what is to be done, or settle it at once; when its time will be over."""
        now, key, claim = self._clock.now(), task.key, self._claims.get(task.key)
        made = self._features.get(key)
        wanted = () if task.trial is None else (key for form, key in task.trial.sets.items() if form != "truth")
        if any(one not in self._features for one in wanted):
            task.outcome = Failure("the features are gone", "", "features")
        elif task.trial is not None and self._store.exists(record_name(key)):
            task.outcome = Done(key, False)
        elif made is not None:
            task.outcome = replace(made, made=False, notes=())
        elif claim is not None and claim.until > now and claim.attempt != task.attempt.lost:
            task.outcome = Taken(key, "elsewhere")
        else:
            if claim is not None and claim.task is not None and not claim.task.ended:
                self._checkpoint(claim.task)
            self._claims[key] = _Claim(task.attempt.name, task)
            task.since = now - self._checkpoints.get(key, 0.0)
            return task.since + task.seconds
        return now

    def end(self, task: Task) -> float | None:
        """Its time is over: it has an outcome, unless the store is out of reach; then when to call again."""
        now, outage = self._clock.now(), self._outage - self._clock.now()
        if task.outcome is None and outage > 0:
            if outage <= RUN_PATIENCE:
                return self._outage
            task.outcome = Failure("the store cannot be reached", "", "store")
            return now + RUN_PATIENCE
        task.outcome, task.ended = task.outcome or self._result(task), True
        return None

    def stop(self, task: Task) -> None:
        """It was told to end: a trial leaves a checkpoint of where it is, and its claim."""
        if task.trial is not None and not task.ended and self._holds(task):
            self._checkpoints[task.key] = self._clock.now() - task.since
            del self._claims[task.key]
            task.outcome, task.ended = Stopped(task.key), True

    def break_off(self, task: Task) -> None:
        """It ends where it is, with its worker: no more heartbeats, and only the checkpoints there are."""
        if not task.ended and self._holds(task):
            self._checkpoint(task)
            self._claims[task.key] = _Claim(task.attempt.name, until=self._clock.now() + task.attempt.lease)
        task.ended = True

    def lose_store(self, seconds: float) -> None:
        """The store is out of reach for so long."""
        self._outage = self._clock.now() + seconds

    def lose_features(self, key: str) -> None:
        """The store no longer has these features."""
        self._features.pop(key, None)

    def claim_elsewhere(self, key: str, seconds: float) -> None:
        """Somebody else has claimed this work for so long."""
        self._claims[key] = _Claim("elsewhere", until=self._clock.now() + seconds)

    def _holds(self, task: Task) -> bool:
        claim = self._claims.get(task.key)
        return claim is not None and claim.task is task

    def _checkpoint(self, task: Task) -> None:
        """Note the last checkpoint that a trial under way has left."""
        if task.trial is not None:
            done, every = min(self._clock.now() - task.since, task.seconds), task.trial.checkpoint_seconds
            self._checkpoints[task.key] = done // every * every if every else done

    def _result(self, task: Task) -> Outcome | Prepared:
        if not self._holds(task):
            self.refused += 1
            return Taken(task.key, "")
        del self._claims[task.key]
        result = task.finish()
        if isinstance(result, Prepared):
            self._features[task.key] = result
        if result is None:
            first = self._store.create(record_name(task.key), b"{}")
            assert first, f"{task.key} was done twice"
            return Done(task.key, True)
        return result
