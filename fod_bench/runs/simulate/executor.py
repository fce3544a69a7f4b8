"""The executor on simulated nodes, with the means to disturb them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import NamedTuple

from fod_bench.records.record import Trial
from fod_bench.runs.executor import Event, LossKind, SpeedMeasured, StatusReport, WorkEnded, WorkerLost
from fod_bench.runs.messages import Attempt, SetTask, SpeedTask, Status
from fod_bench.runs.placement import Room
from fod_bench.runs.resources import NodeResources, Share
from fod_bench.runs.simulate.behaviour import Behaviour
from fod_bench.runs.simulate.work import SimulatedWork, Task
from fod_bench.store import Store


class SimulatedClock:
    """Begins at 0; nobody waits for it."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        """See `Clock`."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        self._now += max(0.0, seconds)


@dataclass(eq=False)
class _Worker:
    number: int
    share: Share
    preferred: str
    """The node that it was asked to be on."""
    node: str | None = None
    """None while no node has room for it."""
    started: bool = False
    silent: bool = False
    """Nothing comes from it any more, though it may work on."""
    tasks: list[Task] = field(default_factory=list)
    since: float = 0.0
    """When these began."""


class Span(NamedTuple):
    """A worker at work."""

    worker: int
    node: str
    share: Share
    keys: list[str]
    """Of the sets or trainings."""
    training: bool
    since: float
    until: float


@dataclass(eq=False)
class _Node:
    resources: NodeResources
    workers: list[_Worker] = field(default_factory=list)
    alive: bool = True

    def has_room(self, share: Share) -> bool:
        room = Room(self.resources)
        for worker in self.workers:
            room.take(worker.share)
        return self.alive and room.take(share)


