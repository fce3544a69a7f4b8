"""How much memory a cluster's GPUs have: nobody waits for a node that does not answer, and it is asked again."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayError

from fod_bench.cluster import gpus
from fod_bench.cluster.gpus import ASK_AGAIN_SECONDS, GpuMemory, smallest_gpu
from fod_bench.runs.simulate import SimulatedClock

GIB = 2.0**30
A, B = "a" * 56, "b" * 56
"""Names of nodes, as Ray gives them."""


class Ray:
    """Of which only what `GpuMemory` calls is there: a question is its node and number, answered when a test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.answers: dict[tuple[str, int], str | Exception] = {}
        self.waited: list[float] = []

    def remote(self, **_options: Any) -> Callable[[object], Any]:
        def options(scheduling_strategy: Any) -> Any:
            return SimpleNamespace(remote=lambda: self._ask(scheduling_strategy.node_id))

        return lambda _function: SimpleNamespace(options=options)

    def _ask(self, node: str) -> tuple[str, int]:
        self.asked.append((node, len(self.asked)))
        return self.asked[-1]

    def wait(self, questions: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        self.waited.append(timeout)
        return [one for one in questions if one in self.answers], [one for one in questions if one not in self.answers]

    def get(self, question: tuple[str, int]) -> str:
        answer = self.answers[question]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Ray:
    made = Ray()
    monkeypatch.setattr(gpus, "ray", made)
    return made


def test_one_that_does_not_answer_in_time_is_not_waited_for_and_known_when_it_does(fake: Ray) -> None:
    memory = GpuMemory(SimulatedClock())
    fake.answers[(A, 0)] = "24576\n"
    assert memory.of([A, B], wait=30.0) == {A: 24 * GIB}
    assert memory.of([A, B]) == {A: 24 * GIB}
    fake.answers[(B, 1)] = "16384\n"
    assert memory.of([A, B]) == {A: 24 * GIB, B: 16 * GIB}
    assert memory.of([A, B]) == {A: 24 * GIB, B: 16 * GIB}
    assert fake.asked == [(A, 0), (B, 1)], "each once"
    assert fake.waited == [30.0, 0.0, 0.0], "and not at all when all is known"


def test_one_whose_answer_failed_is_asked_again_after_a_while(fake: Ray) -> None:
    clock = SimulatedClock()
    memory = GpuMemory(clock)
    fake.answers |= {(A, 0): RayError("nvidia-smi hung"), (A, 1): "24576\n"}
    for _ in range(2):
        assert memory.of([A]) == {}
    assert fake.asked == [(A, 0)]
    clock.sleep(ASK_AGAIN_SECONDS)
    assert memory.of([A]) == {A: 24 * GIB}


def test_gpus_of_another_make_are_known_to_tell_nothing(fake: Ray) -> None:
    fake.answers[(A, 0)] = ""
    assert GpuMemory(SimulatedClock()).of([A]) == {A: 0.0}


def test_the_smallest_gpu_counts() -> None:
    assert smallest_gpu("24576\n16384\n") == 16 * GIB
    assert smallest_gpu("") == smallest_gpu("[N/A]\n") == 0.0
