"""The files for Ray's launcher: Ray's own schema and checks take them, AWS's model takes the machines, and all is closed."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.helpers.cluster_files import LAUNCHED, launched, launcher_faults

CLOUDS = ("aws", "gcp")
REMOTE = ("onprem", *CLOUDS)
REMOVED = object()


def broken(name: str, place: str, value: Any) -> dict[str, Any]:
    """A copy of a file with one thing changed or removed, at the place of these keys."""
    config = copy.deepcopy(launched(name))
    at: Any = config
    *path, last = [int(key) if key.isdigit() else key for key in place.split(" > ")]
    for key in path:
        at = at[key]
    if value is REMOVED:
        del at[last]
    else:
        at[last] = value
    return config


@pytest.mark.parametrize("name", LAUNCHED)
def test_every_file_is_taken(name: str) -> None:
    assert list(launcher_faults(launched(name))) == []


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("workers", 2, "workers"),
        ("cluster_name", REMOVED, "cluster_name"),
        ("max_workers", "two", "two"),
        ("provider > type", REMOVED, ""),
        ("worker_start_ray_commands", "ray start", "ray start"),
    ],
)
@pytest.mark.parametrize("name", LAUNCHED)
def test_what_ray_refuses_is_refused(name: str, place: str, value: Any, said: str) -> None:
    faults = list(launcher_faults(broken(name, place, value)))
    assert faults and faults[0].startswith("Ray:") and said in faults[0]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("head_node_type", "main"),
        ("available_node_types > gpu > resources > GPU", "one"),
        ("available_node_types > gpu > workers", 2),
        ("available_node_types > gpu > min_workers", 3),
        ("auth > ssh_key", "~/.ssh/key"),
        ("docker > container_name", REMOVED),
        ("docker > ports", ["8265"]),
    ],
)
@pytest.mark.parametrize("name", CLOUDS)
def test_what_ray_refuses_of_a_cloud_is_refused(name: str, place: str, value: Any) -> None:
    faults = list(launcher_faults(broken(name, place, value)))
    assert faults and faults[0].startswith("Ray:")


@pytest.mark.parametrize("name", ["local", "onprem"])
@pytest.mark.parametrize("place", ["provider > head_ip", "provider > worker_ips"])
def test_hosts_are_asked_for(name: str, place: str) -> None:
    assert list(launcher_faults(broken(name, place, REMOVED)))


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("InstanceMarketOptions", {"Market": "spot"}, "Market"),
        ("InstanceType", 6, "InstanceType"),
        ("BlockDeviceMappings > 0 > Ebs > VolumeSize", "200 GB", "VolumeSize"),
        ("IamInstanceProfile", REMOVED, "instance profile"),
        ("SecurityGroupIds", "SECURITY_GROUP", "SecurityGroupIds"),
    ],
)
def test_what_aws_refuses_is_refused(place: str, value: Any, said: str) -> None:
    (fault,) = launcher_faults(broken("aws", f"available_node_types > gpu > node_config > {place}", value))
    assert said in fault


def test_a_machine_without_an_account_is_refused() -> None:
    (fault,) = launcher_faults(broken("gcp", "available_node_types > gpu > node_config > serviceAccounts", REMOVED))
    assert "service account" in fault


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("head_start_ray_commands", ["RAY_AUTH_MODE=token ray start --head"], "dashboard"),
        ("head_start_ray_commands", ["ray start --head --dashboard-host=0.0.0.0"], "dashboard"),
        ("file_mounts > ~/.ray/auth_token", REMOVED, "token"),
        ("file_mounts > ~/data", "/home/me/data", "ships /home/me/data"),
        ("file_mounts > ~/.aws", "~/.aws", "ships ~/.aws"),
        ("initialization_commands", ["export AWS_SECRET_ACCESS_KEY=abc"], "secret"),
        ("initialization_commands", ["export RAY_AUTH_TOKEN=" + "0a" * 32], "secret"),
    ],
)
@pytest.mark.parametrize("name", REMOTE)
def test_what_opens_a_cluster_is_refused(name: str, place: str, value: Any, said: str) -> None:
    faults = list(launcher_faults(broken(name, place, value)))
    assert any(said in fault for fault in faults), faults


@pytest.mark.parametrize(
    ("name", "place"), [("aws", "docker > run_options"), ("gcp", "docker > run_options"), ("onprem", "setup_commands")]
)
def test_a_ray_without_its_token_is_refused(name: str, place: str) -> None:
    assert any("without its token" in fault for fault in launcher_faults(broken(name, place, [])))


@pytest.mark.parametrize("name", CLOUDS)
def test_workers_are_on_spot_machines_with_a_gpu_and_the_head_trains_nothing(name: str) -> None:
    head, gpu = (launched(name)["available_node_types"][kind] for kind in ("head", "gpu"))
    assert head["resources"] == {"CPU": 0} and gpu["resources"]["GPU"] == 1
    assert gpu["min_workers"] == gpu["max_workers"] == launched(name)["max_workers"], "a run asks for no nodes"
    assert "spot" in str(gpu["node_config"]).lower() and "spot" not in str(head["node_config"]).lower()
