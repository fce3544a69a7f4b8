"""How much memory the GPUs of a cluster's nodes have, which Ray does not tell: each node is asked, by NVIDIA's own program."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fod_bench.runs.executor import Clock

ANSWER_SECONDS = 30.0
"""Time that the nodes have to answer before a run begins, a new process on each included."""
ASK_AGAIN_SECONDS = 60.0
"""From a question that failed to the next one."""
_PROGRAM_SECONDS = 15.0
_ASK = ("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits")


def smallest_gpu(lines: str) -> float:
    """Bytes of the smallest GPU, from a line for each with its MiB; 0 where none can be read."""
    sizes = []
    for line in lines.splitlines():
        with suppress(ValueError):
            sizes.append(float(line) * 2**20)
    return min(sizes, default=0.0)


class GpuMemory:
    """Asks nodes, and remembers what they answer."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, float] = {}
        self._questions: dict[str, Any] = {}
        """By node: reference of a question under way."""
        self._asked_at: dict[str, float] = {}

    def of(self, nodes: Collection[str], wait: float = 0.0) -> Mapping[str, float]:
        """Bytes of the smallest GPU of each node that has answered, by its name with Ray; 0 of one that knows none, such as one
        with GPUs of another make.

        Nodes that are new are asked, all at once, and those again whose answer failed. `wait`: seconds in which all should answer;
        what comes later is known in a later call.
        """
        now = self._clock.now()
        ask: Any = ray.remote(num_cpus=0)(_nvidia_smi)
        for node in nodes:
            again = now - self._asked_at.get(node, float("-inf")) >= ASK_AGAIN_SECONDS
            if node not in self._known and node not in self._questions and again:
                where = NodeAffinitySchedulingStrategy(node, soft=False)
                self._questions[node], self._asked_at[node] = ask.options(scheduling_strategy=where).remote(), now
        if self._questions:
            self._collect(wait)
        return self._known

    def _collect(self, wait: float) -> None:
        questions = list(self._questions.values())
        answered, _ = ray.wait(questions, num_returns=len(questions), timeout=wait)
        for node, question in list(self._questions.items()):
            if question in answered:
                del self._questions[node]
                with suppress(RayError):  # the node is gone, or the program hung: it is asked again
                    self._known[node] = smallest_gpu(ray.get(question))


def _nvidia_smi() -> str:
    """What the program says on the node where this runs; nothing where it is not there. Raises `TimeoutExpired`."""
    try:
        return subprocess.run(_ASK, capture_output=True, text=True, timeout=_PROGRAM_SECONDS).stdout
    except OSError:
        return ""
