"""The KubeRay manifests: Kubernetes' schemas, KubeRay's own, and what this project asks of them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.helpers.cluster_files import (
    KUBERAY,
    SCHEMAS,
    kuberay_faults,
    kuberay_schemas,
    kubernetes_faults,
    manifest_faults,
    objects,
)

needs_schemas = pytest.mark.skipif(
    kuberay_schemas() is None, reason=f"{SCHEMAS} names no folder with KubeRay's CustomResourceDefinitions"
)


def ray_object(name: str) -> dict[str, Any]:
    """The KubeRay object of a manifest."""
    (found,) = (one for one in objects(name) if one["apiVersion"] == "ray.io/v1")
    return copy.deepcopy(found)


def cluster_of(resource: dict[str, Any]) -> dict[str, Any]:
    """The RayCluster's spec in a KubeRay object."""
    cluster: dict[str, Any] = resource["spec"].get("rayClusterSpec", resource["spec"])
    return cluster


def worker_pod(resource: dict[str, Any]) -> dict[str, Any]:
    """The spec of a worker's pod."""
    pod: dict[str, Any] = cluster_of(resource)["workerGroupSpecs"][0]["template"]["spec"]
    return pod


@pytest.mark.parametrize("name", KUBERAY)
def test_kubernetes_takes_every_object_and_pod_template(name: str) -> None:
    assert {one["kind"] for one in objects(name)} >= {"ServiceAccount", "NetworkPolicy"}
    for one in objects(name):
        assert list(kubernetes_faults(one)) == [], one["kind"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("serviceAccount_name", "fod-bench"),
        ("tolerations", {"key": "nvidia.com/gpu"}),
        ("volumes", [{"name": "cache", "emptyDir": {"size": "60Gi"}}]),
        ("containers", [{"image": "fod-bench"}]),
        ("containers", [{"name": "ray-worker", "env": [{"name": "FOD_BENCH_CACHE_GIB", "value": 40}]}]),
    ],
)
@pytest.mark.parametrize("name", KUBERAY)
def test_a_pod_that_kubernetes_refuses_is_refused(name: str, key: str, value: Any) -> None:
    resource = ray_object(name)
    worker_pod(resource)[key] = value
    (fault,) = kubernetes_faults(resource)
    assert fault.startswith("gpu:")


@pytest.mark.parametrize(("kind", "key"), [("ServiceAccount", "automountToken"), ("NetworkPolicy", "rules")])
@pytest.mark.parametrize("name", KUBERAY)
def test_an_object_that_kubernetes_refuses_is_refused(name: str, kind: str, key: str) -> None:
    (one,) = (copy.deepcopy(one) for one in objects(name) if one["kind"] == kind)
    assert list(kubernetes_faults(one)) == []
    (one if kind == "ServiceAccount" else one["spec"])[key] = True
    assert list(kubernetes_faults(one))


@needs_schemas
@pytest.mark.parametrize("name", KUBERAY)
def test_kuberay_takes_its_object(name: str) -> None:
    folder = kuberay_schemas()
    assert folder is not None
    assert list(kuberay_faults(ray_object(name), folder)) == []


@needs_schemas
@pytest.mark.parametrize(
    ("place", "key", "value"),
    [
        ("cluster", "authOptions", {"mode": "tokens"}),
        ("cluster", "authentication", {"mode": "token"}),
        ("cluster", "rayVersion", 2.6),
        ("group", "replicas", "two"),
        ("group", "groupName", None),
        ("group", "rayStartParams", {"num-cpus": 0}),
        ("pod", "volumes", [{"name": "cache", "emptyDir": {"size": "60Gi"}}]),
    ],
)
@pytest.mark.parametrize("name", KUBERAY)
def test_what_kuberay_refuses_is_refused(name: str, place: str, key: str, value: Any) -> None:
    folder, resource = kuberay_schemas(), ray_object(name)
    assert folder is not None
    cluster = cluster_of(resource)
    {"cluster": cluster, "group": cluster["workerGroupSpecs"][0], "pod": worker_pod(resource)}[place][key] = value
    assert any(key in fault for fault in kuberay_faults(resource, folder))


@pytest.mark.parametrize("name", KUBERAY)
def test_a_manifest_is_closed_and_has_the_image_the_account_and_the_cache(name: str) -> None:
    assert list(manifest_faults(objects(name))) == []


@pytest.mark.parametrize("name", KUBERAY)
def test_a_manifest_that_is_open_or_lacks_something_is_refused(name: str) -> None:
    def faults(change: Any) -> list[str]:
        resources = copy.deepcopy(objects(name))
        (resource,) = (one for one in resources if one["apiVersion"] == "ray.io/v1")
        change(resources, cluster_of(resource), worker_pod(resource))
        return list(manifest_faults(resources))

    def container(pod: dict[str, Any]) -> dict[str, Any]:
        return pod["containers"][0]  # type: ignore[no-any-return]

    changes: dict[str, Any] = {
        "no token": lambda all_, cluster, pod: cluster.pop("authOptions"),
        "no network policy": lambda all_, cluster, pod: all_.pop(1),
        "service account": lambda all_, cluster, pod: pod.update(serviceAccountName="default"),
        "image": lambda all_, cluster, pod: container(pod).update(image="rayproject/ray:latest"),
        "root": lambda all_, cluster, pod: container(pod).pop("securityContext"),
        "no emptyDir": lambda all_, cluster, pod: container(pod).update(volumeMounts=[]),
        "larger than its volume": lambda all_, cluster, pod: pod["volumes"][0]["emptyDir"].update(sizeLimit="20Gi"),
        "secret": lambda all_, cluster, pod: pod.update(nodeName="AKIA" + "A" * 16),
    }
    for said, change in changes.items():
        assert any(said in fault for fault in faults(change)), said


@pytest.mark.parametrize("name", KUBERAY)
def test_workers_take_gpus_and_the_head_trains_nothing(name: str) -> None:
    cluster = cluster_of(ray_object(name))
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    (group,) = cluster["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "1"
    assert group["minReplicas"] == group["replicas"] == group["maxReplicas"], "a run asks for no nodes"
