"""How much memory the GPUs of a cluster's nodes have, which Ray does not tell: each node is asked once, by NVIDIA's own program."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

ANSWER_SECONDS = 30.0
"""Time that a node has to answer, a new process on it included."""
_ASK = ("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits")


def smallest_gpu(told: str) -> float:
    """Bytes of the smallest GPU, from a line for each with its MiB; 0 where none can be read."""
    sizes = []
    for line in told.splitlines():
        with suppress(ValueError):
            sizes.append(float(line) * 2**20)
    return min(sizes, default=0.0)


class GpuMemory:
    """Asks nodes, and remembers what they answer."""

    def __init__(self) -> None:
        self._known: dict[str, float] = {}

    def of(self, nodes: Collection[str]) -> Mapping[str, float]:
        """Bytes of the smallest GPU of each of these nodes, by its name with Ray; 0 of one that tells none, such as one with GPUs
        of another make. Nodes that are new are asked, all at once."""
        ask: Any = ray.remote(num_cpus=0)(_told)
        asked = {
            node: ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()
            for node in nodes
            if node not in self._known
        }
        if asked:
            answered, late = ray.wait(list(asked.values()), num_returns=len(asked), timeout=ANSWER_SECONDS)
            for node, answer in asked.items():
                self._known[node] = 0.0
                with suppress(RayError):  # the node is gone
                    self._known[node] = smallest_gpu(ray.get(answer)) if answer in answered else 0.0
            for answer in late:
                ray.cancel(answer)
        return self._known


def _told() -> str:
    """What the program says on the node where this runs; nothing where it is not there."""
    try:
        return subprocess.run(_ASK, capture_output=True, text=True, timeout=ANSWER_SECONDS / 2).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
