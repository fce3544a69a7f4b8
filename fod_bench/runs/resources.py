"""What machines have, what one worker takes of them, and which share each training runs on."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from fod_bench.errors import ClusterError
from fod_bench.job import Resources
from fod_bench.plan import TrialJob
from fod_bench.plan.durations import Durations

MOST_PER_GPU = 4
"""Trials that share a GPU at most, where the job leaves it open: one by itself keeps it busy for a third of the time or more."""
ROUNDS = 4
"""A GPU is shared only where each share of it gets so many trainings, and only by those that take, by turns with others, so small a
part of what keeps all GPUs busy: with fewer, and with longer ones, whole GPUs end sooner and more evenly."""
LIBRARY_BYTES = 1.5 * 2**30
"""What CUDA and its libraries take of a GPU's memory in every process."""
FILLED = 0.9
"""How much of a GPU's memory is handed out."""
_ROUNDING = 1e-9
"""CPUs and GPUs are sums of fractions."""


class NodeResources(NamedTuple):
    """What one node has in all."""

    cpus: float
    gpus: float = 0.0
    memory: float = 0.0
    """Bytes that workers on it may take; 0 where it is not known."""
    gpu_memory: float = 0.0
    """Bytes of its smallest GPU; 0 where it is not known."""
    gpu: str = ""
    """Kind of its GPUs, such as `L4`; empty where it is not known."""


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
        if not self.gpus:
            by_gpu = by_cpu
        elif self.gpus < 1:  # a worker's part is of one GPU
            by_gpu = int(node.gpus + _ROUNDING) * int(1 / self.gpus + _ROUNDING)
            by_gpu += int((node.gpus % 1) / self.gpus + _ROUNDING)
        else:
            by_gpu = node.gpus / self.gpus
        return int(min(by_cpu, by_gpu) + _ROUNDING)

    @property
    def threads(self) -> int:
        """Of a trial."""
        return max(1, int(self.cpus))

    @property
    def speed(self) -> float:
        """Of a trial, as a part of what it has by itself: 1 but where several share a GPU, of which it is supposed that they take
        turns."""
        return self.gpus if 0 < self.gpus < 1 else 1.0

    def __str__(self) -> str:
        return f"{self.cpus:g} CPUs and {self.gpus:g} GPUs"


class Shares:
    """Which share each training runs on."""

    def __init__(self, of: Callable[[TrialJob], Share]) -> None:
        self._of = of
        self._whole: set[str] = set()

    def of(self, trial: TrialJob) -> Share:
        """The share of a worker for this training."""
        share = self._of(trial)
        return Share(share.cpus, 1.0) if trial.key in self._whole else share

    def give_whole(self, trial: TrialJob) -> None:
        """A part of a GPU was too small for it: it gets one to itself."""
        self._whole.add(trial.key)


def beyond_memory(need: float, share: Share, nodes: Iterable[NodeResources]) -> str | None:
    """Why a trial that takes `need` bytes fits no node; None where one may hold it. Of a GPU's memory nothing is known here."""
    largest = max((node.memory for node in nodes if share.fit([node])), default=0.0)
    if share.gpus or not largest or need <= largest:
        return None
    return (
        f"it needs about {need / 2**30:.1f} GiB of memory, and the largest machine has {largest / 2**30:.1f} GiB for it; make it "
        "smaller (batch_size, image_size, fewer images by `limit`), or run it on a larger one"
    )


def share_of(resources: Resources, nodes: Collection[NodeResources], grows: bool = False) -> Share:
    """What a trial asks for that wants a GPU: `gpus: auto` is one where the cluster has any.

    Args:
        grows: whether the cluster gets nodes that are asked for: a share that no node has may come.

    Raises:
        ClusterError: no worker fits the cluster, or what it will have cannot be told.
    """
    if grows and resources.gpus == "auto" and not any(node.cpus for node in nodes):
        raise ClusterError(
            "the cluster has no node yet that trains, so whether it will have GPUs cannot be told; say what a trial is to have "
            "(--set resources.gpus=1, or 0), and nodes for it are asked for"
        )
    gpus = min(1.0, sum(node.gpus for node in nodes)) if resources.gpus == "auto" else float(resources.gpus)
    share = Share(float(resources.cpus), gpus)
    if not share.fit(nodes) and not grows:
        there = sorted({(node.cpus, node.gpus) for node in nodes}, reverse=True)
        raise ClusterError(
            f"a trial asks for {share}, which no machine of the cluster has; they have "
            + ", ".join(f"{cpus:g} CPUs and {gpus:g} GPUs" for cpus, gpus in there[:5])
            + "; lower resources.cpus or resources.gpus (--set resources.gpus=0)"
        )
    return share


def shares_of(
    resources: Resources,
    nodes: Collection[NodeResources],
    trials: Collection[TrialJob],
    durations: Durations,
    grows: bool = False,
    pack: int = 1,
) -> Shares:
    """The share of each of `trials` on a cluster of these nodes.

    What the job says holds for all. Where it leaves the GPUs open, a training whose method gains nothing from one runs on CPUs; the
    others have a GPU each, or share one where there are many for each GPU and its memory holds several, as the method reckons it:
    several packs where they train in packs of up to `pack`. A node whose GPUs are not known is taken to have such as the others:
    what they are too small for gets a whole one. What measures costs has a GPU to itself. Raises `ClusterError` as `share_of` does.
    """
    base = share_of(resources, nodes, grows)
    if resources.gpus != "auto" or base.gpus < 1:
        return Shares(lambda trial: base)
    with_gpus = [node for node in nodes if node.gpus >= 1]
    gpus = sum(int(node.gpus) for node in with_gpus)
    memory = FILLED * min((node.gpu_memory for node in with_gpus if node.gpu_memory), default=0.0)
    by_cpus = min(node.cpus / node.gpus for node in with_gpus) / base.cpus
    wanting = [durations.seconds(trial, gpu=True, threads=base.threads) for trial in trials if _wants_gpu(trial)]
    most = min(MOST_PER_GPU, by_cpus, len(wanting) / gpus / ROUNDS)
    busy = sum(wanting) / gpus / ROUNDS

    def share(trial: TrialJob) -> Share:
        if not _wants_gpu(trial):
            return Share(base.cpus, 0.0)
        if trial.measures_cost or trial.counts is None:
            return base
        together = pack if trial.kind is not None else 1
        need = together * trial.settings.work(trial.counts).memory + LIBRARY_BYTES
        alone = max(1e-9, durations.seconds(trial, gpu=True, threads=base.threads))
        sharing = min(most, memory / need, busy / alone)
        # Halves, quarters, eighths: what differs in size still fills a GPU without a rest.
        return Share(base.cpus, 0.5 ** int(math.log2(sharing))) if sharing >= 2 else base

    made: dict[tuple[int, object], Share] = {}  # rows share their settings

    def known(trial: TrialJob) -> Share:
        row = (id(trial.settings), trial.counts)
        if row not in made:
            made[row] = share(trial)
        return made[row]

    return Shares(known)


def _wants_gpu(trial: TrialJob) -> bool:
    return trial.settings.wants_gpu or trial.measures_cost
