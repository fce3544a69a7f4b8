"""Which clusters start nodes that are asked for, by what Ray 2.60 tells of them, and what they are asked for."""

from __future__ import annotations

import json

import pytest

from fod_bench.cluster import autoscaler
from fod_bench.runs.resources import Share

HEAD = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"


@pytest.mark.parametrize(
    ("kind", "grows"),
    [
        (
            "ray.head.default",
            True,
        ),  # `ray start --head --autoscaling-config=FILE`, with the kinds of nodes of that file
        (f"node_{HEAD}", False),  # `ray start --head`
    ],
)
def test_a_cluster_grows_whose_nodes_have_a_type_of_their_own(
    monkeypatch: pytest.MonkeyPatch, kind: str, grows: bool
) -> None:
    status = {"autoscaler_report": {"active_nodes": {}, "node_type_mapping": {HEAD: kind}}, "monitor_pid": 1}
    monkeypatch.setattr(autoscaler, "_internal_kv_get", lambda _key: json.dumps(status).encode())
    assert autoscaler.has_autoscaler() is grows


def test_one_that_tells_nothing_yet_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoscaler, "_internal_kv_get", lambda _key: b'{"load_metrics_report": {}}')
    assert not autoscaler.has_autoscaler()


@pytest.mark.parametrize("second_version", [True, False])
def test_the_second_version_is_known_by_its_own_word(monkeypatch: pytest.MonkeyPatch, second_version: bool) -> None:
    monkeypatch.setattr(autoscaler, "_internal_kv_get", lambda _key: None)
    monkeypatch.setattr(autoscaler, "is_autoscaler_v2", lambda fetch_from_server: second_version)
    assert autoscaler.has_autoscaler() is second_version


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> list[list[dict[str, float]]]:
    """What Ray is asked for, a list of bundles for each time."""
    found: list[list[dict[str, float]]] = []
    monkeypatch.setattr(autoscaler, "request_resources", lambda bundles: found.append(bundles))
    return found


def test_each_worker_is_a_bundle_of_what_it_takes_of_a_node(requested: list[list[dict[str, float]]]) -> None:
    autoscaler.request_workers({Share(2, 0.25): 2, Share(1, 0): 1})
    assert requested == [[{"CPU": 2, "GPU": 0.25}, {"CPU": 2, "GPU": 0.25}, {"CPU": 1}]]


def test_no_more_are_asked_for_at_once_than_the_autoscaler_goes_through(
    requested: list[list[dict[str, float]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autoscaler, "MOST_ASKED", 3)
    autoscaler.request_workers({Share(1, 1): 2, Share(1, 0): 1_000_000_000})
    assert requested == [[{"CPU": 1, "GPU": 1}, {"CPU": 1, "GPU": 1}, {"CPU": 1}]], "those that come first"


def test_what_was_asked_for_is_given_back(requested: list[list[dict[str, float]]]) -> None:
    autoscaler.request_workers({})
    assert requested == [[]], "Ray takes an empty list for nothing, and None for no change"
