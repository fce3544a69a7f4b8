"""What becomes of a run whose Ray is killed under it, or that is interrupted again and again."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.helpers.commands import LONG, Bench, Running, alive, promised, wait_for

ENDLESS = LONG | {"epochs": 40_000}


@pytest.mark.parametrize("server", ["raylet", "gcs_server"])
def test_a_run_whose_own_ray_is_killed_says_so_and_ends(bench: Bench, server: str) -> None:
    running = _under_way(bench, server)
    family = running.family()
    killed = _kill(family, server)
    wait_for(lambda: running.process.poll() is not None, "the run to notice", promised(15))
    done = running.finished()
    assert done.code == 1 and not done.out
    assert done.err.endswith(
        f"fod-bench: Ray has lost its {server} (process {killed}), which was killed or has crashed; to go on:\n"
        f"  fod-bench run {server}.yaml\n"
    )
    assert "again  " not in done.err and "rpc_client" not in done.err and "Traceback" not in done.err
    wait_for(lambda: not alive(family), "the others to end", promised(20))
    assert not bench.own_rays()


def test_a_run_whose_cluster_is_killed_waits_says_so_and_heeds_an_interrupt(bench: Bench) -> None:
    address = bench.cluster(cpus=1)
    running = _under_way(bench, "joined", "--address", address)
    cluster = bench.processes()
    said = {
        "raylet": "waiting for workers to start",
        "gcs_server": f"waiting   the Ray cluster at {address} does not answer",
    }
    for server, line in said.items():
        _kill(cluster, server)
        running.reaches(lambda line=line: line in running.said(), f"a line about its {server}")  # type: ignore[misc]
    running.signal(signal.SIGINT)
    done = running.finished()
    assert done.code == 130, done.err
    assert done.err.endswith(f"interrupted; to go on:\n  fod-bench run joined.yaml --address {address}\n")


def test_interrupts_without_end_are_one_interrupt(bench: Bench) -> None:
    running = _under_way(bench, "hasty")
    family = running.family()
    while running.process.poll() is None:
        running.signal(signal.SIGINT)
        time.sleep(0.1)
    done = running.finished()
    assert done.code == 130, done.err
    assert done.err.endswith("fod-bench: interrupted; to go on:\n  fod-bench run hasty.yaml\n")
    assert done.err.count("interrupted") == 1 and "Traceback" not in done.err
    wait_for(lambda: not alive(family), "all of Ray to end")
    assert not bench.own_rays()


def _under_way(bench: Bench, name: str, *options: str) -> Running:
    """A run that trains, and has a checkpoint."""
    running = bench.start("run", bench.job(name, store=name, settings=ENDLESS, checkpoint_seconds=0.2), *options)
    running.reaches(lambda: bench.stored("trials/*/checkpoints/*.safetensors", name), "a checkpoint")
    return running


def _kill(processes: dict[int, str], server: str) -> int:
    (process,) = (number for number, command in processes.items() if command.split(" ")[0].endswith(f"/{server}"))
    os.kill(process, signal.SIGKILL)
    return process
