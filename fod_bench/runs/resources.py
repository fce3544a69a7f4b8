"""What one worker has of a cluster, and how many such workers fit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from fod_bench.errors import ClusterError
from fod_bench.job import Resources


class NodeResources(NamedTuple):
    """What one node has in all."""

    cpus: float
    gpus: float = 0.0
    memory: float = 0.0
    """Bytes that workers on it may take; 0 where it is not known."""


@dataclass(frozen=True)
class Share:
    """What one worker asks of its node, and so what one trial runs on."""

    cpus: float
    gpus: float

    def fit(self, nodes: Iterable[NodeResources]) -> int:
        """How many such workers the nodes hold, each worker on one node."""
        return sum(self._fit_one(node) for node in nodes)

    def _fit_one(self, node: NodeResources) -> int:
        by_cpu = node.cpus / self.cpus
        by_gpu = node.gpus / self.gpus if self.gpus else by_cpu
        return int(min(by_cpu, by_gpu) + 1e-9)


def beyond_memory(need: float, share: Share, nodes: Iterable[NodeResources]) -> str | None:
    """Why a trial that takes `need` bytes fits no node; None where one may hold it. Of a GPU's memory nothing is known here."""
    largest = max((node.memory for node in nodes if share.fit([node])), default=0.0)
    if share.gpus or not largest or need <= largest:
        return None
    return (
        f"it needs about {need / 2**30:.1f} GiB of memory, and the largest machine has {largest / 2**30:.1f} GiB for it; make it "
        "smaller (batch_size, image_size, fewer images by `limit`), or run it on a larger one"
    )


def share_of(resources: Resources, nodes: list[NodeResources]) -> Share:
    """The worker's share: `gpus: auto` is one GPU where the cluster has any.

    Raises:
        ClusterError: no worker fits the cluster.
    """
    gpus = min(1.0, sum(node.gpus for node in nodes)) if resources.gpus == "auto" else float(resources.gpus)
    share = Share(float(resources.cpus), gpus)
    if not share.fit(nodes):
        there = sorted({(node.cpus, node.gpus) for node in nodes}, reverse=True)
        raise ClusterError(
            f"a trial asks for {share.cpus:g} CPUs and {share.gpus:g} GPUs, which no machine of the cluster has; they have "
            + ", ".join(f"{cpus:g} CPUs and {gpus:g} GPUs" for cpus, gpus in there[:5])
            + "; lower resources.cpus or resources.gpus (--set resources.gpus=0)"
        )
    return share
