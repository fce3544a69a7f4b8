"""The executor on Ray: every worker is an actor. See `fod_bench.runs.executor` for what the methods promise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fod_bench.cluster.actor import RemoteWorker
from fod_bench.cluster.autoscaler import has_autoscaler, request_workers
from fod_bench.cluster.gpus import ANSWER_SECONDS, GpuMemory
from fod_bench.cluster.losses import loss_kind
from fod_bench.cluster.metrics import DriverMetrics
from fod_bench.cluster.watch import Watch
from fod_bench.errors import ClusterError
from fod_bench.records.record import Trial
from fod_bench.records.state import DriverState
from fod_bench.runs.executor import Event, SpeedMeasured, StatusReport, SystemClock, WorkEnded, WorkerLost
from fod_bench.runs.messages import Attempt, SetTask, SpeedTask
from fod_bench.runs.resources import NodeResources, Share

_ACCELERATOR = "accelerator_type:"
"""How Ray names the kind of a node's GPUs among its resources."""
STATUS_SECONDS = 0.5
"""Shortest time between two questions for a worker's status."""


@dataclass(eq=False)
class _Member:
    """One worker."""

    number: int
    actor: Any
    task: Any = None
    """Reference of the call under way; None when idle."""
    asked: Any = None
    """Reference of a status call under way."""
    asked_at: float = float("-inf")
    node_id: str | None = None
    """Ray's name of its node; None until it has told its status."""
    asked_for: str = ""
    """The node that it was asked to be on."""


