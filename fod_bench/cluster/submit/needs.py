"""What a job asks of the machines that will run it, where they have to be asked for beforehand."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fod_bench.job import Job
from fod_bench.plan import make_plan

_LIBRARIES_BYTES = 2 << 30
"""What a worker takes beside its training: Python, torch, its share of Ray."""


@dataclass(frozen=True)
class Needs:
    """Of one worker, and how many there is work for."""

    trainings: int
    """After merging equal ones; at least one."""
    cpus: float
    """The least that it may be given, where that is measured on the cluster."""
    gpus: float | None
    """None: one where there are GPUs."""
    memory: float
    """Bytes; 0 where it is not known."""

    def node_cpus(self, there: int) -> int:
        """CPUs of a node that has `there` of them by default."""
        return max(there, math.ceil(self.cpus))

    def node_gpus(self, there: int) -> int:
        """The same of GPUs."""
        if self.gpus is None:
            return there
        return 0 if self.gpus == 0 else max(there, math.ceil(self.gpus))

    def workers(self, cpus: int, gpus: int) -> int:
        """How many workers such a node holds."""
        share = min(1.0, float(gpus)) if self.gpus is None else self.gpus
        return max(1, int(min(cpus / self.cpus, gpus / share if share else math.inf) + 1e-9))

    def node_memory(self, cpus: int, gpus: int) -> float:
        """Bytes that such a node needs for its workers."""
        return self.workers(cpus, gpus) * (self.memory + _LIBRARIES_BYTES)

    def nodes(self, cpus: int, gpus: int, most: int) -> int:
        """How many of such nodes there is work for, of `most`."""
        return max(1, min(most, math.ceil(self.trainings / self.workers(cpus, gpus))))


def needs_of(job: Job) -> Needs:
    """The needs of a job, by its plan; what of its data is not seen from here counts as was published. Raises as `make_plan`."""
    plan = make_plan(job, download=False)
    cpus, gpus = job.resources.cpus, job.resources.gpus
    return Needs(
        trainings=max(1, len(plan.trials)),
        cpus=1.0 if cpus == "auto" else float(cpus),
        gpus=None if gpus == "auto" else float(gpus),
        memory=max(
            (one.settings.work(one.counts).memory for one in plan.trials.values() if one.counts is not None),
            default=0.0,
        ),
    )
