"""Starting Ray on this machine or joining a cluster, quietly, and leaving nothing behind."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fod_bench.errors import ClusterError
from fod_bench.job import Resources

PATIENCE_SECONDS = 300.0
"""Time for which a run under way waits for a store that is out of reach, in each of its calls."""


@dataclass(frozen=True)
class Share:
    """What one worker asks of Ray, and so what one trial runs on."""

    cpus: float
    gpus: float

    def fit(self, nodes: Iterable[Mapping[str, float]]) -> int:
        """How many such workers nodes with these resources hold, each worker on one node."""
        return sum(self._fit_one(node) for node in nodes)

    def _fit_one(self, node: Mapping[str, float]) -> int:
        by_cpu = node.get("CPU", 0.0) / self.cpus
        by_gpu = node.get("GPU", 0.0) / self.gpus if self.gpus else by_cpu
        return int(min(by_cpu, by_gpu) + 1e-9)


def node_resources() -> list[dict[str, float]]:
    """What each living node of the cluster has, in all: `{"CPU": 8.0, "GPU": 1.0, …}`."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


@contextmanager
def ray_session(address: str | None, verbose: bool = False) -> Iterator[None]:
    """Ray for as long as the block lasts: a local one, or the cluster at `address` (`auto` or host:port).

    Ray prints what it hears of its nodes to standard output; here that is dropped, with `verbose` sent to standard error.
    The handler of the termination signal is kept: Ray sets its own. Signals that come while Ray is being ended wait.

    Raises:
        ClusterError: Ray does not start, or the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # spares a warning about GPUs on machines without
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    if address is None:
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # the cluster is this machine's own and ends with the run
    else:
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "2")  # tries to reach the cluster, of ten seconds each
        if _has_token():  # `ray start` asks for it wherever there is one, `ray.init` does not send it unasked
            os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    handler = signal.getsignal(signal.SIGTERM)
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(sys.stderr if verbose else nowhere):
        try:
            _start(address)
            signal.signal(signal.SIGTERM, handler)
            yield
        finally:
            signals = {signal.SIGINT, signal.SIGTERM}
            signal.pthread_sigmask(signal.SIG_BLOCK, signals)
            try:
                ray.shutdown()
                signal.signal(signal.SIGTERM, handler)
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


def _start(address: str | None) -> None:
    import ray

    # Left to itself, Ray would join a cluster that somebody else has running on this machine.
    where_to: dict[str, Any] = (
        {"address": "local", "include_dashboard": False} if address is None else {"address": address}
    )
    if address is not None:
        _knock(address)
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **where_to)
    except SystemExit:  # what Ray's own handler makes of a termination signal
        raise KeyboardInterrupt from None
    except Exception as error:  # Ray raises its own, OS and value errors, depending on what is missing
        where = f"the Ray cluster at {address} cannot be reached" if address else "Ray does not start on this machine"
        said = str(error).strip().splitlines() or [type(error).__name__]
        hint = "; does it ask for another token (RAY_AUTH_MODE, RAY_AUTH_TOKEN)?" if address else ""
        raise ClusterError(f"{where}: {said[0]}{hint}") from error


def _has_token() -> bool:
    """Whether this user has a token for clusters, where Ray looks for one."""
    given = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return given or Path("~/.ray/auth_token").expanduser().is_file()


def _knock(address: str) -> None:
    """Raises `ClusterError` when nobody listens at a `host:port`, which Ray takes long to find out."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and "://" not in address:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except OSError as error:
            raise ClusterError(f"the Ray cluster at {address} cannot be reached: {error}") from error


def share_of(resources: Resources) -> Share:
    """The worker's share: `gpus: auto` is one GPU where the cluster has any.

    Raises:
        ClusterError: no worker fits the cluster.
    """
    nodes = node_resources()
    gpus = min(1.0, sum(node.get("GPU", 0.0) for node in nodes)) if resources.gpus == "auto" else float(resources.gpus)
    share = Share(float(resources.cpus), gpus)
    if not share.fit(nodes):
        there = sorted({(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes}, reverse=True)
        raise ClusterError(
            f"a trial asks for {share.cpus:g} CPUs and {share.gpus:g} GPUs, which no machine of the cluster has; they have "
            + ", ".join(f"{cpus:g} CPUs and {gpus:g} GPUs" for cpus, gpus in there[:5])
            + "; lower resources.cpus or resources.gpus (--set resources.gpus=0)"
        )
    return share
