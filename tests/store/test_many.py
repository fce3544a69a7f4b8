"""Many reads: in order and whole, by threads where they wait, without where they do not."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from fod_bench.store import many
from fod_bench.store.many import read_many
from tests.helpers.commands import LIMIT


def clocks(monkeypatch: pytest.MonkeyPatch, wall: float, busy: float) -> None:
    """The first reads take `wall` seconds, in which their thread computes for `busy`."""

    def times(seconds: float) -> Iterator[float]:
        yield from (100.0, 100.0 + seconds)

    for name, seconds in (("perf_counter", wall), ("thread_time", busy)):
        monkeypatch.setattr(many, name, times(seconds).__next__)


@pytest.mark.parametrize("count", [0, 1, 8, 9, 1000])
@pytest.mark.parametrize("wall", [0.1, 1.0])
def test_every_object_is_read_once_and_in_order(monkeypatch: pytest.MonkeyPatch, wall: float, count: int) -> None:
    clocks(monkeypatch, wall, 0.1)
    read: list[int] = []

    def double(number: int) -> int:
        read.append(number)
        return 2 * number

    assert read_many(double, range(count)) == [2 * number for number in range(count)]
    assert sorted(read) == list(range(count))


def test_reads_that_wait_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks(monkeypatch, 1.0, 0.1)
    together = threading.Barrier(many.READERS)

    def read(number: int) -> None:
        if number >= 8:
            together.wait(LIMIT)  # which a reader by itself does not pass

    read_many(read, range(8 + 4 * many.READERS))


def test_reads_that_do_not_wait_have_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks(monkeypatch, 0.1, 0.1)
    assert set(read_many(lambda number: threading.get_ident(), range(100))) == {threading.get_ident()}


@pytest.mark.parametrize("wall", [0.1, 1.0])
def test_what_a_read_raises_is_raised(monkeypatch: pytest.MonkeyPatch, wall: float) -> None:
    clocks(monkeypatch, wall, 0.1)
    with pytest.raises(LookupError, match="50"):
        read_many({number: number for number in range(100) if number != 50}.__getitem__, range(100))
