"""`fod-bench submit` to a Ray head in processes of its own: followed, killed, stopped, resumed; what is sent, what is refused."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.commands import LONG, Bench, Running, wait_for
from tests.helpers.ray_head import Head, ray_ports, start_head
from tests.helpers.ray_nodes import SETTINGS, Nodes
from tests.helpers.s3_servers import Server

pytest.importorskip("aiohttp", reason="submitting takes Ray's dashboard: pip install 'fod-bench[cluster]'")

SECRET = "secret-" + uuid.uuid4().hex


@pytest.fixture(scope="module")
def head(bench: Bench) -> Head:
    """Ray's head on this machine, which has none of the secrets of whoever submits."""
    return start_head(bench)


def submissions(bench: Bench, head: Head) -> list[dict[str, Any]]:
    done = bench.run("submit", "status", "--json", "--cluster", head.file)
    found: list[dict[str, Any]] = json.loads(done.out)
    return found


def at_work(running: Running, bench: Bench, head: Head, store: str) -> str:
    """The id of the submission, once a training has left a checkpoint."""
    running.reaches(lambda: bench.stored("trials/*/checkpoints/*.safetensors", store), "a checkpoint")
    return str(submissions(bench, head)[-1]["id"])


def test_it_is_followed_lives_on_is_stopped_and_goes_on(bench: Bench, head: Head) -> None:
    job = bench.job("long", LONG, checkpoint_seconds=0)
    following = bench.start("submit", job, "--cluster", head.file, "--follow", AWS_SECRET_ACCESS_KEY=SECRET)
    id_ = at_work(following, bench, head, "results/store")
    following.reaches(lambda: "joined    1 node has fod-bench" in following.out(), "what the run says")

    following.signal(signal.SIGKILL)
    following.finished()
    seen = bench.stored("trials/*/checkpoints/*.safetensors")
    wait_for(lambda: bench.stored("trials/*/checkpoints/*.safetensors") != seen or bench.records(), "it to go on")
    (one,) = submissions(bench, head)
    assert (one["id"], one["state"], one["code"]) == (id_, "RUNNING", None)
    again = bench.run("submit", job, "--cluster", head.file, code=1)
    assert f"at work on {head.file} already, as {id_}" in again.err and again.err.count("\n") <= 2

    stopped = bench.run("submit", "stop", id_, "--cluster", head.file)
    assert f"{id_}  STOPPED" in stopped.err
    assert not bench.records() and bench.stored("trials/*/checkpoints/*.safetensors")
    said = bench.run("submit", "logs", id_, "--cluster", head.file).out
    assert "stopping: 1 trial leaves a checkpoint" in said
    assert f"to go on:\n  fod-bench submit {job} --cluster {head.file}" in said
    assert "has ended already" in bench.run("submit", "stop", id_, "--cluster", head.file, code=1).err

    resumed = bench.run("submit", job, "--cluster", head.file, "--follow")
    assert "1 training: 1 done" in resumed.out and "weave" in resumed.out
    assert [one["state"] for one in submissions(bench, head)] == ["STOPPED", "SUCCEEDED"]
    quiet = bench.run("submit", job, "--cluster", head.url, "--wait", "--store", "results/quiet")
    assert "1 done" not in quiet.out
    assert bench.digests() == bench.digests("results/quiet") != {}


def test_only_what_the_job_needs_is_sent(bench: Bench, head: Head) -> None:
    (bench.folder / ".git").mkdir(exist_ok=True)
    (bench.folder / "data.png").write_bytes(b"data")
    (bench.folder / ".env").write_text(SECRET)
    job = bench.job("sent", description="${SECRET_WORD:-none}")
    done = bench.run("submit", job, "--cluster", head.file, "--wait", SECRET_WORD=SECRET, HF_TOKEN=SECRET)
    resources = Path(bench.environment["RAY_TMPDIR"]).glob(
        "ray/session_*/runtime_resources/working_dir_files/_ray_pkg_*/"
    )
    packages = [folder for folder in resources if not folder.is_symlink()]
    assert packages
    for folder in packages:
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if "__pycache__" not in path.parts}
        assert files == {"job.yaml", "start.py", "submission.json"}
    told = done.out + done.err + json.dumps(submissions(bench, head))
    told += bench.run("submit", "logs", submissions(bench, head)[-1]["id"], "--cluster", head.file).out
    told += "".join(path.read_text() for folder in packages for path in folder.glob("*.*"))
    told += "".join(bench.processes().values())
    logs = Path(bench.environment["RAY_TMPDIR"]).glob("ray/session_*/logs/**/*")
    told += "".join(path.read_text(errors="replace") for path in logs if path.is_file())
    assert SECRET not in told and head.token not in told
    assert "${SECRET_WORD:-none}" in told


def test_a_failing_run_has_its_exit_code(bench: Bench, head: Head) -> None:
    job = bench.job("failing", {"learning_rate": 1e30, "epochs": 4})
    said = bench.run("submit", job, "--cluster", head.file, "--wait", code=3).err
    id_ = submissions(bench, head)[-1]["id"]
    assert said.endswith(f"all that it said: fod-bench submit logs {id_} --cluster {head.file}\n{id_}  FAILED\n")
    last = bench.run("submit", "logs", id_, "--cluster", head.file).out.splitlines()[-20:]
    assert "1 training: 0 done, 1 failed" in last and "\n".join(last) + "\n" in said
    assert "FAILED, exit code 3" in bench.run("submit", "status", id_, "--cluster", head.file).out


