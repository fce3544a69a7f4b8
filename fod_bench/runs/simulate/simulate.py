"""A plan on a cluster that need not be there: how long it takes, what it costs, how busy it is. The scheduler is a run's own."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import cast

from rich.console import Console

from fod_bench.errors import FodBenchError
from fod_bench.features.request import SetRequest
from fod_bench.job import Job, Resources
from fod_bench.plan import Plan, TrialJob
from fod_bench.plan.durations import Durations
from fod_bench.plan.timing import EXTRACTION_SECONDS, GPU_EXTRACTION_SECONDS
from fod_bench.records.record import Trial
from fod_bench.runs.budget import Allowance, Budget, check_holds, left_out
from fod_bench.runs.order import Order, ranks_of
from fod_bench.runs.progress import Progress
from fod_bench.runs.resources import Share, shares_of
from fod_bench.runs.scheduler import Scheduler
from fod_bench.runs.simulate.behaviour import Behaviour
from fod_bench.runs.simulate.cluster_form import Group
from fod_bench.runs.simulate.executor import SimulatedExecutor, Span
from fod_bench.runs.simulate.memory_store import MemoryStore
from fod_bench.runs.simulate.stand_ins import StandIn, StandIns

_TICK_SECONDS = 5.0
"""A simulated cluster tells at once what has ended; the scheduler looks at it without that as seldom as it scales."""
_LEASE_SECONDS = 3600.0
IDLE_SECONDS = 300.0
"""After which Ray's autoscaler takes an idle node away, where its file says nothing else."""
STEADY = 0.9
"""Part of a run after which workers may fall idle since nothing is left for them."""


class ExpectedBehaviour(Behaviour):
    """Everything takes as long as it is expected to, and ends well."""

    status_seconds = 60.0

    def __init__(self, durations: Durations, trials: Sequence[TrialJob]) -> None:
        self._durations = durations
        self._trials = {trial.key: trial for trial in trials}

    def prepare_seconds(self, request: SetRequest, share: Share) -> float:
        """See `Behaviour`."""
        made = cast(StandIn, request)
        if made.stored:
            return 1.0
        return 1.0 + made.images * (GPU_EXTRACTION_SECONDS if share.gpus else EXTRACTION_SECONDS / share.threads)

    def train_seconds(self, trial: Trial, share: Share) -> float:
        """See `Behaviour`."""
        job = self._trials[trial.key]
        return self._durations.estimate(job, gpu=share.gpus > 0, threads=share.threads) / share.speed


@dataclass(frozen=True)
class Simulated:
    """What a simulation comes to."""

    groups: list[Group]
    trainings: int
    """Done; measurements of cost among them."""
    uncounted: int
    """Left out of it, since their images cannot be counted."""
    left_out: list[str]
    """By the budget, see `Counts.left_out`."""
    seconds: float
    """From the start of the first worker to the end of the last training."""
    bound: float
    """Seconds below which no order comes: all work spread evenly over all GPUs, or CPUs, or the longest training."""
    use: float
    """Part of the GPUs, or of the CPUs where there are none, that is at work, until the last tenth of the time."""
    use_of_needed: float
    """The same of those that trainings were left for: with fewer left than there are GPUs, the others have nothing to do."""
    dollars: float
    """Of all nodes, to the end."""
    dollars_given_back: float
    """Of each node until the last of its work has ended, and it has been idle for as long as an autoscaler waits."""
    measured: int
    """Trainings whose time records tell; that of the others is assumed."""
    spans: list[Span]
    trials: dict[str, TrialJob]
    """By the keys in the spans."""

    @property
    def gpus(self) -> int:
        """Of all nodes."""
        return sum(group.nodes * int(group.node.gpus) for group in self.groups)


