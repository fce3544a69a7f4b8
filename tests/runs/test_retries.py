"""When work is tried again, when it is set apart, and how long the driver waits in between."""

from __future__ import annotations

import pytest

from fod_bench.records.failures import Failure
from fod_bench.runs.retries import KILLS, LOSSES, STORE_FAULTS, Retries

START = (-1, -1)


def outcomes(retries: Retries, *faults: tuple[str, tuple[int, int]], key: str = "a1") -> list[bool]:
    """Whether the work is tried again after each of these faults in turn."""
    return [retries.again(key, kind, mark) for kind, mark in faults]


@pytest.mark.parametrize(
    ("kind", "limit"), [("killed", KILLS), ("lost", LOSSES), ("store", STORE_FAULTS), ("features", STORE_FAULTS)]
)
def test_work_that_gets_nowhere_is_tried_a_limited_number_of_times(kind: str, limit: int) -> None:
    assert outcomes(Retries(), *[(kind, START)] * limit) == [True] * (limit - 1) + [False]


def test_a_second_kill_at_the_same_place_is_one_too_many() -> None:
    assert outcomes(Retries(), ("killed", (3, 2)), ("killed", (3, 2))) == [True, False]


def test_work_that_gets_further_each_time_is_tried_for_ever() -> None:
    assert all(outcomes(Retries(), *[("killed", (epoch, 0)) for epoch in range(50)]))
    assert all(outcomes(Retries(), *[("killed", (0, step)) for step in range(50)])), "a step is progress too"


def test_work_that_falls_behind_has_not_got_further() -> None:
    assert outcomes(Retries(), ("killed", (3, 2)), ("killed", (2, 9))) == [True, False]
    assert outcomes(Retries(), ("lost", (3, 2)), ("killed", (1, 0)), ("killed", (3, 1))) == [True, True, False]


def test_kinds_of_faults_are_counted_apart() -> None:
    assert outcomes(Retries(), ("killed", START), ("lost", START), ("store", START), ("features", START)) == [True] * 4
    assert outcomes(Retries(), ("killed", START), ("lost", START), ("killed", START)) == [True, True, False]


def test_a_machine_may_be_lost_more_often_than_a_worker() -> None:
    assert LOSSES > KILLS, "the work is hardly to blame for its machine"


def test_one_piece_of_work_does_not_pay_for_another() -> None:
    retries = Retries()
    assert outcomes(retries, ("killed", START), key="a1") == [True]
    assert outcomes(retries, ("killed", START), key="b2") == [True]


def test_the_pause_grows_with_every_fault_up_to_a_minute_and_anew_after_progress() -> None:
    retries = Retries()
    pauses = []
    for _ in range(8):
        retries.again("a1", "store", START)
        pauses.append(retries.pause("a1"))
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    retries.again("a1", "store", (1, 0))
    assert retries.pause("a1") == 1


def test_the_verdict_says_what_happened_how_often_and_what_may_help() -> None:
    killed = Retries().verdict(Failure("its worker died", "", "worker"), "killed")
    assert (
        killed.startswith("its worker died 2 times without getting further; set apart") and "resources.cpus" in killed
    )
    lost = Retries().verdict(Failure("its machine was lost", "", "worker"), "lost")
    assert lost == "its machine was lost 10 times without getting further; set apart"
