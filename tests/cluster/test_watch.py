"""Noticing that Ray is gone: when it is said, when Ray counts as lost, and that a run which waits inside Ray ends all the same."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from fod_bench.cluster import guard, watch
from fod_bench.cluster.joined_ray import KNOCK_SECONDS, PATIENCE_SECONDS
from fod_bench.cluster.watch import LOOK_SECONDS, SAY_SECONDS, STUCK_SECONDS, Link, Outage, Watch
from fod_bench.errors import FodBenchError, LostRayError
from tests.helpers.commands import LIMIT, wait_for

SILENT = "the Ray cluster at host:6379 does not answer (refused)"


def told(outage: Outage, wrong: Callable[[float], bool], until: float, each: float = LOOK_SECONDS) -> dict[float, str]:
    """What is said at which second, when Ray is looked at every so often; ends when Ray counts as lost."""
    lines, now = {}, 0.0
    while now <= until and not outage.over:
        line = outage.found(SILENT if wrong(now) else None, now)
        if line is not None:
            lines[now] = line
        now += each
    return lines


def test_of_a_cluster_it_is_said_every_15_seconds_until_it_is_given_up_after_5_minutes() -> None:
    outage = Outage(PATIENCE_SECONDS)
    lines = told(outage, lambda now: now >= 100, until=1000)
    assert outage.over
    assert list(lines) == [100 + 15 * number for number in range(1, 20)], "at 300 s it ends, with a line of its own"
    assert lines[115] == f"waiting   {SILENT}, for 15 s; given up after 300 s"
    assert lines[385] == f"waiting   {SILENT}, for 285 s; given up after 300 s"


def test_it_is_given_up_at_the_documented_second() -> None:
    for lasts, lost in ((299.75, False), (300.0, True)):
        outage = Outage(PATIENCE_SECONDS)
        told(outage, lambda now, lasts=lasts: 100 <= now <= 100 + lasts, until=1000)  # type: ignore[misc]
        assert outage.over == lost


def test_a_cluster_that_answers_again_is_told_where_its_silence_was_and_is_waited_for_anew() -> None:
    outage = Outage(PATIENCE_SECONDS)
    silent = ((100, 110), (200, 240), (300, 590), (600, 890))
    lines = told(outage, lambda now: any(begin <= now < end for begin, end in silent), until=1000)
    assert not outage.over
    again = {now: line for now, line in lines.items() if line.startswith("again")}
    assert again == {
        240: "again     Ray answers, after 40 s",
        590: "again     Ray answers, after 290 s",
        890: "again     Ray answers, after 290 s",
    }, "ten seconds are not worth a line"
    assert [now for now in lines if 200 <= now <= 240] == [215, 230, 240]


def test_a_network_that_drops_everything_makes_it_no_rarer_than_a_look() -> None:
    lines = list(told(Outage(PATIENCE_SECONDS), lambda now: True, until=1000, each=LOOK_SECONDS + KNOCK_SECONDS))
    assert all(later - earlier < SAY_SECONDS + 5 for earlier, later in zip([0.0, *lines], lines, strict=False))


def test_a_ray_of_ones_own_is_lost_at_the_first_look() -> None:
    outage = Outage(Link({}).patience)
    assert outage.found(None, 0.0) is None and not outage.over
    assert outage.found("Ray has lost its raylet", LOOK_SECONDS) is None and outage.over


def test_what_is_promised_in_seconds_holds_by_the_programs_own_limits() -> None:
    """The runs that show it are allowed more time, on a busy machine."""
    assert LOOK_SECONDS + STUCK_SECONDS <= 15, "the end of a Ray of its own is noticed, even while waiting inside Ray"
    assert guard.GRACE_SECONDS <= 10, "and nothing of it lives longer than 20 s"


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[FodBenchError]:
    """What the process would have been ended with."""
    found: list[FodBenchError] = []
    monkeypatch.setattr(watch, "end_at_once", found.append)
    return found


def test_the_main_thread_heeds_a_loss_by_its_next_check(ended: list[FodBenchError]) -> None:
    wrong: list[str | None] = [None]
    said: list[str] = []
    with Watch(Link({}, lambda: wrong[0]), said.append) as looking:
        looking.check()
        assert looking.answers
        wrong[0] = "Ray has lost its raylet"
        wait_for(lambda: not looking.answers, "the loss to be noticed")
        with pytest.raises(LostRayError, match="Ray has lost its raylet; to go on:\n  fod-bench"):
            looking.check()
    assert not said


def test_a_check_waits_for_a_cluster_that_may_answer_again(ended: list[FodBenchError]) -> None:
    wrong: list[str | None] = [SILENT]
    with Watch(Link({}, lambda: wrong[0], patience=LIMIT), print) as looking:
        wait_for(lambda: not looking.answers, "the silence to be noticed")
        checking = threading.Thread(target=looking.check)
        checking.start()
        wrong[0] = None
        checking.join(LIMIT)
        assert not checking.is_alive() and looking.answers
    assert not ended


def test_a_main_thread_that_waits_inside_ray_is_ended(
    ended: list[FodBenchError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "STUCK_SECONDS", 0.05)
    with Watch(Link({}, lambda: "Ray has lost its gcs_server"), print):
        wait_for(lambda: ended, "the process to be ended")
    (error,) = ended
    assert isinstance(error, LostRayError) and error.exit_code == 1
