"""Ray's errors as losses of workers: what the scheduler is told of them."""

from __future__ import annotations

from collections.abc import Callable

from ray.exceptions import ActorUnavailableError, OutOfMemoryError, RayActorError, RayError

from fod_bench.runs.executor import LossKind


def loss_kind(error: RayError, started: bool, node_lost: Callable[[], bool]) -> LossKind:
    """How a worker was lost whose call ended in `error`; `node_lost` is asked only where it matters."""
    if isinstance(error, OutOfMemoryError):
        return "memory"
    if not started:
        return "node" if isinstance(error, RayActorError) and node_lost() else "startup"
    if isinstance(error, ActorUnavailableError):
        return "unreachable"
    if isinstance(error, RayActorError) and node_lost():
        return "node"
    return "killed"
