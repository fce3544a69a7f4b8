"""Workers that measure how fast they are, on one node of each kind, all of a node at the same time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from fod_bench.errors import ClusterError
from fod_bench.records.failures import Failure
from fod_bench.runs.choice import Machine, crew
from fod_bench.runs.executor import Executor, SpeedMeasured, WorkerLost
from fod_bench.runs.messages import Speed, SpeedTask
from fod_bench.runs.resources import Share
from fod_bench.text import counted

START_SECONDS = 120.0
"""Time that workers have to start, on a busy machine, too."""
CANDIDATE_SECONDS = 120.0
"""After which a candidate that has told nothing is given up."""
MOST_LOSSES = 3
"""Losses of each worker, on average, while they start."""
_LOOK_SECONDS = 0.1
"""Time between two looks at workers that start."""


class Crews:
    """Workers on one node of each kind: as many as any of the shares has at work there."""

    def __init__(
        self, executor: Executor, machines: Sequence[Machine], offered: Sequence[Share], most: int | None
    ) -> None:
        self._executor, self._machines, self._most = executor, machines, most
        # The least that one of them has: with more cores each, fewer are at work.
        self._share = Share(min(share.cpus for share in offered), min(share.gpus for share in offered))
        self._sizes = {
            number: max(crew(share, machine.node, most) for share in offered) for number, machine in enumerate(machines)
        }
        self._workers: dict[int, list[int]] = {number: [] for number in range(len(machines))}
        self.reason = ""
        """Why what was asked for last could not be measured."""

    def holding(self, share: Share) -> list[int]:
        """Places of the machines that have room for such a worker."""
        return [number for number, machine in enumerate(self._machines) if share.fit([machine.node])]

    def measure(self, share: Share, task: SpeedTask) -> dict[int, Speed | None]:
        """By machine: the mean speed of as many workers as the share makes, all at work; None where one cannot do it, for the
        `reason` that is known then.

        Raises `ClusterError`: workers do not start.
        """
        sizes = {number: crew(share, self._machines[number].node, self._most) for number in self.holding(share)}
        self.start()
        waited_for = {worker: number for number, size in sizes.items() for worker in self._workers[number][:size]}
        for worker in waited_for:
            self._executor.measure(worker, task)
        told: dict[int, list[Speed | None]] = {number: [] for number in sizes}
        until = self._executor.clock.now() + CANDIDATE_SECONDS
        while waited_for and self._executor.clock.now() < until:
            for event in self._executor.wait(_LOOK_SECONDS):
                if isinstance(event, WorkerLost):
                    self._forget(event.worker)
                    self.reason = event.reason
                elif isinstance(event, SpeedMeasured) and isinstance(event.speed, Failure):
                    self.reason = event.speed.reason
                elif not isinstance(event, SpeedMeasured):
                    continue
                speed = event.speed if isinstance(event, SpeedMeasured) and isinstance(event.speed, Speed) else None
                if event.worker in waited_for:
                    told[waited_for.pop(event.worker)].append(speed)
        for worker, number in waited_for.items():
            self._executor.kill(worker)
            self._forget(worker)
            self.reason = f"no step and evaluation ended within {CANDIDATE_SECONDS:.0f} s"
            told[number].append(None)
        return {number: _mean(speeds) for number, speeds in told.items()}

    def _forget(self, worker: int) -> None:
        for workers in self._workers.values():
            if worker in workers:
                workers.remove(worker)

    def start(self) -> None:
        """Start the workers that are missing. Raises `ClusterError`."""
        starting: dict[int, int] = {}
        for number, size in self._sizes.items():
            for _ in range(size - len(self._workers[number])):
                starting[self._started(number)] = number
        until, losses = self._executor.clock.now() + START_SECONDS, 0
        while starting:
            for event in self._executor.wait(_LOOK_SECONDS):
                number = starting.pop(event.worker, -1)
                if isinstance(event, WorkerLost):
                    self._forget(event.worker)
                    losses += 1
                    if losses > MOST_LOSSES * sum(self._sizes.values()):
                        raise ClusterError(f"workers do not start: {event.reason}")
                    if number >= 0:
                        starting[self._started(number)] = number
            if starting and self._executor.clock.now() >= until:
                raise ClusterError(
                    f"{counted(len(starting), 'worker')} did not start within {START_SECONDS:.0f} s, so what is best here cannot "
                    "be measured: the cluster may be busy; say what a trial is to have (--set resources.cpus=1 --set pack=1)"
                )

    def _started(self, number: int) -> int:
        names = self._machines[number].names
        there = self._executor.nodes()
        worker = self._executor.start(self._share, next((name for name in names if name in there), names[0]))
        self._workers[number].append(worker)
        return worker

    def end(self) -> None:
        """Let the workers go."""
        for worker in [worker for workers in self._workers.values() for worker in workers]:
            with suppress(ClusterError):
                self._executor.kill(worker)


def _mean(speeds: Sequence[Speed | None]) -> Speed | None:
    """Of workers at the same work; None where one could not do it."""
    there = [speed for speed in speeds if speed is not None]
    if not there or len(there) < len(speeds):
        return None
    step, image = (sum(times) / len(there) for times in list(zip(*there, strict=True))[:2])
    return Speed(step, image, there[0].evaluations)


@contextmanager
def crews_of(
    executor: Executor, machines: Sequence[Machine], offered: Sequence[Share], most: int | None
) -> Iterator[Crews]:
    """Workers on one node of each kind, for as long as the block lasts."""
    crews = Crews(executor, machines, offered, most)
    try:
        yield crews
    finally:
        crews.end()