class RayPool:
    """Workers on the Ray that this process is connected to."""

    def __init__(
        self, store_uri: str, expected_object: str, watch: Watch | None = None, worker: type = RemoteWorker
    ) -> None:
        """`expected_object`: by which a worker knows that it has the same store. `watch`: knows whether Ray is still there, where
        calls would wait for a minute. `worker`: class of the actors."""
        self._given = store_uri, expected_object
        self._watch = watch
        remote: Any = ray.remote  # its stubs lack concurrency groups
        self._worker = remote(concurrency_groups={"control": 1})(worker)
        self.clock = SystemClock()
        self._gpus = GpuMemory(self.clock)
        self._gpus_wait = ANSWER_SECONDS
        self._numbers = count()
        self._members: dict[int, _Member] = {}
        self._events: list[Event] = []
        self._metrics = DriverMetrics()

    def nodes(self) -> dict[str, NodeResources]:
        """See `Executor`."""
        self._check()
        alive = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
        with_gpus = [name for name, has in alive.items() if has.get("GPU")]
        memory, self._gpus_wait = (
            self._gpus.of(with_gpus, self._gpus_wait),
            0.0,
        )  # before the run begins, by which shares are cut
        return {name: _resources(has, memory.get(name, 0.0)) for name, has in alive.items()}

    def grows(self) -> bool:
        """See `Executor`."""
        self._check()
        return has_autoscaler()

    def ask_for(self, workers: Mapping[Share, int]) -> None:
        """See `Executor`."""
        if self._answers() and has_autoscaler():
            request_workers(workers)

    def start(self, share: Share, node: str) -> int:
        """See `Executor`."""
        where = NodeAffinitySchedulingStrategy(node, soft=True, _spill_on_unavailable=True)
        kind = self._worker.options(num_cpus=share.cpus, num_gpus=share.gpus, scheduling_strategy=where)
        store_uri, expected_object = self._given
        number = next(self._numbers)
        self._members[number] = _Member(number, kind.remote(store_uri, share, expected_object), asked_for=node)
        return number

    def prepare(self, worker: int, tasks: Sequence[SetTask]) -> None:
        """See `Executor`."""
        if worker in self._members:  # its loss may not have been told yet
            member = self._members[worker]
            member.task = member.actor.prepare.remote(list(tasks))

    def train(self, worker: int, tasks: Sequence[tuple[Trial, Attempt]]) -> None:
        """See `Executor`."""
        if worker in self._members:
            member = self._members[worker]
            member.task = member.actor.train.remote(list(tasks))

    def measure(self, worker: int, task: SpeedTask) -> None:
        """See `Executor`."""
        if worker in self._members:
            member = self._members[worker]
            member.task = member.actor.measure.remote(task)

    def stop(self, worker: int) -> None:
        """See `Executor`."""
        if not self._answers():
            raise ClusterError("Ray does not answer")
        if worker in self._members:
            self._members[worker].actor.stop.options(concurrency_group="control").remote()

    def kill(self, worker: int) -> None:
        """See `Executor`."""
        member = self._members.pop(worker, None)
        if member is not None and self._answers():
            with suppress(RayError, ValueError):  # it is gone, or Ray is
                ray.kill(member.actor)

    def wait(self, seconds: float) -> list[Event]:
        """See `Executor`. Raises `LostRayError` when Ray is gone."""
        self._check()
        self._ask()
        tasks = {member.task: member for member in self._members.values() if member.task is not None}
        if tasks:
            ray.wait(list(tasks), num_returns=1, timeout=seconds)
        else:
            self.clock.sleep(seconds)
        for task in _ready(tasks):
            self._collect_work(tasks[task])
        asked = {member.asked: member for member in self._members.values() if member.asked is not None}
        for question in _ready(asked):
            self._collect_status(asked[question])
        events, self._events = self._events, []  # an interrupt before this loses none
        return events

    def publish(self, state: DriverState) -> None:
        """See `fod_bench.runs.executor.Publishes`."""
        self._metrics.publish(state)

    def _answers(self) -> bool:
        return self._watch is None or self._watch.answers

    def _check(self) -> None:
        if self._watch is not None:
            self._watch.check()

    def _ask(self) -> None:
        """Ask workers for their status, without waiting for busy or starting ones."""
        now = self.clock.now()
        for member in self._members.values():
            if member.asked is None and now - member.asked_at >= STATUS_SECONDS:
                member.asked_at = now
                member.asked = member.actor.status.options(concurrency_group="control").remote()

    def _collect_work(self, member: _Member) -> None:
        try:
            came = ray.get(member.task)
        except RayError as error:
            self._lose(member, error)
            return
        member.task = None
        told = WorkEnded(member.number, came) if isinstance(came, list) else SpeedMeasured(member.number, came)
        self._events.append(told)

    def _collect_status(self, member: _Member) -> None:
        try:
            member.node_id, statuses = ray.get(member.asked)
        except RayError as error:
            member.asked = None
            if member.task is None:  # otherwise the end of its work tells what became of it
                self._lose(member, error)
            return
        member.asked = None
        self._events.append(StatusReport(member.number, statuses, member.node_id or member.asked_for))

    def _lose(self, member: _Member, error: RayError) -> None:
        node = member.node_id or member.asked_for
        kind = loss_kind(error, member.node_id is not None, lambda: _node_lost(node))
        self.kill(member.number)  # one that is only out of reach must not go on working unseen
        self._events.append(WorkerLost(member.number, kind, str(error)))


def _resources(has: Mapping[str, float], gpu_memory: float) -> NodeResources:
    cpus, gpus, memory = (has.get(kind, 0.0) for kind in ("CPU", "GPU", "memory"))
    kind = next((name.removeprefix(_ACCELERATOR) for name in has if name.startswith(_ACCELERATOR)), "")
    return NodeResources(cpus, gpus, memory, gpu_memory, kind)


def _ready(references: dict[Any, _Member]) -> Iterator[Any]:
    """Those of Ray's references whose calls have ended."""
    if references:
        ended, _ = ray.wait(list(references), num_returns=len(references), timeout=0)
        yield from ended


def _node_lost(node_id: str | None) -> bool:
    """Whether a node is gone, and not only a process on it."""
    return all(node["NodeID"] != node_id or not node["Alive"] for node in ray.nodes())