def test_a_run_that_is_killed_says_by_what(bench: Bench, head: Head) -> None:
    job = bench.job("killed", LONG, checkpoint_seconds=0)
    waiting = bench.start("submit", job, "--cluster", head.file, "--wait", "--store", "results/killed")
    waiting.reaches(lambda: bench.stored("trials/*/checkpoints/*.safetensors", "results/killed"), "a checkpoint")
    (driver,) = [id_ for id_, command in bench.processes().items() if "fod_bench run" in command]
    os.kill(driver, signal.SIGKILL)
    done = waiting.finished()
    assert done.code == 128 + signal.SIGKILL
    assert "ended by signal 9 (Killed)" in done.err and "joined    1 node" in done.err
    id_ = submissions(bench, head)[-1]["id"]
    assert "FAILED, exit code 137" in bench.run("submit", "status", id_, "--cluster", head.file).out
    assert "ended by signal 9 (Killed)" in bench.run("submit", "logs", id_, "-f", "--cluster", head.file, code=137).err


@pytest.fixture
def elsewhere(bench: Bench) -> Iterator[str]:
    """A Python path on which this program is another version."""
    folder = bench.folder / "elsewhere"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text("import fod_bench\nfod_bench.__version__ = '0.0.9'\n")
    yield f"{folder}:{bench.environment.get('PYTHONPATH', '')}"


def test_what_cannot_begin_is_one_line(bench: Bench, head: Head, elsewhere: str) -> None:
    job = bench.job("refused")
    before, records = len(submissions(bench, head)), bench.stored("trials/*/record.json")

    def refused(*arguments: str, code: int = 1, **environment: str) -> str:
        err = bench.run("submit", *arguments, code=code, **environment).err
        assert "Traceback" not in err
        return err.splitlines()[-1]

    (port,) = ray_ports(1)
    assert f"http://127.0.0.1:{port} cannot be reached" in refused(job, "--cluster", f"http://127.0.0.1:{port}")
    assert "asks for another token" in refused(job, "--cluster", head.file, RAY_AUTH_TOKEN="0" * 64)
    assert "asks for a token, and none was sent" in refused(job, "--cluster", head.file, RAY_AUTH_MODE="disabled")
    assert "no submitted job 'nobody'" in refused("logs", "nobody", "--cluster", head.file)
    other = refused(job, "--cluster", head.file, PYTHONPATH=elsewhere)
    assert f"the head of {head.file} has fod-bench" in other and "this machine 0.0.9" in other
    away = bench.job("away", datasets={"own": {"layout": "folder", "root": "nowhere"}})
    assert "there is no folder nowhere" in refused(away, "--cluster", head.file)
    assert "settings.epochs" in refused(job, "--cluster", head.file, "--set", "epochs=none", code=2)
    # Only the head knows its version and which folders are there: these two it ends itself, before anything is trained.
    ended = [(one["run_id"].split("-")[0], one["state"], one["code"]) for one in submissions(bench, head)[before:]]
    assert ended == [("refused", "FAILED", 1), ("away", "FAILED", 1)]
    assert bench.stored("trials/*/record.json") == records, "nothing was trained"


def test_data_in_a_bucket(bench: Bench, head: Head, moto_servers: dict[str, Server]) -> None:
    server = moto_servers["moto"]
    bench.run("data", "synth", "drawn", "--categories", "weave", "--train", "6", "--test-good", "3", "--size", "64")
    root = bench.run("data", "push", "drawn", server.address("data/drawn"), **server.environment()).out
    uri = root.strip().removeprefix("root: ")
    here = bench.job("here", datasets={"drawn": {"layout": "folder", "root": "drawn"}})
    there = bench.job("there", datasets={"drawn": {"layout": "folder", "root": uri}})
    bench.run("submit", here, "--cluster", head.file, "--wait", "--store", "results/bucket")
    keys = bench.records("results/bucket").keys()
    # The nodes have no credentials for the bucket: the head says so.
    said = bench.run("submit", there, "--cluster", head.file, "--store", "results/bucket", code=1)
    assert "no credentials for bucket" in said.err
    done = bench.run("run", there, "--address", head.address, "--store", "results/bucket", **server.environment())
    assert "1 training: 0 done, 1 reused" in done.err
    assert bench.records("results/bucket").keys() == keys, "the same content has the same keys"


def test_a_node_of_another_version_is_refused(bench: Bench, elsewhere: str) -> None:
    nodes = Nodes(bench, {"PYTHONPATH": elsewhere})
    nodes.add()
    given = ("--address", nodes.address, "--store", "results/mixed")
    mixed = bench.run("run", bench.job("mixed"), *given, code=1, **SETTINGS)
    assert "has fod-bench 0.0.9, the run has" in mixed.err
    assert not bench.records("results/mixed")
