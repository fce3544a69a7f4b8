"""Starting Ray on this machine or joining a cluster, quietly, and leaving nothing behind."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from fod_bench.cluster.joined_ray import joined_ray, unreachable
from fod_bench.cluster.own_ray import assure_closed, own_ray
from fod_bench.cluster.ray_environment import defaults, ray_environment
from fod_bench.errors import ClusterError

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # spares a warning about GPUs on machines without
    "RAY_DEDUP_LOGS": "0",
}


@contextmanager
def ray_session(
    address: str | None, verbose: bool = False, note: Callable[[str], None] = lambda text: None
) -> Iterator[None]:
    """Ray for as long as the block lasts: one of our own, closed to others, or the cluster at `address` (`auto` or host:port).

    Ray prints what it hears of its nodes to standard output; here that is dropped, with `verbose` sent to standard error. `note` is
    told what a person should know. The environment is left as it was found. So is the handler of the termination signal: Ray sets
    its own. Signals that come while Ray is being ended wait.

    Raises:
        ClusterError: Ray does not start, or the cluster cannot be reached.
    """
    with ExitStack() as stack:
        stack.enter_context(ray_environment(defaults(_QUIET)))
        where_to = stack.enter_context(own_ray(note) if address is None else joined_ray(address, note))
        nowhere = stack.enter_context(Path(os.devnull).open("w"))
        stack.enter_context(redirect_stdout(sys.stderr if verbose else nowhere))
        handler = signal.getsignal(signal.SIGTERM)
        try:
            _start(address, where_to)
            signal.signal(signal.SIGTERM, handler)
            yield
        finally:
            _end(handler)


def _start(address: str | None, where_to: dict[str, Any]) -> None:
    import ray

    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **where_to)
    except SystemExit:  # what Ray's own handler makes of a termination signal
        raise KeyboardInterrupt from None
    except Exception as error:  # Ray raises its own, OS and value errors, depending on what is missing
        if address is not None:
            raise unreachable(address, error) from error
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise ClusterError(f"Ray does not start on this machine: {said[0]}") from error
    if address is None:
        assure_closed()


def _end(handler: Any) -> None:
    import ray

    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        ray.shutdown()
        signal.signal(signal.SIGTERM, handler)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
