"""What `resources: auto` comes to: measured on the run's own workers when it starts, kept, and taken again when it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from math import isfinite
from typing import Any

from fod_bench.errors import ClusterError
from fod_bench.job import Job, Resources
from fod_bench.plan import TrialJob
from fod_bench.plan.durations import Durations
from fod_bench.records.chosen import (
    AskedResources,
    ChosenResources,
    MachineKind,
    MeasuredCandidate,
    chosen_resources,
    keep_chosen,
)
from fod_bench.runs.choice import (
    Candidate,
    Expected,
    Kind,
    Machine,
    choose,
    expected,
    idling,
    is_open,
    kinds_of,
    largest_need,
    machines_of,
    packs,
    search,
    shares,
    workers_of,
)
from fod_bench.runs.crews import Crews, crews_of
from fod_bench.runs.executor import Executor
from fod_bench.runs.messages import Speed, SpeedTask
from fod_bench.runs.resources import Share, share_of
from fod_bench.store import Store
from fod_bench.text import counted, format_seconds

STEP_SECONDS = 0.4
"""For which the steps of a candidate are timed at least."""
ENOUGH_SECONDS = 30.0
"""After which no further candidate is measured."""


def settled_resources(
    job: Job,
    run_id: str,
    store: Store,
    executor: Executor,
    work: Sequence[TrialJob],
    durations: Durations,
    workers: int | None,
    note: Callable[[str], None],
) -> tuple[Resources, int]:
    """The job's `resources` and `pack`, with numbers where it leaves them open.

    What was chosen before is taken again for no more work than it was chosen for, on machines like those. What could not be
    measured is not kept.

    Args:
        work: the trainings that are left.
        workers: at once at most.
        note: is told what was chosen.

    Raises:
        ClusterError: there is no node yet to measure on, no worker starts, or the cluster is gone.
        StoreError: what was chosen cannot be kept.
    """
    if not is_open(job.resources, job.pack):
        return job.resources, int(job.pack)
    nodes = executor.nodes()
    machines = machines_of(nodes)
    if not machines:
        raise ClusterError(
            "the cluster has no node yet that trains, so what is best there cannot be measured; say what a trial is to have "
            "(--set resources.cpus=1 --set pack=1)"
        )
    least = {"cpus": 1.0} if job.resources.cpus == "auto" else {}
    share_of(job.resources.model_copy(update=least), list(nodes.values()), executor.grows())  # or it is refused now
    asked = AskedResources(cpus=job.resources.cpus, gpus=job.resources.gpus, pack=job.pack, workers=workers)
    kinds_there = [
        MachineKind(nodes=len(each.names), cpus=each.node.cpus, gpus=each.node.gpus, gpu=each.node.gpu)
        for each in machines
    ]
    choice = _Choice(job, executor, machines, work, durations, workers)
    chosen = chosen_resources(store, run_id)
    if (
        chosen is not None
        and chosen.asked == asked
        and _known(kinds_there) <= _known(chosen.machines)
        and len(work) <= chosen.left
        and choice.may_have(chosen.gpus)
    ):
        note(f"resources {chosen.in_words()}, as chosen for this run on {chosen.created[:10]}")
    else:
        chosen = ChosenResources(run_id=run_id, asked=asked, machines=kinds_there, left=len(work), **choice.made())
        if any(candidate.seconds is not None for candidate in chosen.candidates):
            keep_chosen(store, chosen)
        note(f"resources {_told(chosen, choice.reason)}")
    return Resources(cpus=chosen.cpus, gpus=chosen.gpus), chosen.pack


def _known(machines: Sequence[MachineKind]) -> set[tuple[float, float, str]]:
    return {(each.cpus, each.gpus, each.gpu) for each in machines}


def _told(chosen: ChosenResources, reason: str) -> str:
    """One line for a person; `reason`: why something could not be measured."""
    if not chosen.candidates:
        return f"{chosen.in_words()}: nothing that is left can be measured"
    ends = [candidate.seconds for candidate in chosen.candidates if candidate.seconds is not None]
    candidates = (
        f"the best of {counted(len(chosen.candidates), 'candidate')} measured in {format_seconds(chosen.seconds)}"
    )
    if not ends:
        return (
            f"{chosen.in_words()}: none of {counted(len(chosen.candidates), 'candidate')} could be measured: {reason}"
        )
    others = f", at worst {format_seconds(max(ends))}" if len(ends) > 1 else ""
    end = f"about {format_seconds(min(ends))} of training{others}"
    return f"{chosen.in_words()}: {candidates} ({end}); {chosen.options()} takes the same unmeasured"


class _Choice:
    """Measures ways to share the machines out, and chooses one."""

    def __init__(
        self,
        job: Job,
        executor: Executor,
        machines: Sequence[Machine],
        work: Sequence[TrialJob],
        durations: Durations,
        workers: int | None,
    ) -> None:
        self._job, self._executor, self._most = job, executor, workers
        self.reason = ""
        has_gpu = any(machine.node.gpus >= 1 for machine in machines) and job.resources.gpus != 0
        wanting = [trial for trial in work if trial.settings.wants_gpu] if has_gpu else []
        # Where there are GPUs, what wants one is measured on these, and the rest, which ends soon, takes what is left. A number
        # holds for what wants none, too.
        self._on_gpu = bool(wanting) or (has_gpu and job.resources.gpus != "auto")
        costs = any(trial.measures_cost for trial in work)
        self._mixed = len(wanting) < len(work) or costs
        self._without_gpu = has_gpu and not self._on_gpu and not costs
        self._machines = [machine for machine in machines if machine.node.gpus or not self._on_gpu]
        self._measurable, self._durations = wanting or work, durations

    def may_have(self, gpus: float | str) -> bool:
        """Whether trials may have this part of a GPU, which was chosen for other work or is what the job says."""
        if gpus == self._job.resources.gpus:
            return True
        return not self._on_gpu if gpus == 0 else self._on_gpu and not self._mixed

    def made(self) -> dict[str, Any]:
        """What `ChosenResources` tells of a choice."""
        clock = self._executor.clock
        start = clock.now()
        self._kinds = kinds_of(self._measurable, partial(self._durations.seconds, gpu=self._on_gpu, threads=1))
        need = largest_need(self._measurable, self._machines, self._on_gpu)
        resources = self._job.resources
        if self._mixed and self._on_gpu:  # the share of a GPU is then each training's own, see `shares_of`
            resources = Resources(cpus=resources.cpus, gpus=1.0 if resources.gpus == "auto" else resources.gpus)
        offered = shares(resources, self._machines, self._on_gpu) if self._kinds else []
        packs_of = {share: packs(share, self._job.pack, self._machines, need, self._kinds) for share in offered}
        offered = [share for share in offered if packs_of[share]] or offered[-1:]
        found: dict[Candidate, Expected] = {}
        candidates: list[MeasuredCandidate] = []
        if offered:
            with crews_of(self._executor, self._machines, offered, self._most) as crews:

                def expected_of(candidate: Candidate) -> Expected:
                    speeds = self._speeds(candidate, crews)
                    self.reason = crews.reason
                    told = expected(candidate, self._kinds, speeds, self._machines, self._most)
                    candidates.append(self._measured(candidate, told, speeds))
                    return told

                crews.start()  # which may take longer than all that follows
                begun = clock.now()
                found = search(
                    offered,
                    lambda share: packs_of[share] or [1],
                    expected_of,
                    lambda candidate: idling(candidate, self._kinds, self._workers(candidate.share)),
                    lambda: clock.now() - begun > ENOUGH_SECONDS,
                )
        given = Share(1.0 if resources.cpus == "auto" else float(resources.cpus), 0.0)
        best = choose(found) or Candidate(offered[0] if offered else given, 1)
        gpus: str | float = self._job.resources.gpus
        if gpus == "auto" and offered and (self._without_gpu or (self._on_gpu and not self._mixed)):
            gpus = best.share.gpus
        return {
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "trainings": [kind.trial.name for kind in self._kinds],
            "candidates": candidates,
            "cpus": best.share.cpus,
            "gpus": gpus,
            "pack": best.pack if self._job.pack == "auto" else self._job.pack,
            "workers": self._workers(best.share),
            "seconds": clock.now() - start,
        }

    def _workers(self, share: Share) -> int:
        return workers_of(share, self._machines, self._most)

    def _measured(
        self, candidate: Candidate, told: Expected, speeds: Mapping[tuple[int, int], Speed | None]
    ) -> MeasuredCandidate:
        measured = [speed for _, speed in sorted(speeds.items(), key=lambda item: item[0]) if speed is not None]
        return MeasuredCandidate(
            cpus=candidate.share.cpus,
            gpus=candidate.share.gpus,
            pack=candidate.pack,
            workers=self._workers(candidate.share),
            seconds=told.whole if isfinite(told.whole) else None,
            measured=[[speed.step_seconds, speed.image_seconds] for speed in measured],
        )

    def _speeds(self, candidate: Candidate, crews: Crews) -> dict[tuple[int, int], Speed | None]:
        """By the places of kind and machine: the mean speed of workers that are all at work."""
        found: dict[tuple[int, int], Speed | None] = {}
        for place, kind in enumerate(self._kinds):
            task = _task(kind, candidate)
            for number, speed in crews.measure(candidate.share, task).items():
                found[place, number] = speed
            if all(found[place, number] is None for number in crews.holding(candidate.share)):
                break  # what does not do for one kind is not measured for others
        return found


def _task(kind: Kind, candidate: Candidate) -> SpeedTask:
    assert kind.trial.counts is not None
    together = kind.together(candidate.pack)
    return SpeedTask(kind.trial.settings, kind.trial.counts, together, candidate.share.threads, STEP_SECONDS)
