"""A Ray head that takes jobs, started by the commands of clusters/local.yaml in processes of its own. Needs nothing of pytest."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import yaml

from tests.helpers.cluster_files import launched
from tests.helpers.commands import Bench
from tests.helpers.ray_nodes import send
from tests.helpers.s3_servers import free_ports

BIN = Path(sys.executable).parent
_STARTS = 4
"""Ray gives its raylet 30 s, which a busy machine may take."""


class Head(NamedTuple):
    """A cluster of one node."""

    file: str
    """A copy of clusters/local.yaml in the working folder, with the ports that this one has."""
    url: str
    token: str
    address: str


def start_head(bench: Bench) -> Head:
    """Start it, with one CPU and the token of the bench's user; `bench.close` ends it."""
    made = bench.start_process(str(BIN / "ray"), "get-auth-token", "--generate").finished()
    token = (Path(bench.environment["HOME"]) / ".ray/auth_token").read_text().strip()
    assert made.code == 0 and token == made.out.strip(), made.err
    dashboard, agent, *metrics = ray_ports(4)
    config = launched("local")
    command = config["head_start_ray_commands"][1].replace("--port=6379", "--port=0")
    config["head_start_ray_commands"][1] = command = f"{command} --dashboard-port={dashboard} --num-cpus=1"
    (bench.folder / "local.yaml").write_text(yaml.safe_dump(config))
    words = shlex.split(command)
    at = words.index("ray")
    environment = dict(word.split("=") for word in words[:at])
    environment["PATH"] = f"{BIN}:{bench.environment['PATH']}"
    # Their defaults are the same for every Ray of a machine: a second one would list ports of the first.
    environment |= zip(("DASHBOARD_METRIC_PORT", "AUTOSCALER_METRIC_PORT"), map(str, metrics), strict=True)
    options = [*words[at + 1 :], f"--dashboard-agent-listen-port={agent}"]
    for left in reversed(range(_STARTS)):
        started = bench.start_process(str(BIN / "ray"), *options, **environment)
        done = started.finished()
        if done.code == 0:
            break
        assert "timed out during startup" in done.err and left, done.err
        for process in started.processes():
            send(process, signal.SIGKILL)
    address = (Path(bench.environment["RAY_TMPDIR"]) / "ray/ray_current_cluster").read_text().strip()
    return Head("local.yaml", f"http://127.0.0.1:{dashboard}", token, address)


def ray_ports(count: int) -> list[int]:
    """Free ports that Ray gives to no worker."""
    found: list[int] = []
    while len(found) < count:
        found += [port for port in free_ports(count) if port > 20_000]
    return found[:count]
