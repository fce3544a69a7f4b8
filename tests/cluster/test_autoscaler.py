"""Which clusters start nodes that are asked for, by what Ray 2.60 tells of them."""

from __future__ import annotations

import json

import pytest

from fod_bench.cluster import autoscaler

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
