"""Starting Ray on this machine or joining a cluster, quietly, and leaving nothing behind."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from fod_bench.errors import ClusterError
from fod_bench.job import Resources


@dataclass(frozen=True)
class Share:
    """What one worker asks of Ray, and so what one trial runs on."""

    cpus: float
    gpus: float

    def fit(self, cluster: dict[str, float]) -> int:
        """How many such workers the cluster's resources hold."""
        by_cpu = cluster.get("CPU", 0.0) / self.cpus
        by_gpu = cluster.get("GPU", 0.0) / self.gpus if self.gpus else by_cpu
        return int(min(by_cpu, by_gpu) + 1e-9)


@contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """Ray for as long as the block lasts: a local one, or the cluster at `address` (`auto` or host:port).

    A termination signal inside the block raises KeyboardInterrupt, as Ctrl-C does, so that both end the same way.

    Raises:
        ClusterError: Ray does not start, or the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # spares a warning about GPUs on machines without
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    if address is None:
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # the cluster is this machine's own and ends with the run
    import ray

    where_to: dict[str, Any] = {"include_dashboard": False} if address is None else {"address": address}
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **where_to)
    except KeyboardInterrupt:
        ray.shutdown()
        raise
    except Exception as error:  # Ray raises its own, OS and value errors, depending on what is missing
        ray.shutdown()
        where = f"the Ray cluster at {address} cannot be reached" if address else "Ray does not start on this machine"
        raise ClusterError(f"{where}: {str(error).strip().splitlines()[0]}") from error
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, before)


def share_of(resources: Resources) -> Share:
    """The worker's share: `gpus: auto` is one GPU where the cluster has any.

    Raises:
        ClusterError: no worker fits the cluster.
    """
    import ray

    cluster = ray.cluster_resources()
    available = cluster.get("GPU", 0.0)
    gpus = min(1.0, available) if resources.gpus == "auto" else float(resources.gpus)
    share = Share(float(resources.cpus), gpus)
    if not share.fit(cluster):
        raise ClusterError(
            f"a trial asks for {share.cpus:g} CPUs and {share.gpus:g} GPUs, but the cluster has {cluster.get('CPU', 0):g} "
            f"and {available:g} in all; lower resources.cpus or resources.gpus (--set resources.gpus=0)"
        )
    return share


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
