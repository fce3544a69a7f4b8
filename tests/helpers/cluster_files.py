"""The files below `clusters/`, and what is wrong with one: nothing with those of the project, something with a broken copy."""

from __future__ import annotations

import copy
import gzip
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from fod_bench import __version__

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "clusters"
LAUNCHED = ("local", "onprem", "aws", "gcp")
"""Files for Ray's launcher."""
KUBERAY = ("kuberay-job", "kuberay-cluster")
"""Manifests."""
IMAGE = f"registry.example.com/fod-bench:{__version__}"
SCHEMAS = "FOD_BENCH_KUBERAY_SCHEMAS"
"""Environment variable that names the folder of KubeRay's CustomResourceDefinitions."""

_SHIPPED = {"fod_bench", "pyproject.toml", "constraints.txt", "README.md", "LICENSE", "~/.ray/auth_token"}
_SECRETS = re.compile(
    r"AKIA[0-9A-Z]{16}|PRIVATE KEY|secret_?access_?key|RAY_AUTH_TOKEN=|password\s*[:=]\s*\S|[0-9a-f]{40,}",
    re.IGNORECASE,
)


def text_of(name: str) -> str:
    """A file of `clusters/`, by its name with or without `.yaml`."""
    path = FOLDER / name
    return (path if path.suffix else path.with_suffix(".yaml")).read_text(encoding="utf-8")


def launched(name: str) -> dict[str, Any]:
    """The content of a file for Ray's launcher."""
    content: dict[str, Any] = yaml.safe_load(text_of(name))
    return content


def objects(name: str) -> list[dict[str, Any]]:
    """The objects of a manifest."""
    return list(yaml.safe_load_all(text_of(name)))


def constraints() -> dict[str, str]:
    """Package to the exact version in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split(";")[0].strip().split("==") for line in lines if line and not line.startswith("#"))


def secrets_in(text: str) -> list[str]:
    """What looks like a key, a token or a password."""
    return _SECRETS.findall(text)


def launcher_faults(config: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a file for Ray's launcher, by Ray's own checks and by rules of this project."""
    import jsonschema
    import ray.autoscaler
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        jsonschema.validate(config, json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text()))
        prepared = prepare_config(copy.deepcopy(config))
        validate_config(prepared)
    except Exception as error:  # Ray's, jsonschema's and click's, depending on the fault
        yield f"Ray: {getattr(error, 'message', error) or type(error).__name__}"
        return
    if config["provider"]["type"] == "aws":
        for name, kind in config["available_node_types"].items():
            yield from (f"AWS: {name}: {fault}" for fault in _instance_faults(kind["node_config"]))
            if "IamInstanceProfile" not in kind["node_config"]:
                yield f"{name} has no instance profile, and so no way to the bucket without keys"
    if config["provider"]["type"] == "gcp":
        for name, kind in config["available_node_types"].items():
            if not kind["node_config"].get("serviceAccounts"):
                yield f"{name} has no service account"
    yield from _closed_faults(config)


def _closed_faults(config: dict[str, Any]) -> Iterator[str]:
    shell = " ".join(config.get("setup_commands", []))
    container = " ".join(config.get("docker", {}).get("run_options", []))
    for command in config["head_start_ray_commands"] + config["worker_start_ray_commands"]:
        if "ray start" in command and "RAY_AUTH_MODE=token" not in f"{command} {shell} {container}":
            yield f"starts Ray without its token: {command}"
    head = " ".join(config["head_start_ray_commands"])
    if "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 " not in head and "--dashboard-host=127.0.0.1" not in head:
        yield "the dashboard is open"
    if config["provider"].get("worker_ips") != [] and "~/.ray/auth_token" not in config.get("file_mounts", {}):
        yield "the token is not brought to the nodes"
    for shipped in set(config.get("file_mounts", {}).values()) - _SHIPPED:
        yield f"ships {shipped}"
    for secret in secrets_in(yaml.safe_dump(config)):
        yield f"holds a secret: {secret}"


def _instance_faults(node_config: dict[str, Any]) -> Iterator[str]:
    """By the model of EC2's RunInstances that botocore has."""
    import botocore.session
    from botocore.validate import ParamValidator

    model = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances")
    report = ParamValidator().validate(node_config | {"MinCount": 1, "MaxCount": 1}, model.input_shape)
    if report.has_errors():
        yield report.generate_report()