class SimulatedExecutor:
    """See `fod_bench.runs.executor.Executor`. Of a trial that is done the store gets an empty record."""

    def __init__(self, store: Store, nodes: Sequence[NodeResources], behaviour: Behaviour | None = None) -> None:
        self.clock = SimulatedClock()
        self.work = SimulatedWork(store, self.clock)
        self.handed_out: list[tuple[int, list[str]]] = []
        """Every piece of work, or pack, that a worker was given: its number, and the keys."""
        self.spans: list[Span] = []
        """What workers were at work on, as it ended."""
        self.requested: Mapping[Share, int] = {}
        """What nodes were asked for last."""
        self.growing = False
        self._behaviour = behaviour or Behaviour()
        self._nodes: dict[str, _Node] = {}
        self._workers: dict[int, _Worker] = {}
        self._worker_numbers, self._turns = count(), count()
        self._agenda: list[tuple[float, int, Callable[[], object]]] = []
        self._events: list[Event] = []
        self._reported_at = float("-inf")
        for node in nodes:
            self.add_node(node)

    # What the scheduler asks.

    def nodes(self) -> dict[str, NodeResources]:
        """See `Executor`."""
        return {name: node.resources for name, node in self._nodes.items() if node.alive}

    def grows(self) -> bool:
        """See `Executor`; what was asked for is seen in `requested`."""
        return self.growing

    def ask_for(self, workers: Mapping[Share, int]) -> None:
        """See `Executor`."""
        self.requested = dict(workers)

    def start(self, share: Share, node: str) -> int:
        """See `Executor`."""
        worker = _Worker(next(self._worker_numbers), share, node)
        self._workers[worker.number] = worker
        self._place()
        return worker.number

    def prepare(self, worker: int, tasks: Sequence[SetTask]) -> None:
        """See `Executor`."""
        begun = []
        for request, references, attempt in tasks:
            finish = partial(self._behaviour.prepare, request, references)
            seconds = self._behaviour.prepare_seconds(request, self._workers[worker].share)
            begun.append(Task(request.key, attempt, None, seconds, finish))
        self._begin(worker, begun)

    def train(self, worker: int, tasks: Sequence[tuple[Trial, Attempt]]) -> None:
        """See `Executor`."""
        behaviour, share = self._behaviour, self._workers[worker].share
        begun = []
        for trial, attempt in tasks:
            finish = partial(behaviour.train, trial, share, len(tasks))
            begun.append(Task(trial.key, attempt, trial, behaviour.train_seconds(trial, share), finish))
        self._begin(worker, begun)

    def measure(self, worker: int, task: SpeedTask) -> None:
        """See `Executor`."""
        self.at(self.clock.now() + self._behaviour.measure_seconds, partial(self._measured, worker, task))

    def stop(self, worker: int) -> None:
        """See `Executor`."""
        self.at(self.clock.now() + self._behaviour.stop_seconds, partial(self._stopped, worker))

    def kill(self, worker: int) -> None:
        """See `Executor`. One that is silent is out of reach, and works on."""
        one = self._workers.get(worker)
        if one is not None:
            if not one.silent:
                self._break_off(one)
            self._remove(one)

    def wait(self, seconds: float) -> list[Event]:
        """See `Executor`."""
        end = self.clock.now() + seconds
        while not self._events and self._agenda and self._agenda[0][0] <= end:
            time, _, action = heappop(self._agenda)
            self.clock.sleep(time - self.clock.now())
            action()
        if not self._events:
            self.clock.sleep(end - self.clock.now())
        if self.clock.now() - self._reported_at >= self._behaviour.status_seconds:
            self._reported_at = self.clock.now()
            heard = [worker for worker in self._workers.values() if worker.started and not worker.silent]
            self._events += map(self._report_of, heard)
        events, self._events = self._events, []
        return events

    # What happens to the cluster; see also `work`.

    def at(self, time: float, action: Callable[[], object]) -> None:
        """Do something when the clock shows `time`. What it raises, such as KeyboardInterrupt, `wait` raises."""
        heappush(self._agenda, (time, next(self._turns), action))

    def add_node(self, resources: NodeResources) -> str:
        """A node joins; its name."""
        name = f"node{len(self._nodes)}"
        self._nodes[name] = _Node(resources)
        self._place()
        return name

    def lose_node(self, name: str) -> None:
        """A node goes, with its workers; that is noticed after a while."""
        self._nodes[name].alive = False
        for worker in self._nodes[name].workers:
            self._break_off(worker)
            worker.silent = True
            self.at(self.clock.now() + self._behaviour.notice_seconds, partial(self._lose, worker, "node"))

    def leave_node(self, name: str) -> None:
        """A node is taken away with notice: its trials leave checkpoints first."""
        for worker in self._nodes[name].workers:
            self.stop(worker.number)
        self.at(self.clock.now() + 2 * self._behaviour.stop_seconds, partial(self.lose_node, name))

    def lose(self, worker: int, kind: LossKind) -> None:
        """A worker is lost; one that is `unreachable` works on."""
        one = self._workers[worker]
        if kind != "unreachable":
            self._break_off(one)
        self._lose(one, kind)

    def silence(self, worker: int) -> None:
        """A worker is cut off: it works on, but nothing is heard of it, not even that it is lost."""
        self._workers[worker].silent = True

    def working(self) -> list[int]:
        """Workers that have something to do and can be heard."""
        return [worker.number for worker in self._workers.values() if worker.tasks and not worker.silent]

    def node_of(self, worker: int) -> str | None:
        """Name of a worker's node; None while no node has room for it."""
        return self._workers[worker].node

    # What workers do.

    def _place(self) -> None:
        """Start workers that wait, on nodes that have room for them."""
        for worker in self._workers.values():
            if worker.node is None:
                names = (worker.preferred, *self._nodes)
                name = next(
                    (name for name in names if name in self._nodes and self._nodes[name].has_room(worker.share)), None
                )
                if name is not None:
                    worker.node = name
                    self._nodes[name].workers.append(worker)
                    self.at(self.clock.now() + self._behaviour.startup_seconds, partial(self._started, worker))

    def _started(self, worker: _Worker) -> None:
        if worker.number in self._workers and not worker.silent:
            loss = self._behaviour.startup_loss(worker.number)
            if loss is None:
                worker.started = True
                self._events.append(self._report_of(worker))
            else:
                self._lose(worker, loss)

    def _begin(self, number: int, tasks: list[Task]) -> None:
        worker = self._workers[number]
        assert worker.started and not worker.tasks, f"worker {number} was given work while it had some"
        worker.tasks, worker.since = tasks, self.clock.now()
        self.handed_out.append((number, [task.key for task in tasks]))
        for task in tasks:
            self.at(self.work.begin(task), partial(self._end, worker, task))

    def _end(self, worker: _Worker, task: Task) -> None:
        """A task's time is over; the worker answers when that of its last one is."""
        if not task.ended:
            later = self.work.end(task)
            if later is None:
                self._answer(worker)
            else:
                self.at(later, partial(self._end, worker, task))

    def _measured(self, number: int, task: SpeedTask) -> None:
        worker = self._workers.get(number)
        if worker is not None:
            came = self._behaviour.speed(task, worker.share)
            if isinstance(came, str):
                self._lose(worker, came)
            else:
                self._events.append(SpeedMeasured(number, came))

    def _stopped(self, number: int) -> None:
        worker = self._workers.get(number)
        if worker is not None:
            for task in worker.tasks:
                self.work.stop(task)
            self._answer(worker)

    def _answer(self, worker: _Worker) -> None:
        if worker.tasks and all(task.ended for task in worker.tasks) and not worker.silent:
            outcomes = [task.outcome for task in worker.tasks if task.outcome is not None]
            self._note(worker)
            worker.tasks = []
            self._events.append(WorkEnded(worker.number, outcomes))

    def _break_off(self, worker: _Worker) -> None:
        for task in worker.tasks:
            self.work.break_off(task)

    def _lose(self, worker: _Worker, kind: LossKind) -> None:
        if worker.number in self._workers:
            self._remove(worker)
            self._events.append(WorkerLost(worker.number, kind, f"simulated: {kind}"))

    def _remove(self, worker: _Worker) -> None:
        """It is none of ours any more; should it work on, nobody is told."""
        del self._workers[worker.number]
        worker.silent = True
        self._note(worker)
        if worker.node is not None:
            self._nodes[worker.node].workers.remove(worker)
            self._place()

    def _note(self, worker: _Worker) -> None:
        if worker.tasks and worker.node is not None:
            keys, training = [task.key for task in worker.tasks], worker.tasks[0].trial is not None
            self.spans.append(
                Span(worker.number, worker.node, worker.share, keys, training, worker.since, self.clock.now())
            )

    def _report_of(self, worker: _Worker) -> StatusReport:
        return StatusReport(worker.number, self._statuses(worker), worker.node or worker.preferred)

    def _statuses(self, worker: _Worker) -> list[Status]:
        node, now = worker.node or "", self.clock.now()
        return [task.status(now, node) for task in worker.tasks] or [Status(node=node)]
