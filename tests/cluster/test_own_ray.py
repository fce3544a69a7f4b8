"""A Ray of one's own has the cores that the run's process may use."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest

from fod_bench.cluster import own_ray as module
from fod_bench.cluster.own_ray import own_ray
from fod_bench.job import Resources
from fod_bench.runs.resources import NodeResources, share_of
from tests.helpers.commands import one_core


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A short path for its folder."""
    with tempfile.TemporaryDirectory(prefix="p", dir="/tmp") as made:
        monkeypatch.setenv("RAY_TMPDIR", made)
        yield


def workers_of_one_core() -> int:
    """How many such workers Ray would have room for."""
    with own_ray(print) as link:
        nodes = [NodeResources(link.arguments["num_cpus"])]
    return share_of(Resources(), nodes).fit(nodes)


def test_it_has_the_cores_that_are_counted_by_affinity_and_control_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cores", lambda: 3)
    assert workers_of_one_core() == 3


def test_a_run_bound_to_one_core_has_one_worker() -> None:
    with one_core():
        assert workers_of_one_core() == 1