def pod_templates(resource: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and content of every pod template of a KubeRay object."""
    spec = resource["spec"]
    if "submitterPodTemplate" in spec:
        yield "submitterPodTemplate", spec["submitterPodTemplate"]
    cluster = spec.get("rayClusterSpec", spec)
    yield "headGroupSpec", cluster["headGroupSpec"]["template"]
    for group in cluster["workerGroupSpecs"]:
        yield group["groupName"], group["template"]


def kubernetes_faults(resource: dict[str, Any]) -> Iterator[str]:
    """What is wrong, by Kubernetes' schemas, with an object of its own kinds or with the pod templates of one of KubeRay's."""
    import kubernetes_validate

    if resource["apiVersion"] == "ray.io/v1":
        checked = [
            (place, {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "checked"}, "template": template})
            for place, template in pod_templates(resource)
        ]
    else:
        checked = [(resource["kind"], resource)]
    for place, one in checked:
        try:
            kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{place}: {error.message}"


def kuberay_schemas() -> Path | None:
    """The folder of KubeRay's CustomResourceDefinitions; None where no variable names one."""
    named = os.environ.get(SCHEMAS)
    return Path(named) if named else None


def kuberay_faults(resource: dict[str, Any], folder: Path) -> Iterator[str]:
    """What is wrong with a KubeRay object, by its CustomResourceDefinition; unknown fields, too."""
    import jsonschema

    plural = resource["kind"].lower() + "s"
    content = gzip.decompress((folder / f"ray.io_{plural}.yaml.gz").read_bytes())
    definition = yaml.load(content, yaml.CSafeLoader)
    group, _, version = resource["apiVersion"].partition("/")
    assert definition["spec"]["group"] == group
    (schema,) = (one["schema"]["openAPIV3Schema"] for one in definition["spec"]["versions"] if one["name"] == version)
    for error in jsonschema.Draft7Validator(_strict(schema)).iter_errors(resource):
        yield f"{'.'.join(map(str, error.path))}: {error.message}"


def _strict(schema: Any) -> Any:
    """The schema, with fields that it does not have refused, as `kubectl` does."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(value) for key, value in schema.items()}
    known = schema.get("properties")
    if (
        isinstance(known, dict)
        and schema.get("type") == "object"
        and "additionalProperties" not in schema
        and not schema.get("x-kubernetes-preserve-unknown-fields")
    ):
        strict["additionalProperties"] = False
    return strict


def manifest_faults(resources: list[dict[str, Any]]) -> Iterator[str]:
    """What is wrong with a manifest by rules of this project: whether it is closed, its image, service account and cache."""
    (ray,) = (one for one in resources if one["apiVersion"] == "ray.io/v1")
    accounts = {one["metadata"]["name"] for one in resources if one["kind"] == "ServiceAccount"}
    policies = [one["spec"] for one in resources if one["kind"] == "NetworkPolicy"]
    cluster = ray["spec"].get("rayClusterSpec", ray["spec"])
    if cluster.get("authOptions") != {"mode": "token"}:
        yield "Ray asks for no token"
    for place, template in pod_templates(ray):
        labels = template["metadata"]["labels"]
        if not any(policy["podSelector"]["matchLabels"].items() <= labels.items() for policy in policies):
            yield f"{place}: no network policy is about it"
        yield from (f"{place}: {fault}" for fault in _pod_faults(template["spec"], accounts))
    for secret in secrets_in(yaml.safe_dump_all(resources)):
        yield f"holds a secret: {secret}"


def _pod_faults(pod: dict[str, Any], accounts: set[str]) -> Iterator[str]:
    (container,) = pod["containers"]
    if container["image"] != IMAGE:
        yield f"image {container['image']}"
    closed = container.get("securityContext", {})
    if not closed.get("runAsNonRoot") or closed.get("allowPrivilegeEscalation") is not False:
        yield "may become root"
    if not container["name"].startswith("ray-"):
        return
    if pod.get("serviceAccountName") not in accounts:
        yield "no service account for the bucket"
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    cached = Path(environment["FOD_BENCH_CACHE"])
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    room = next((volumes[mounts[str(parent)]] for parent in cached.parents if str(parent) in mounts), {})
    if "emptyDir" not in room:
        yield "the features cache lies on no emptyDir"
    elif float(environment["FOD_BENCH_CACHE_GIB"]) > int(room["emptyDir"]["sizeLimit"].removesuffix("Gi")):
        yield "the features cache may become larger than its volume"
