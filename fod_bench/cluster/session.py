"""Starting Ray on this machine or joining a cluster, quietly, and leaving nothing behind."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path

from fod_bench.cluster.joined_ray import joined_ray, unreachable
from fod_bench.cluster.own_ray import assure_closed, own_ray
from fod_bench.cluster.ray_environment import defaults, ray_environment
from fod_bench.cluster.watch import Link, Watch
from fod_bench.errors import INTERRUPTED, ClusterError, LostRayError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_DEFAULTS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # spares a warning about GPUs on machines without
    "RAY_DEDUP_LOGS": "0",
    "RAY_gcs_server_port_wait_time_s": "120",  # 30 otherwise, which a busy machine may take
}
_STARTS = 3
"""Times that a Ray of our own is started before it is given up: Ray gives its raylet 30 s, which a busy machine may take."""
_TOO_SLOW = "timed out during startup"
"""What Ray says then."""


@contextmanager
def ray_session(
    address: str | None,
    verbose: bool = False,
    note: Callable[[str], None] = lambda text: None,
    metrics_port: int | None = None,
) -> Iterator[Watch]:
    """Ray for as long as the block lasts: one of our own, closed to others, or the cluster at `address` (`auto` or host:port).

    Ray prints what it hears of its nodes to standard output; here that is dropped, with `verbose` sent to standard error. `note` is
    told what a person should know. The environment is left as it was found, and so is the handler of the termination signal, of
    which Ray sets its own. Signals that come while Ray is being ended wait.

    Yields what should be asked before every call to Ray, by its `check`, whether Ray is still there.

    Raises:
        ClusterError: Ray does not start, or the cluster cannot be reached.
        LostRayError: from `check`.
    """
    handler = signal.getsignal(signal.SIGTERM)
    with ExitStack() as stack:
        try:
            stack.enter_context(ray_environment(defaults(_DEFAULTS)))
            nowhere = stack.enter_context(Path(os.devnull).open("w"))
            stack.enter_context(redirect_stdout(sys.stderr if verbose else nowhere))
            link = _linked(address, note, stack, metrics_port)
            signal.signal(signal.SIGTERM, handler)
            watch = stack.enter_context(Watch(link, note))
            try:
                yield watch
            except KeyboardInterrupt:
                if watch.answers:
                    raise
                raise LostRayError("interrupted", INTERRUPTED) from None
        finally:
            with _signals_wait():
                stack.close()
            signal.signal(signal.SIGTERM, handler)


def _linked(address: str | None, note: Callable[[str], None], stack: ExitStack, metrics_port: int | None) -> Link:
    """Ray, started or joined; `stack` gets what ends it."""
    for left in reversed(range(_STARTS)):
        attempt = stack.enter_context(ExitStack())
        link = attempt.enter_context(own_ray(note, metrics_port) if address is None else joined_ray(address, note))
        attempt.callback(_end, link)
        try:
            _start(address, link)
            break
        except ClusterError as error:
            if address is not None or _TOO_SLOW not in str(error) or not left:
                raise
        note("again     Ray did not start in the time that it gives itself; the machine may be busy")
        attempt.close()
    return link


def _start(address: str | None, link: Link) -> None:
    import ray

    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **link.arguments)
    except SystemExit:  # what Ray's own handler makes of a termination signal
        raise KeyboardInterrupt from None
    except Exception as error:  # Ray raises its own, OS and value errors, depending on what is missing
        if address is not None:
            raise unreachable(address, error) from error
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise ClusterError(f"Ray does not start on this machine: {said[0]}") from error
    if address is None:
        assure_closed()


def _end(link: Link) -> None:
    import ray

    if link.fault() is None:  # else it would wait for a minute; the process is about to exit, see `LostRayError`
        ray.shutdown()


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Heed signals after the block. To mask them would not do: another thread would take them, and the main one heed them."""
    came: list[int] = []
    before = [(number, signal.signal(number, lambda number, _: came.append(number))) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
    if came and sys.exc_info()[0] is None:  # else it is ending anyway
        raise KeyboardInterrupt
