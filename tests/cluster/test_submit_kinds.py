"""What `--cluster` may name: told by its content, and refused in one line with what would be right."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fod_bench.cluster.submit.kinds import Kubernetes, RayCluster, Slurm, read_cluster
from fod_bench.cluster.submit.reach import reached
from fod_bench.errors import ClusterError
from tests.helpers.cluster_files import FOLDER, launched


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Any], str]:
    def write(content: Any) -> str:
        path = tmp_path / "cluster.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return str(path)

    return write


def refusal(given: str) -> str:
    with pytest.raises(ClusterError) as caught:
        read_cluster(given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_file_of_the_project_is_known_or_says_what_is() -> None:
    kinds = {path.name: path for path in FOLDER.iterdir()}
    local = read_cluster(str(kinds.pop("local.yaml")))
    assert local == RayCluster(str(FOLDER / "local.yaml"), "http://127.0.0.1:8265", FOLDER / "local.yaml", here=True)
    for name in ("aws.yaml", "gcp.yaml", "onprem.yaml"):
        found = read_cluster(str(kinds.pop(name)))
        assert isinstance(found, RayCluster) and found.url is None and not found.here and found.port == 8265
    assert isinstance(read_cluster(str(kinds.pop("slurm.sh"))), Slurm)
    job = read_cluster(str(kinds.pop("kuberay-job.yaml")))
    assert isinstance(job, Kubernetes) and job.ray_job["metadata"]["name"] == "fod-bench"
    said = refusal(str(kinds.pop("kuberay-cluster.yaml")))
    assert "kubectl port-forward service/fod-bench-head-svc 8265:8265" in said and "http://127.0.0.1:8265" in said
    assert "prometheus.yaml" in refusal(str(kinds.pop("prometheus.yaml"))), "no cluster, but what watches one"
    assert "no kind of cluster" in refusal(str(kinds.pop("prices.yaml"))), "what machines cost"
    assert not [path for path in kinds.values() if path.suffix in (".yaml", ".sh")]


@pytest.mark.parametrize(
    ("given", "url", "here"),
    [
        ("http://127.0.0.1:8265", "http://127.0.0.1:8265", True),
        ("http://localhost:1234/", "http://localhost:1234", True),
        ("http://[::1]:1234", "http://[::1]:1234", True),
        ("http://ray.example.com", "http://ray.example.com:8265", False),
        ("https://ray.example.com", "https://ray.example.com", False),
    ],
)
def test_an_address(given: str, url: str, here: bool) -> None:
    assert read_cluster(given) == RayCluster(url, url, here=here)


@pytest.mark.parametrize(
    "given",
    [
        "ray://127.0.0.1:10001",
        "http://user:hunter22@host:8265",
        "http://",
        "http://host:port",
        "http://host:8265/jobs?token=hunter22",
    ],
)
def test_an_address_that_is_none_is_refused_without_its_secrets(given: str) -> None:
    said = refusal(given)
    assert "http://host:port" in said and "hunter22" not in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not readable as YAML"),
        ("- a\n- b\n", "holds no mappings"),
        ("", "holds no mappings"),
        ("name: quickstart\n", "no kind of cluster"),
        ("#!/bin/sh\necho\n", "#SBATCH"),
        ("apiVersion: v1\nkind: Pod\n", "one RayJob, and holds Pod"),
        ("apiVersion: ray.io/v1\nkind: RayJob\nspec: {}\n", "rayClusterSpec"),
        (launched("local") | {"worker": 2}, "unknown key 'worker'"),
        (launched("local") | {"max_workers": "two"}, "max_workers: 'two'"),
        (launched("aws") | {"provider": {"type": "awss"}}, "unknown provider.type 'awss'; did you mean aws"),
        (launched("aws") | {"provider": {}}, "provider"),
        (launched("local") | {"head_start_ray_commands": ["ray start --dashboard-port=x"]}, "--dashboard-port"),
    ],
)
def test_what_is_no_cluster_is_refused(written: Callable[[Any], str], content: Any, said: str) -> None:
    assert said in refusal(written(content))


def test_a_file_that_is_not_there_names_what_would_be_right(tmp_path: Path) -> None:
    for given in (str(tmp_path / "none.yaml"), str(tmp_path), "local"):
        said = refusal(given)
        assert "cannot be read" in said and "http://127.0.0.1:8265" in said
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert "is no text" in refusal(str(tmp_path / "binary"))


@pytest.mark.parametrize("option", ["--dashboard-port=9000", "--dashboard-port 9000"])
def test_the_port_is_that_of_the_file(written: Callable[[Any], str], option: str) -> None:
    config = launched("local")
    config["head_start_ray_commands"] = ["ray stop", f"ray start --head {option}"]
    assert read_cluster(written(config)) == RayCluster(
        written(config), "http://127.0.0.1:9000", Path(written(config)), 9000, here=True
    )


def test_a_cluster_that_nobody_started_is_told_at_once(written: Callable[[Any], str]) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    config = launched("local")
    config["head_start_ray_commands"] = [f"ray start --head --dashboard-port={port}"]
    cluster = read_cluster(written(config))
    assert isinstance(cluster, RayCluster)
    with (
        pytest.raises(ClusterError, match=f"http://127.0.0.1:{port} cannot be reached: .*is it up") as caught,
        reached(cluster),
    ):
        pass
    assert "\n" not in str(caught.value)


SSH = """#!{python}
import socket, sys, threading
words = sys.argv[1:]
if "-L" not in words:
    sys.exit(0)
here, _, there = words[words.index("-L") + 1].rpartition(":localhost:")
listening = socket.create_server(("127.0.0.1", int(here)))
def copy(one, other):
    while data := one.recv(65536):
        other.sendall(data)
    other.close()
while True:
    one, _ = listening.accept()
    other = socket.create_connection(("127.0.0.1", int(there)))
    for pair in ((one, other), (other, one)):
        threading.Thread(target=copy, args=pair, daemon=True).start()
"""


def test_a_head_elsewhere_that_was_not_started_is_named(
    written: Callable[[Any], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    cluster = read_cluster(written(launched("onprem")))
    assert isinstance(cluster, RayCluster)
    with (
        pytest.raises(ClusterError, match=r"Head node .* not found.*`ray up .*` starts it") as caught,
        reached(cluster),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_a_head_elsewhere_is_reached_through_ssh(
    written: Callable[[Any], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "ssh").write_text(SSH.format(python=sys.executable))
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    config = launched("onprem")
    # What `ray up` has left on the machine where it was given.
    head = {"ray-node-type": "head", "ray-node-status": "up-to-date", "ray-user-node-type": "local.cluster.node"}
    state = tmp_path / "ray" / f"cluster-{config['cluster_name']}.state"
    state.parent.mkdir()
    state.write_text(json.dumps({config["provider"]["head_ip"]: {"tags": head, "state": "running"}}))
    with socket.create_server(("127.0.0.1", 0)) as server:
        config["auth"] = {"ssh_user": "fod"}
        config["head_start_ray_commands"] = [f"ray start --head --dashboard-port={server.getsockname()[1]}"]
        cluster = read_cluster(written(config))
        assert isinstance(cluster, RayCluster)
        with reached(cluster) as url:
            host, _, port = url.removeprefix("http://").rpartition(":")
            assert host == "127.0.0.1"
            with socket.create_connection((host, int(port)), 10) as client:
                client.sendall(b"hello")
                while True:  # the way was tried by connections before
                    accepted, _ = server.accept()
                    if accepted.recv(5) == b"hello":
                        break
    with pytest.raises(OSError):
        socket.create_connection((host, int(port)), 5).close()
