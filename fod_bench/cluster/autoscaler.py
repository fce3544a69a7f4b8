"""Asking the cluster for nodes: Ray's autoscaler, where there is one, starts what is missing and ends what is idle."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import islice

from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
from ray.autoscaler.sdk import request_resources
from ray.autoscaler.v2.utils import is_autoscaler_v2
from ray.experimental.internal_kv import _internal_kv_get

from fod_bench.runs.resources import Share

MOST_ASKED = 10_000
"""Workers that are asked for at once: the autoscaler goes through them one by one."""


_UNMANAGED = re.compile("node_[0-9a-f]+")
"""The type that Ray gives a node of a cluster whose nodes nobody starts: every `ray start --head` tells its state too."""


def has_autoscaler() -> bool:
    """Whether the cluster that this process is connected to starts nodes that are asked for."""
    told = _internal_kv_get(DEBUG_AUTOSCALING_STATUS)
    if told:
        report = json.loads(told).get("autoscaler_report") or {}
        return any(not _UNMANAGED.fullmatch(kind) for kind in (report.get("node_type_mapping") or {}).values())
    return bool(is_autoscaler_v2(fetch_from_server=True))  # the second version tells nothing there


def request_workers(workers: Mapping[Share, int]) -> None:
    """Ask for room for so many workers of each share, instead of what was asked for before; none lets all idle nodes go."""
    bundles = (
        {"CPU": share.cpus, **({"GPU": share.gpus} if share.gpus else {})}
        for share, number in workers.items()
        for _ in range(number)
    )
    request_resources(bundles=list(islice(bundles, MOST_ASKED)))
