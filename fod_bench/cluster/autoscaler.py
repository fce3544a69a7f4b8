"""Asking the cluster for nodes: Ray's autoscaler, where there is one, starts what is missing and ends what is idle."""

from __future__ import annotations

from collections.abc import Mapping

from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
from ray.autoscaler.sdk import request_resources
from ray.experimental.internal_kv import _internal_kv_get

from fod_bench.runs.resources import Share

MOST_ASKED = 10_000
"""Workers that are asked for at once: the autoscaler goes through them one by one."""


def has_autoscaler() -> bool:
    """Whether the cluster that this process is connected to has one, which tells its state there."""
    return bool(_internal_kv_get(DEBUG_AUTOSCALING_STATUS))


def request_workers(workers: Mapping[Share, int]) -> None:
    """Ask for room for so many workers of each share, instead of what was asked for before; none lets all idle nodes go."""
    bundles = [
        {"CPU": share.cpus, **({"GPU": share.gpus} if share.gpus else {})}
        for share, number in workers.items()
        for _ in range(number)
    ]
    request_resources(bundles=bundles[:MOST_ASKED])
