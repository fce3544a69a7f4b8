"""clusters/local.yaml: Ray as its commands start it is closed, and takes a run."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from tests.helpers.cluster_files import launched
from tests.helpers.commands import Bench, wait_for
from tests.helpers.listeners import listeners

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
    done = joined.finished()
    assert done.code == 0 and "1 training: 1 done" in done.err and "warning:" not in done.err
