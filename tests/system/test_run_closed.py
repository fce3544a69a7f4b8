"""A Ray of one's own is closed to everybody else on the machine and beyond, and nothing of it is left."""

from __future__ import annotations

import signal
import stat
import sys
from pathlib import Path

from tests.helpers.commands import LONG, Bench, Running, alive, promised, wait_for
from tests.helpers.listeners import listeners

OPEN = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_AUTH_TOKEN": "of-some-cluster-" + "0" * 32,
    "RAY_ADDRESS": "192.0.2.1:6379",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
}
"""What a user of a cluster may have in the environment."""
SECRET = "KeepMeOutOfEveryFile/0123456789"
JOIN = """
import os, sys, ray
try:
    ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
    steal = ray.remote(num_cpus=0)(lambda: os.environ.get("AWS_SECRET_ACCESS_KEY"))
    print("joined:", ray.get(steal.remote()))
except Exception as error:
    print("refused:", type(error).__name__)
"""


def test_nobody_joins_the_ray_of_a_run_or_learns_its_token(bench: Bench) -> None:
    long = (
        bench.folder
        / "temporary folder with a path longer than Ray's sockets may have, of more than a hundred bytes in all"
    )
    long.mkdir()
    job = bench.job("closed", store="closed", settings=LONG | {"epochs": 4000}, seeds=[1, 2], checkpoint_seconds=0.2)
    environment = OPEN | {"AWS_SECRET_ACCESS_KEY": SECRET, "RAY_TMPDIR": "", "TMPDIR": str(long)}
    running = bench.start("run", job, "--workers", "1", **environment)
    running.reaches(lambda: bench.stored("trials/*/checkpoints/*.safetensors", "closed"), "a checkpoint")
    token = _token_file(running)  # of the only worker, though there are two trainings
    folder = token.parent
    secret = token.read_text()

    assert stat.S_IMODE(token.stat().st_mode) == 0o600 and len(secret) >= 32
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and folder.parent == Path("/tmp")
    processes = running.family()
    found = listeners(processes)
    names = " ".join(processes[process] for process in found)
    for kind in ("gcs_server", "raylet/raylet", "fod_bench.cli.app", "ray::RemoteWorker", "ray::RuntimeEnvAgent"):
        assert kind in names, f"{kind} listens, and was looked at"
    for process, sockets in found.items():
        assert all(address.is_loopback for address, _ in sockets), processes[process]

    (gcs,) = (process for process, command in processes.items() if command.split(" ")[0].endswith("gcs_server"))
    address = f"127.0.0.1:{found[gcs][0][1]}"
    attempts = {
        "nothing": {},
        "disabled": {"RAY_AUTH_MODE": "disabled"},
        "wrong": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * len(secret)},
        "right": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)},
    }
    joining = {name: _join(bench, address, attempt) for name, attempt in attempts.items()}
    answers = {name: one.finished().out.strip() for name, one in joining.items()}
    assert answers.pop("right") == f"joined: {SECRET}", "so that the others are refused for their token alone"
    assert all(answer.startswith("refused:") for answer in answers.values()), answers

    texts = {f"process {process}": command.encode() for process, command in processes.items()}
    texts |= {f"environment of {process}": _environ(process) for process in alive(processes)}
    texts |= {str(path): path.read_bytes() for path in _files(folder) if path != token}
    assert any("raylet" in Path(name).name for name in texts), "Ray's logs are among them"
    assert str(token).encode() in b"".join(texts.values()), "its place is no secret"
    running.signal(signal.SIGINT)
    done = running.finished()
    assert done.code == 130, done.err
    assert "is too long for its sockets" in done.err and "RAY_TMPDIR" in done.err
    assert "stopping: 1 trial leaves a checkpoint" in done.err
    assert done.err.endswith("to go on:\n  fod-bench run closed.yaml --workers 1\n")
    texts |= {"output": done.out.encode(), "progress": done.err.encode()}
    texts |= {str(path): path.read_bytes() for path in _files(bench.folder)}
    for where, content in texts.items():
        assert secret.encode() not in content, where
    assert not folder.exists()
    wait_for(lambda: not alive(processes), "Ray's processes to end")


def test_a_killed_run_leaves_nothing_of_its_ray(bench: Bench) -> None:
    job = bench.job("killed", store="killed", settings=LONG | {"epochs": 4000}, checkpoint_seconds=0.2)
    running = bench.start("run", job)
    running.reaches(lambda: bench.stored("trials/*/checkpoints/*.safetensors", "killed"), "a checkpoint")
    folder = _token_file(running).parent
    processes = running.family()
    running.signal(signal.SIGKILL, group=False)
    running.finished()
    wait_for(lambda: not alive(processes), "all of its Ray to end", promised(20))
    wait_for(lambda: not folder.exists(), "its folder to be removed")


def _token_file(running: Running) -> Path:
    """The file that a worker's environment names."""
    (worker,) = (process for process, command in running.processes().items() if command.startswith("ray::RemoteWorker"))
    variables = dict(line.partition("=")[::2] for line in _environ(worker).decode().split("\0"))
    assert "RAY_AUTH_TOKEN" not in variables
    return Path(variables["RAY_AUTH_TOKEN_PATH"])


def _environ(process: int) -> bytes:
    return Path(f"/proc/{process}/environ").read_bytes()


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def _join(bench: Bench, address: str, environment: dict[str, str]) -> Running:
    """Somebody who tries to run a task there, and knows what Ray wants to hear to look at 127.0.0.1 at all."""
    known = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_NUM_REDIS_GET_RETRIES": "2"}
    return bench.start_process(sys.executable, "-c", JOIN, address, **known, **environment)
