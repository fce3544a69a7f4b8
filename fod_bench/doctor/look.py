"""All that is looked at, in the order in which it is told."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from fod_bench.doctor import cluster, inputs, machine, results
from fod_bench.doctor.finding import Finding, within
from fod_bench.errors import FodBenchError
from fod_bench.job.schema import Job

_SECONDS = 30.0
_STORE_SECONDS = 60.0


def look(job: Job | None, store: str, start_ray: cluster.StartRay | None = None) -> Iterator[Finding]:
    """Look at Python, packages, machine, torch and GPU, Ray, the store, weights and data: at what `job` needs, where one is given.

    Each look has a limit in time, so that neither a network that answers nothing nor a disk that hangs holds it up for long.
    """
    yield from within(_SECONDS, "Python", machine.python)
    yield from within(_SECONDS, "packages", machine.packages)
    yield from within(_SECONDS, "machine", machine.machine)
    yield from machine.torch()  # in a process of its own, which ends in time
    yield from within(_SECONDS, "Ray", cluster.ray) if start_ray is None else _started(start_ray)
    yield from within(_STORE_SECONDS, "store", partial(results.store, store))
    yield from inputs.weights(job)
    yield from inputs.data(job)


def _started(start: cluster.StartRay) -> Iterator[Finding]:
    """In this thread, since Ray wants to set handlers of signals; it gives itself 30 s, three times."""
    try:
        yield from cluster.ray(start)
    except FodBenchError as error:
        yield Finding("Ray", "missing", str(error).splitlines()[0])
