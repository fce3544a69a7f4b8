"""A RayJob for one job: the manifest that was given, with the job in a ConfigMap, its command, and machines as it needs them."""

from __future__ import annotations

import copy
import math
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from fod_bench import __version__
from fod_bench.cluster.submit.kinds import Kubernetes
from fod_bench.cluster.submit.needs import Needs
from fod_bench.cluster.submit.package import JOB, versions
from fod_bench.errors import ClusterError, UsageError
from fod_bench.job import Job, dump_job, run_id

_FOLDER = "/fod-bench-job"
"""Where the head's container has the job."""
_MOST_BYTES = 900_000
"""Of a job: Kubernetes takes a ConfigMap of 1 MiB."""
_NAME_LENGTH = 47
"""Of a RayJob, from whose name others are made."""
_GPU = "nvidia.com/gpu"
_PLACEHOLDERS = re.compile(r"registry\.example\.com|\bBUCKET\b|\bPROJECT\b|\b123456789012\b")


def filled_in(cluster: Kubernetes, job: Job, needs: Needs, arguments: Sequence[str]) -> list[dict[str, Any]]:
    """The objects to be applied. `arguments`: of `fod-bench run`. Raises `ClusterError` for what does not fit this program."""
    resources = copy.deepcopy(cluster.resources)
    ray_job = next(one for one in resources if one.get("kind") == "RayJob")
    _check_versions(cluster)
    text = dump_job(job)
    if len(text.encode()) > _MOST_BYTES:
        raise ClusterError(f"job {job.name!r} takes more than {_MOST_BYTES} bytes, which no ConfigMap holds: split it")
    name = object_name(job)
    ray_job.setdefault("metadata", {})["name"] = name
    spec = ray_job["spec"]
    spec["entrypoint"] = shlex.join(["fod-bench", "run", f"{_FOLDER}/{JOB}", *arguments, "--address", "auto"])
    ray = spec["rayClusterSpec"]
    _mount(ray["headGroupSpec"]["template"]["spec"], name)
    for group in ray["workerGroupSpecs"]:
        _size(group, needs)
    metadata = {"name": name, **({"namespace": space} if (space := ray_job["metadata"].get("namespace")) else {})}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {JOB: text}}
    return [*(one for one in resources if one is not ray_job), config, ray_job]


def object_name(job: Job) -> str:
    """What Kubernetes calls the job: its run, as such names are written."""
    name, _, digest = run_id(job).rpartition("-")
    room = _NAME_LENGTH - len("fod--") - len(digest)
    plain = name.replace("_", "-")[:room].strip("-")
    return f"fod-{plain}-{digest}" if plain else f"fod-{digest}"


def manifest_text(resources: Sequence[dict[str, Any]]) -> str:
    """The objects as one file."""
    return yaml.dump_all(resources, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def unfilled(text: str) -> list[str]:
    """What of a manifest still stands for something that a person has to fill in."""
    return list(dict.fromkeys(_PLACEHOLDERS.findall(text)))


def apply(path: Path) -> None:
    """Have `kubectl` apply a manifest. Raises `UsageError` where there is none, `ClusterError` when it is refused."""
    kubectl = require_kubectl(f"kubectl apply --filename {path}")
    done = subprocess.run(
        [kubectl, "apply", "--filename", str(path)], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["it gave no reason"]
        raise ClusterError(f"kubectl does not apply {path}: {said[0]}")


def require_kubectl(command: str) -> str:
    """Where `kubectl` is. Raises `UsageError`."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise UsageError(
            f"--apply needs kubectl, and there is none on PATH; without it the manifest is written, for `{command}`"
        )
    return kubectl


class _Dumper(yaml.SafeDumper):
    """Writes everything out, and texts of several lines as such."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _check_versions(cluster: Kubernetes) -> None:
    ray = cluster.ray_job["spec"]["rayClusterSpec"]
    there, here = ray.get("rayVersion"), versions()["Ray"]
    if there is not None and str(there) != here:
        raise ClusterError(f"{cluster.name}: rayVersion is {there}, this machine has Ray {here}; both need the same")
    for container in _containers(ray):
        tag = re.fullmatch(r"(?:.*/)?fod-bench:(\d+\.\d+\.\d+\S*)", str(container.get("image", "")))
        if tag is not None and tag[1] != __version__:
            raise ClusterError(
                f"{cluster.name}: image {container['image']} has fod-bench {tag[1]}, this machine {__version__}; both need the same"
            )


def _containers(ray: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for group in (ray["headGroupSpec"], *ray["workerGroupSpecs"]):
        yield group["template"]["spec"]["containers"][0]


def _mount(pod: dict[str, Any], config: str) -> None:
    """Have the job's folder in the pod's first container."""
    container = pod["containers"][0]
    volumes, mounts = ([*(holder.get(key) or [])] for holder, key in ((pod, "volumes"), (container, "volumeMounts")))
    pod["volumes"] = [*volumes, {"name": "fod-bench-job", "configMap": {"name": config}}]
    container["volumeMounts"] = [*mounts, {"name": "fod-bench-job", "mountPath": _FOLDER, "readOnly": True}]


def _size(group: dict[str, Any], needs: Needs) -> None:
    """Have workers as the job needs them, as many as there is work for."""
    container = group["template"]["spec"]["containers"][0]
    resources = container.setdefault("resources", {})
    limits = dict(resources.get("limits") or {})
    requests = dict(resources.get("requests") or {})
    cpus = needs.node_cpus(math.ceil(_cpus(limits.get("cpu", requests.get("cpu", 1)))))
    gpus = needs.node_gpus(int(str(limits.get(_GPU, 0))))
    memory = needs.node_memory(cpus, gpus) if not gpus else 0.0
    for kind in (limits, requests):
        kind["cpu"] = str(cpus)
        if memory > _bytes(kind.get("memory", "0")):
            kind["memory"] = f"{math.ceil(memory / 2**30)}Gi"
        kind.pop(_GPU, None)
        if gpus:
            kind[_GPU] = str(gpus)
    resources["limits"], resources["requests"] = limits, requests
    replicas = needs.nodes(cpus, gpus, int(group.get("replicas", 1)))
    group["replicas"] = replicas
    group["minReplicas"] = min(replicas, int(group.get("minReplicas", replicas)))


def _cpus(quantity: Any) -> float:
    text = str(quantity)
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "": 1}


def _bytes(quantity: Any) -> float:
    found = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(quantity))
    return float(found[1]) * _UNITS.get(found[2], 1) if found else 0.0
