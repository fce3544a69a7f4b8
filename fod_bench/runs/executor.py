"""What the scheduler asks of whoever has the workers: a cluster of Ray's, or a simulator.

A worker is known by its number. It starts some time after it was asked for, tells its status from then on without being asked, and
does one piece of work at a time. Whatever becomes of it is told as an event, once; after `WorkerLost` or `kill` nothing more is
heard of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from fod_bench.records.failures import Failure
from fod_bench.records.record import Trial
from fod_bench.records.state import DriverState
from fod_bench.runs.messages import Attempt, Outcome, Prepared, SetTask, Speed, SpeedTask, Status
from fod_bench.runs.resources import NodeResources, Share

LossKind: TypeAlias = Literal["killed", "memory", "node", "unreachable", "startup"]
"""`killed`: its process ended, on a node that is still there; `memory`: it was ended because its node had no memory left;
`node`: its node is gone; `unreachable`: it does not answer, and nothing is known of its end; `startup`: it did not start."""

_REASONS: dict[LossKind, str] = {
    "killed": "its worker was lost",
    "memory": "its worker was ended, as its machine ran out of memory",
    "node": "its machine was lost",
    "unreachable": "its worker is out of reach",
}


@dataclass(frozen=True)
class StatusReport:
    """A worker has said how far it is; the first time, that it has started."""

    worker: int
    statuses: Sequence[Status]
    """One for each piece of work, or one that says it is idle."""
    node: str
    """Name of its node, as `Executor.nodes` has it."""


@dataclass(frozen=True)
class WorkEnded:
    """A worker is through with its work, and idle."""

    worker: int
    outcomes: Sequence[Outcome | Prepared]
    """One for each piece, in the order they were given."""


@dataclass(frozen=True)
class SpeedMeasured:
    """A worker has measured how fast it is, and is idle."""

    worker: int
    speed: Speed | Failure
    """Or why it cannot be measured."""


@dataclass(frozen=True)
class WorkerLost:
    """A worker is gone, and with it the work at hand."""

    worker: int
    kind: LossKind
    details: str = ""
    """Everything known, for the log."""

    @property
    def reason(self) -> str:
        """A few words for people, seen from the work at hand; of a worker that did not start, the last line of what it said."""
        return _REASONS.get(self.kind) or (self.details.strip().splitlines() or ["no reason is known"])[-1].strip()


Event: TypeAlias = StatusReport | WorkEnded | SpeedMeasured | WorkerLost


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> float:
        """Seconds since some moment; never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        ...


class SystemClock:
    """The machine's own."""

    def now(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        time.sleep(seconds)


class Executor(Protocol):
    """Starts workers, hands them work, and tells what becomes of it.

    Nothing here waits but `wait`. Every method but `kill` raises `ClusterError` when the cluster as a whole is gone; a single node
    or worker that goes is an event.
    """

    @property
    def clock(self) -> Clock:
        """By which `wait` measures."""
        ...

    def nodes(self) -> dict[str, NodeResources]:
        """What each living node has, whoever uses it, by its name; nodes come and go."""
        ...

    def grows(self) -> bool:
        """Whether nodes are to be had by asking for them."""
        ...

    def ask_for(self, workers: Mapping[Share, int]) -> None:
        """Say how many workers of each share there is work for, until the next call: nodes come and, when there is less, go."""
        ...

    def start(self, share: Share, node: str) -> int:
        """Start a worker with this share, as soon as this node has room for it, or another if it has none now; its number."""
        ...

    def prepare(self, worker: int, tasks: Sequence[SetTask]) -> None:
        """Have an idle worker see that the store has these sets, which are made in one pass, and the references wanted of them."""
        ...

    def train(self, worker: int, tasks: Sequence[tuple[Trial, Attempt]]) -> None:
        """Have an idle worker do these trials, all at once."""
        ...

    def measure(self, worker: int, task: SpeedTask) -> None:
        """Have an idle worker measure how fast it is."""
        ...

    def stop(self, worker: int) -> None:
        """Ask a worker to leave checkpoints of its trials and end them."""
        ...

    def kill(self, worker: int) -> None:
        """End a worker; nothing happens to one that is gone."""
        ...

    def wait(self, seconds: float) -> list[Event]:
        """What has happened since the last call: at once when work has ended or a worker was lost, else after `seconds`."""
        ...


@runtime_checkable
class Publishes(Protocol):
    """An executor whose cluster somebody may be watching."""

    def publish(self, state: DriverState) -> None:
        """Tell the watchers how far the run is; from any thread, every few seconds."""
        ...


class OpenExecutor(Protocol):
    """How a run comes by its executor, which it needs only if there is work; see `fod_bench.cluster.open`."""

    def __call__(
        self, store_uri: str, expected_object: str, note: Callable[[str], None]
    ) -> AbstractContextManager[Executor]:
        """An executor for as long as the block lasts. Raises `ClusterError` when it cannot be had.

        Args:
            store_uri: the store that workers use.
            expected_object: name of an object there, by which a worker knows that it has the same one.
            note: is told what a person should read.
        """
        ...
