"""A run's executor on Ray, which is started or joined, and imported, when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fod_bench.cluster.session import ray_session
from fod_bench.cluster.versions import require_one_version

if TYPE_CHECKING:
    from fod_bench.cluster.ray_pool import RayPool


@contextmanager
def open_ray_pool(
    store_uri: str,
    expected_object: str,
    note: Callable[[str], None],
    *,
    address: str | None = None,
    verbose: bool = False,
    metrics_port: int | None = None,
) -> Iterator[RayPool]:
    """See `fod_bench.runs.executor.OpenExecutor`.

    Args:
        address: of the Ray cluster to join, host:port or `auto`; None starts one on this machine.
        verbose: let Ray speak.
        metrics_port: where a Ray of one's own serves metrics; None leaves it to Ray, if it does.
    """
    note("starting Ray" if address is None else f"joining the Ray cluster at {address}")
    with ray_session(address, verbose, note, metrics_port) as watch:
        if address is not None:
            require_one_version(note)
        from fod_bench.cluster.ray_pool import RayPool  # Ray reads its settings when it is imported

        yield RayPool(store_uri, expected_object, watch)
