"""Why a worker died, and how long the driver goes on starting workers that do not come to life."""

from __future__ import annotations

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, OutOfMemoryError, RayError

from fod_bench.cluster.deaths import STARVED, STILLBORN, Stillbirths, cause_of_death

NO_MEMORY = OutOfMemoryError("1 worker(s) were killed\nRefer to the documentation on how to provision more memory.")


@pytest.mark.parametrize(
    ("error", "machine_lost", "cause"),
    [
        (ActorUnavailableError("no answer", None), True, ("lost", "its worker is out of reach")),
        (ActorDiedError(), True, ("lost", "its machine was lost")),
        (ActorDiedError(), False, ("killed", "its worker died")),
        (NO_MEMORY, False, ("killed", "its worker was ended, as its machine ran out of memory")),
        (RayError("something else"), True, ("killed", "its worker died")),
    ],
)
def test_the_cause_is_told_in_a_few_words(error: RayError, machine_lost: bool, cause: tuple[str, str]) -> None:
    assert cause_of_death(error, lambda: machine_lost) == cause


class TestStillbirths:
    def test_a_fault_of_the_start_is_tried_three_times(self) -> None:
        deaths = Stillbirths()
        assert [_too_many(deaths, RayError("first\nlast line \n")) for _ in range(STILLBORN)] == [False, False, True]
        assert deaths.add(RayError("first\nlast line \n")) == "last line"

    def test_a_machine_without_memory_is_waited_for(self) -> None:
        deaths = Stillbirths()
        assert deaths.add(NO_MEMORY) == "its machine ran out of memory", "and not a page about Ray's settings"
        assert [_too_many(deaths, NO_MEMORY) for _ in range(STARVED - 1)] == [False] * (STARVED - 2) + [True]

    def test_the_pause_grows_and_ends_when_one_lives(self) -> None:
        now, pauses = 0.0, []
        deaths = Stillbirths(lambda: now)
        for _ in range(8):
            assert deaths.over
            deaths.add(NO_MEMORY)
            died = now
            while not deaths.over:
                now += 1.0
            pauses.append(now - died)
        assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
        deaths.add(NO_MEMORY)
        deaths.forget()
        assert deaths.over and not deaths.too_many


def _too_many(deaths: Stillbirths, error: RayError) -> bool:
    deaths.add(error)
    return deaths.too_many
