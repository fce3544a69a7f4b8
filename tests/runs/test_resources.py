"""How many workers fit a cluster, and what each of them has."""

from __future__ import annotations

import pytest

from fod_bench.errors import ClusterError
from fod_bench.job import Resources
from fod_bench.runs.resources import NodeResources, Share, share_of


@pytest.mark.parametrize(
    ("share", "nodes", "fit"),
    [
        (Share(1, 0), [NodeResources(2)], 2),
        (Share(3, 0), [NodeResources(2), NodeResources(2)], 0),  # four in all, but a worker lives on one node
        (Share(2, 0), [NodeResources(5), NodeResources(2)], 3),
        (Share(1, 0.5), [NodeResources(8, 1), NodeResources(64)], 2),
        (Share(0.1, 0), [NodeResources(1)], 10),  # in binary, 1 / 0.1 may fall short of 10
        (Share(1, 0), [], 0),
    ],
)
def test_workers_are_counted_per_node(share: Share, nodes: list[NodeResources], fit: int) -> None:
    assert share.fit(nodes) == fit


@pytest.mark.parametrize(
    ("gpus", "nodes", "share"),
    [
        ("auto", [NodeResources(8)], Share(1, 0)),
        ("auto", [NodeResources(8), NodeResources(8, 4)], Share(1, 1)),
        (0.25, [NodeResources(8, 4)], Share(1, 0.25)),
        (0, [NodeResources(8, 4)], Share(1, 0)),
    ],
)
def test_a_worker_has_a_gpu_where_there_are_any(gpus: float, nodes: list[NodeResources], share: Share) -> None:
    assert share_of(Resources(gpus=gpus), nodes) == share


def test_a_share_that_no_node_has_is_refused_with_what_they_have() -> None:
    nodes = [NodeResources(2), NodeResources(8, 1), NodeResources(2)]
    with pytest.raises(ClusterError) as refused:
        share_of(Resources(cpus=16), nodes)
    assert "asks for 16 CPUs and 1 GPUs, which no machine of the cluster has" in str(refused.value)
    assert "they have 8 CPUs and 1 GPUs, 2 CPUs and 0 GPUs; lower resources.cpus or resources.gpus" in str(
        refused.value
    )
