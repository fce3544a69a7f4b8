"""clusters/local.yaml: Ray as its commands start it is closed, and takes a run."""

from __future__ import annotations

import importlib.util
import json
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

from tests.helpers.commands import Bench, wait_for
from tests.helpers.listeners import Address, listeners
from tests.helpers.ray_head import start_head


def test_ray_as_the_file_starts_it_is_closed_and_takes_a_run(bench: Bench) -> None:
    address = start_head(bench).address
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
    targets = wait_for(lambda: listed.exists() and _targets(listed), "the list of nodes")
    for target in targets:
        assert target.startswith("127.0.0.1:")
        wait_for(lambda at=f"http://{target}/metrics": _status(at) == 200, f"metrics at {target}")
    ports = {
        port: processes[process]
        for process, sockets in found.items()
        if "dashboard" in processes[process].lower()
        for _, port in sockets
        if f"127.0.0.1:{port}" not in targets
    }
    answers = {port: _status(f"http://127.0.0.1:{port}/api/jobs/") for port in ports}
    assert 401 in answers.values() and set(answers.values()) <= {401, None}, (answers, ports)


def _targets(listed: Path) -> list[str]:
    return [target for entry in json.loads(listed.read_text()) for target in entry["targets"]]


def _status(url: str) -> int | None:
    """Of the answer to one who has no token; None where nobody speaks http."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return int(answer.status)
    except HTTPError as refused:
        return refused.code
    except (OSError, HTTPException):
        return None