def simulate(
    plan: Plan,
    left: Sequence[TrialJob],
    stored: frozenset[str],
    durations: Durations,
    groups: list[Group],
    *,
    budget: Budget | None = None,
    behaviour: type[ExpectedBehaviour] = ExpectedBehaviour,
) -> Simulated:
    """Do what is `left` of a plan on a cluster of these groups.

    Args:
        stored: keys of the sets of features and images that the store has.
        durations: what records tell.
        behaviour: how long things take there.

    Raises:
        FodBenchError: nothing is left, or no worker fits the cluster, or the budget holds nothing.
    """
    durations = durations.on(next((group.node.gpu for group in groups if group.node.gpu), ""))
    stand_ins = StandIns(stored)
    trials = [stand_ins.of(trial) for trial in left if trial.counts is not None]
    if not trials:
        raise FodBenchError("nothing is left to simulate: every training has a record, or its images cannot be counted")
    nodes = [group.node for group in groups for _ in range(group.nodes)]
    prices = [group.per_hour for group in groups for _ in range(group.nodes)]
    store = MemoryStore()
    executor = SimulatedExecutor(store, nodes, behaviour(durations, trials))
    resources, pack = supposed(plan.job)
    shares = shares_of(resources, nodes, trials, durations, pack=pack)
    order = Order(durations, ranks_of(plan.job, trials, by_value=budget is not None))
    progress = Progress(trials, Console(file=io.StringIO()), quiet=True)
    per_hour = sum(prices)
    allowance = None
    if budget is not None:
        each = per_hour / len(nodes)
        allowance = Allowance(budget, executor.clock, (lambda node: each) if isfinite(budget.dollars) else None)
        allowance.look(executor.nodes())
        check_holds(budget, allowance.seconds, (order.seconds(trial, shares.of(trial)) for trial in trials))
    rest = Scheduler(
        executor,
        store,
        shares,
        order,
        progress,
        driver="simulated",
        pack=pack,
        allowance=allowance,
        checkpoint_seconds=plan.job.checkpoint_seconds,
        lease_seconds=_LEASE_SECONDS,
        tick_seconds=_TICK_SECONDS,
    ).run(trials)
    per_hour_of = dict(zip(executor.nodes(), prices, strict=True))
    seconds = max((span.until for span in executor.spans), default=0.0)
    if not seconds:
        raise FodBenchError(
            f"nothing is done within the budget of {budget}: no worker of this cluster gets to a training"
        )
    steady = STEADY * seconds
    undone = {trial.key for trial in rest}
    done = [trial for trial in trials if trial.key not in undone]
    return Simulated(
        groups=groups,
        trainings=len(done),
        uncounted=len(left) - len(trials),
        left_out=left_out(rest, plan.trials.values()),
        seconds=seconds,
        bound=_bound(executor.spans, groups),
        use=_busy(executor.spans, groups, steady) / (_units(groups) * steady),
        use_of_needed=_busy(executor.spans, groups, steady) / _needed(executor.spans, groups, steady),
        dollars=per_hour * seconds / 3600,
        dollars_given_back=_given_back(executor, seconds, per_hour_of),
        measured=sum(durations.is_measured(trial, gpu=shares.of(trial).gpus > 0) for trial in done),
        spans=executor.spans,
        trials={trial.key: trial for trial in trials},
    )


def supposed(job: Job) -> tuple[Resources, int]:
    """What a trial gets and how many train together: as the job says, one CPU and no packs where a run would measure it."""
    resources, pack = job.resources, job.pack
    if resources.cpus == "auto":
        resources = resources.model_copy(update={"cpus": 1.0})
    return resources, 1 if pack == "auto" else int(pack)


def _units(groups: Sequence[Group]) -> float:
    """GPUs of all nodes; CPUs where there are none."""
    return sum(group.nodes * group.node.gpus for group in groups) or sum(
        group.nodes * group.node.cpus for group in groups
    )


def _takes(span: Span, groups: Sequence[Group]) -> float:
    """How many of these units."""
    return span.share.gpus if any(group.node.gpus for group in groups) else span.share.cpus


def _busy(spans: Sequence[Span], groups: Sequence[Group], until: float) -> float:
    """Seconds of units at work."""
    return sum(max(0.0, min(span.until, until) - span.since) * _takes(span, groups) for span in spans)


def _needed(spans: Sequence[Span], groups: Sequence[Group], until: float) -> float:
    """Seconds of units that trainings were left for: all units, or as many as those take that had not ended."""
    ends = sorted((span.until, _takes(span, groups)) for span in spans if span.training)
    left, now, needed = sum(takes for _, takes in ends), 0.0, 0.0
    for end, takes in ends:
        needed += (min(end, until) - min(now, until)) * min(left, _units(groups))
        left, now = left - takes, end
    return needed or 1.0


def _given_back(executor: SimulatedExecutor, seconds: float, per_hour: Mapping[str, float]) -> float:
    """See `Simulated.dollars_given_back`; a node that had no work is given back after as long."""
    last = dict.fromkeys(executor.nodes(), 0.0)
    for span in executor.spans:
        last[span.node] = max(last[span.node], span.until)
    return sum(min(seconds, end + IDLE_SECONDS) / 3600 * per_hour[node] for node, end in last.items())


def _bound(spans: Sequence[Span], groups: Sequence[Group]) -> float:
    """See `Simulated.bound`; of each training what it took the worker that did it."""
    gpus = sum(group.nodes * group.node.gpus for group in groups)
    cpus = sum(group.nodes * group.node.cpus for group in groups)
    trainings = [span for span in spans if span.training]
    on_gpus = sum((span.until - span.since) * span.share.gpus for span in trainings)
    on_cpus = sum((span.until - span.since) * span.share.cpus for span in trainings if not span.share.gpus)
    longest = max((span.until - span.since for span in trainings), default=0.0)
    return max(on_gpus / gpus if gpus else 0.0, on_cpus / cpus, longest)
