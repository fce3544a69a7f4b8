"""When work is tried again and when it is set apart, what of workers that do not start, and the pauses in between."""

from __future__ import annotations

import pytest

from fod_bench.records.failures import Failure
from fod_bench.runs.executor import LossKind, WorkerLost
from fod_bench.runs.retries import (
    LIMITS,
    NOWHERE,
    STARTUP_FAILURES,
    STARTUP_MEMORY_FAILURES,
    Attempts,
    Cause,
    Mark,
    Retries,
    StartupFailures,
    cause_of,
)
from fod_bench.runs.simulate import SimulatedClock

START = NOWHERE


def outcomes(retries: Retries, *ends: tuple[Cause, Mark], key: str = "a1") -> list[bool]:
    """Whether the work is tried again after each of these ends in turn."""
    return [retries.again(key, cause, mark) for cause, mark in ends]


@pytest.mark.parametrize(("cause", "limit"), LIMITS.items())
def test_work_that_gets_nowhere_is_tried_a_limited_number_of_times(cause: Cause, limit: int) -> None:
    assert outcomes(Retries(), *[(cause, START)] * limit) == [True] * (limit - 1) + [False]


def test_a_second_kill_at_the_same_place_is_one_too_many() -> None:
    assert outcomes(Retries(), ("killed", (3, 2)), ("killed", (3, 2))) == [True, False]


def test_work_that_gets_further_each_time_is_tried_for_ever() -> None:
    assert all(outcomes(Retries(), *[("killed", (epoch, 0)) for epoch in range(50)]))
    assert all(outcomes(Retries(), *[("killed", (0, step)) for step in range(50)])), "a step is progress too"


def test_work_that_falls_behind_has_not_got_further() -> None:
    assert outcomes(Retries(), ("killed", (3, 2)), ("killed", (2, 9))) == [True, False]
    assert outcomes(Retries(), ("lost", (3, 2)), ("killed", (1, 0)), ("killed", (3, 1))) == [True, True, False]


def test_causes_are_counted_apart() -> None:
    assert outcomes(Retries(), ("killed", START), ("lost", START), ("store", START), ("features", START)) == [True] * 4
    assert outcomes(Retries(), ("killed", START), ("lost", START), ("killed", START)) == [True, True, False]


def test_a_machine_may_be_lost_more_often_than_a_worker() -> None:
    assert LIMITS["lost"] > LIMITS["killed"], "the work is hardly to blame for its machine"


def test_one_piece_of_work_does_not_pay_for_another() -> None:
    retries = Retries()
    assert outcomes(retries, ("killed", START), key="a1") == [True]
    assert outcomes(retries, ("killed", START), key="b2") == [True]


def test_the_pause_grows_with_every_failure_up_to_a_minute_and_anew_after_progress() -> None:
    retries = Retries()
    pauses = []
    for _ in range(8):
        retries.again("a1", "store", START)
        pauses.append(retries.pause("a1"))
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    retries.again("a1", "store", (1, 0))
    assert retries.pause("a1") == 1


def test_the_verdict_says_what_happened_how_often_and_what_may_help() -> None:
    killed = Retries().verdict(Failure("its worker was lost", "", "worker"), "killed")
    assert (
        killed.startswith("its worker was lost 2 times without getting further; set apart")
        and "resources.cpus" in killed
    )
    lost = Retries().verdict(Failure("its machine was lost", "", "worker"), "lost")
    assert lost == "its machine was lost 10 times without getting further; set apart"


@pytest.mark.parametrize(
    ("kind", "cause", "reason"),
    [
        ("unreachable", "lost", "its worker is out of reach"),
        ("node", "lost", "its machine was lost"),
        ("killed", "killed", "its worker was lost"),
        ("memory", "killed", "its worker was ended, as its machine ran out of memory"),
    ],
)
def test_the_loss_of_a_worker_is_told_in_a_few_words(kind: LossKind, cause: Cause, reason: str) -> None:
    assert cause_of(kind) == cause and WorkerLost(1, kind, "a page of\ndetails").reason == reason


def test_an_attempt_names_the_one_before_only_if_that_is_over() -> None:
    attempts = Attempts("driver", 60.0)
    first, other = attempts.next("a1"), attempts.next("b2")
    assert (first.name, first.lost, first.lease) == ("driver:1", None, 60.0) and other.name == "driver:2"
    assert attempts.next("a1").lost is None
    attempts.over("a1", first)
    assert attempts.next("a1").lost == "driver:1"
    attempts.over("b2", other)
    attempts.forget("b2")
    assert attempts.next("b2").lost is None


class TestStartupFailures:
    FAULTY = WorkerLost(1, "startup", "first\nlast line \n")
    NO_MEMORY = WorkerLost(1, "memory", "1 worker(s) were killed\nRefer to the documentation on more memory.")

    def test_a_fault_of_the_start_is_tried_three_times(self) -> None:
        failures = StartupFailures(SimulatedClock())
        assert STARTUP_FAILURES == 3
        assert [too_many(failures, self.FAULTY) for _ in range(STARTUP_FAILURES)] == [False, False, True]
        assert failures.add(self.FAULTY) == "last line"

    def test_one_that_says_nothing_has_a_reason_too(self) -> None:
        assert StartupFailures(SimulatedClock()).add(WorkerLost(1, "startup", " \n")) == "no reason is known"

    def test_a_machine_without_memory_is_waited_for(self) -> None:
        failures, most = StartupFailures(SimulatedClock()), STARTUP_MEMORY_FAILURES
        assert failures.add(self.NO_MEMORY) == "its machine ran out of memory", "and not a page about Ray's settings"
        assert [too_many(failures, self.NO_MEMORY) for _ in range(most - 1)] == [False] * (most - 2) + [True]

    def test_the_pause_grows_and_ends_when_one_starts(self) -> None:
        clock, pauses = SimulatedClock(), []
        failures = StartupFailures(clock)
        for _ in range(8):
            assert failures.over
            failures.add(self.NO_MEMORY)
            failed = clock.now()
            while not failures.over:
                clock.sleep(1.0)
            pauses.append(clock.now() - failed)
        assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
        failures.add(self.NO_MEMORY)
        failures.forget()
        assert failures.over and not failures.too_many

    def test_the_pause_stays_a_minute_however_many_have_failed(self) -> None:
        """Other workers may be at work for days meanwhile."""
        clock = SimulatedClock()
        failures = StartupFailures(clock)
        for _ in range(2000):
            failures.add(self.FAULTY)
        clock.sleep(60.0)
        assert failures.over


def too_many(failures: StartupFailures, loss: WorkerLost) -> bool:
    failures.add(loss)
    return failures.too_many
