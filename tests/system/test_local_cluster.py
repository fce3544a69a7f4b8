"""clusters/local.yaml: Ray as its commands start it is closed, and takes a run."""

from __future__ import annotations

import importlib.util
import json
import shlex
import sys
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

from tests.helpers.cluster_files import launched
from tests.helpers.commands import Bench, wait_for
from tests.helpers.listeners import Address, listeners

RAY = str(Path(sys.executable).with_name("ray"))


def test_ray_as_the_file_starts_it_is_closed_and_takes_a_run(bench: Bench) -> None:
    made = bench.start_process(RAY, "get-auth-token", "--generate").finished()
    token = Path(bench.environment["HOME"]) / ".ray/auth_token"
    assert made.code == 0 and token.read_text() == made.out.strip()
    words = shlex.split(launched("local")["head_start_ray_commands"][1].replace("--port=6379", "--port=0"))
    at = words.index("ray")
    environment = dict(word.split("=") for word in words[:at])
    started = bench.start_process(RAY, *words[at + 1 :], "--num-cpus=1", **environment).finished()
    assert started.code == 0, started.err
    address = (Path(bench.environment["RAY_TMPDIR"]) / "ray/ray_current_cluster").read_text().strip()
    assert address.startswith("127.0.0.1:")

    wait_for(lambda: any("dashboard/agent" in command for command in bench.processes().values()), "all of Ray")
    job = bench.job("joined")
    refused = bench.run("run", job, "--address", address, code=1, RAY_AUTH_TOKEN="0" * 64)
    assert "asks for another token" in refused.err
    joined = bench.start("run", job, "--address", address)
    wait_for(lambda: bench.stored("trials/*/checkpoints/*.safetensors") or bench.records(), "a worker")
    processes = bench.processes()
    found = listeners(processes)
    for kind in ("gcs_server", "raylet"):
        assert any(kind in processes[process] for process in found), kind
    for process, sockets in found.items():
        assert all(own.is_loopback for own, _ in sockets), (processes[process], sockets)
    if importlib.util.find_spec("prometheus_client"):  # else Ray starts neither dashboard nor metrics
        _check_dashboard_and_metrics(bench, processes, found)
    done = joined.finished()
    assert done.code == 0 and "1 training: 1 done" in done.err and "warning:" not in done.err


def _check_dashboard_and_metrics(
    bench: Bench, processes: dict[int, str], found: dict[int, list[tuple[Address, int]]]
) -> None:
    """The dashboard wants the token; the metrics, which Prometheus finds by the dashboard's list, do not."""
    listed = Path(bench.environment["RAY_TMPDIR"]) / "ray" / PROMETHEUS_SERVICE_DISCOVERY_FILE
    wait_for(lambda: listed.exists() and _targets(listed), "the list of nodes")
    for target in _targets(listed):
        assert target.startswith("127.0.0.1:") and _status(f"http://{target}/metrics") == 200
    ports = {
        port: processes[process]
        for process, sockets in found.items()
        if "dashboard" in processes[process].lower()
        for _, port in sockets
        if f"127.0.0.1:{port}" not in _targets(listed)
    }
    answers = {port: _status(f"http://127.0.0.1:{port}/api/jobs/") for port in ports}
    assert 401 in answers.values() and set(answers.values()) <= {401, None}, (answers, ports)


def _targets(listed: Path) -> list[str]:
    return [target for entry in json.loads(listed.read_text()) for target in entry["targets"]]


def _status(url: str) -> int | None:
    """Of the answer to one who has no token; None where nobody speaks http."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except HTTPError as refused:
        return refused.code
    except (OSError, HTTPException):
        return None
