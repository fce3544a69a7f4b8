"""What `--cluster` names: a Ray that takes jobs, a manifest for Kubernetes, a script for Slurm. Told by its content."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import yaml

from fod_bench.errors import ClusterError
from fod_bench.schema.problems import unknown
from fod_bench.text import shortened

DASHBOARD_PORT = 8265
"""Where Ray's head takes jobs, unless told otherwise."""
_MAX_BYTES = 1 << 20
_KINDS = "a file of clusters/ (Ray's launcher, KubeRay, Slurm), or the address of a Ray that runs, such as http://127.0.0.1:8265"


@dataclass(frozen=True)
class RayCluster:
    """A Ray whose head takes jobs."""

    name: str
    """As it was given."""
    url: str | None
    """Where it takes them; None: Ray's launcher makes a way there, by `file`."""
    file: Path | None = None
    port: int = DASHBOARD_PORT
    """Where the head takes them, of a cluster that a way leads to."""
    here: bool = False
    """Whether it seems to be this machine, whose folders it then sees."""


@dataclass(frozen=True)
class Kubernetes:
    """A manifest with a RayJob."""

    name: str
    resources: list[dict[str, Any]]
    """Its objects."""

    @property
    def ray_job(self) -> dict[str, Any]:
        """The RayJob among them."""
        return next(one for one in self.resources if one.get("kind") == "RayJob")


@dataclass(frozen=True)
class Slurm:
    """A batch script."""

    name: str
    script: str


Cluster: TypeAlias = RayCluster | Kubernetes | Slurm


def read_cluster(given: str) -> Cluster:
    """What `--cluster` names. Raises `ClusterError` for what is no cluster, and keys that it does not have."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", given):
        return _by_url(given)
    path = Path(given).expanduser()
    try:
        if path.is_file() and path.stat().st_size > _MAX_BYTES:
            raise ClusterError(
                f"{given} is larger than {_MAX_BYTES >> 20} MiB, so it describes no cluster; give {_KINDS}"
            )
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        said = "is no text" if isinstance(error, UnicodeDecodeError) else f"cannot be read: {error.strerror}"
        raise ClusterError(f"{given} {said}; --cluster takes {_KINDS}") from None
    if text.startswith("#!"):
        if not re.search(r"^#SBATCH ", text, re.MULTILINE):
            raise ClusterError(
                f"{given} is a script without lines of #SBATCH, so none for Slurm; --cluster takes {_KINDS}"
            )
        return Slurm(given, text)
    documents = _documents(given, text)
    if any("apiVersion" in one for one in documents):
        return _of_kubernetes(given, documents)
    if len(documents) == 1 and {"provider", "cluster_name"} & documents[0].keys():
        return _launched(given, path, documents[0])
    raise ClusterError(f"{given} describes no kind of cluster that is known here; --cluster takes {_KINDS}")


def _by_url(given: str) -> RayCluster:
    try:
        parts = urlsplit(given)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        whole = False
    if not whole or "@" in parts.netloc or parts.path.strip("/") or parts.query or parts.fragment:
        place = given.partition("://")[0]
        raise ClusterError(
            f"--cluster {place}://…: should be http://host:port or https://host:port and nothing more; a token comes from "
            "~/.ray/auth_token or RAY_AUTH_TOKEN_PATH"
        )
    url = given.rstrip("/")
    if parts.port is None and parts.scheme == "http":
        url += f":{DASHBOARD_PORT}"
    return RayCluster(url, url, here=_is_loopback(parts.hostname or ""))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _documents(given: str, text: str) -> list[dict[str, Any]]:
    try:
        documents = [one for one in yaml.safe_load_all(text) if one is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise ClusterError(f"{given}{at}: not readable as YAML: {shortened(' '.join(str(problem).split()))}") from None
    if not documents or not all(isinstance(one, dict) for one in documents):
        raise ClusterError(f"{given} holds no mappings, so it describes no cluster; --cluster takes {_KINDS}")
    return documents


def _of_kubernetes(given: str, documents: list[dict[str, Any]]) -> Kubernetes:
    kinds = [str(one.get("kind")) for one in documents]
    if "RayCluster" in kinds and "RayJob" not in kinds:
        raise ClusterError(
            f"{given} holds a RayCluster, which is there already when a job comes: forward its port, `kubectl port-forward "
            f"service/{_name_of(documents, 'RayCluster')}-head-svc {DASHBOARD_PORT}:{DASHBOARD_PORT}`, and give --cluster "
            f"http://127.0.0.1:{DASHBOARD_PORT}; clusters/kuberay-job.yaml makes a cluster for one job"
        )
    if kinds.count("RayJob") != 1:
        raise ClusterError(
            f"{given} should hold one RayJob, and holds {', '.join(kinds)}; see clusters/kuberay-job.yaml"
        )
    found = Kubernetes(given, documents)
    spec = found.ray_job.get("spec")
    try:
        assert isinstance(spec, dict)
        groups = [spec["rayClusterSpec"]["headGroupSpec"], *spec["rayClusterSpec"]["workerGroupSpecs"]]
        assert all(one["template"]["spec"]["containers"][0] for one in groups) and len(groups) > 1
    except (AssertionError, LookupError, TypeError):
        raise ClusterError(
            f"{given}: the RayJob should have a rayClusterSpec with a head and workers, each with a container; see "
            "clusters/kuberay-job.yaml"
        ) from None
    return found


def _name_of(documents: Iterable[dict[str, Any]], kind: str) -> str:
    found = next(one for one in documents if one.get("kind") == kind)
    metadata = found.get("metadata")
    return str(metadata.get("name", "NAME")) if isinstance(metadata, dict) else "NAME"


def _launched(given: str, path: Path, config: dict[str, Any]) -> RayCluster:
    """A cluster of Ray's launcher, checked by Ray's own schema."""
    import jsonschema
    import ray.autoscaler
    from ray.autoscaler._private.providers import _NODE_PROVIDERS

    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    for key in config:
        if key not in schema["properties"]:
            raise ClusterError(f"{given}: {unknown('key', key, schema['properties'])}")
    try:
        jsonschema.validate(config, schema)
    except jsonschema.ValidationError as error:
        at = ".".join(map(str, error.absolute_path))
        raise ClusterError(f"{given}: {f'{at}: ' if at else ''}{shortened(error.message)}") from None
    provider = config["provider"]
    if provider["type"] not in _NODE_PROVIDERS:
        raise ClusterError(f"{given}: {unknown('provider.type', provider['type'], _NODE_PROVIDERS)}")
    port = _dashboard_port(given, config.get("head_start_ray_commands", []))
    head = provider.get("head_ip") if provider["type"] == "local" else None
    if head is not None and _is_loopback(str(head)):
        return RayCluster(given, f"http://{head}:{port}", path, port, here=True)
    return RayCluster(given, None, path, port)


def _dashboard_port(given: str, commands: Iterable[str]) -> int:
    for command in commands:
        words = shlex.split(command)
        for at, word in enumerate(words):
            name, _, value = word.partition("=")
            if name == "--dashboard-port":
                value = value or next(iter(words[at + 1 :]), "")
                if not value.isdecimal():
                    raise ClusterError(f"{given}: --dashboard-port should be a number, not {value!r}")
                return int(value)
    return DASHBOARD_PORT
