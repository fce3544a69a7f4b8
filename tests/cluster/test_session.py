"""Starting Ray again where it was too slow, which a busy machine makes it, and nowhere else; without a real one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import ray

from fod_bench.cluster import session
from fod_bench.cluster.session import ray_session
from fod_bench.cluster.watch import Link
from fod_bench.errors import ClusterError

TOO_SLOW = "The current node timed out during startup. This could happen because some of the raylet failed to startup."


class Rays:
    """Stands in for Ray: notes what is started and ended, and fails as it is told, once for each reason."""

    def __init__(self, *fails: str) -> None:
        self.fails, self.open, self.made = list(fails), 0, 0

    @contextmanager
    def own(self, *_: object) -> Iterator[Link]:
        assert not self.open, "what is left of the last one was cleared away"
        self.open += 1
        self.made += 1
        yield Link({"number": self.made})
        self.open -= 1

    def init(self, **_: Any) -> None:
        if self.fails:
            raise RuntimeError(self.fails.pop(0))


def started(rays: Rays, monkeypatch: pytest.MonkeyPatch, address: str | None = None) -> list[str]:
    """A session on it; what a person is told."""
    for name in ("own_ray", "joined_ray"):
        monkeypatch.setattr(session, name, rays.own)
    monkeypatch.setattr(session, "assure_closed", lambda: None)
    monkeypatch.setattr(ray, "init", rays.init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    told: list[str] = []
    try:
        with ray_session(address, note=told.append):
            assert rays.open == 1
    finally:
        assert rays.open == 0
    return told


def test_one_that_was_too_slow_is_started_again_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rays = Rays(TOO_SLOW, TOO_SLOW)
    told = started(rays, monkeypatch)
    assert rays.made == 3
    assert told == ["again     Ray did not start in the time that it gives itself; the machine may be busy"] * 2


@pytest.mark.parametrize(
    ("fails", "address", "made"),
    [
        ([TOO_SLOW] * 3, None, 3),
        (["no room for its sockets"], None, 1),
        ([TOO_SLOW], "host:6379", 1),
    ],
    ids=["three times", "another reason", "a cluster"],
)
def test_what_will_not_start_is_told(
    fails: list[str], address: str | None, made: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rays = Rays(*fails)
    with pytest.raises(ClusterError, match=r"timed out during startup|no room for its sockets"):
        started(rays, monkeypatch, address)
    assert rays.made == made and not rays.fails
