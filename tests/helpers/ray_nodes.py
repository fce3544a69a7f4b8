"""A Ray cluster of several nodes on this machine, each with its own processes, Ray folder, environment and cache folder.

Needs nothing of pytest, so that benchmarks can use it too.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

if TYPE_CHECKING or not __package__:
    from tests.helpers.commands import Bench, Running, wait_for
else:  # as part of a benchmark
    from tests.helpers.commands import Bench, Running, wait_for

SETTINGS = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "3",
}
"""For nodes and drivers. No token, which would lie in the user's home; a silent node is lost after seconds, not a minute."""
_OBJECT_STORE_BYTES = 100 << 20


@dataclass(frozen=True)
class Node:
    """One node; everything it runs carries its mark."""

    name: str
    started: Running
    cache: Path

    def processes(self) -> dict[int, str]:
        """Id to command line."""
        return self.started.processes()

    def workers(self) -> list[int]:
        """Ids of its actors that have come to life."""
        return sorted(process for process, line in self.processes().items() if line.startswith("ray::RemoteWorker"))

    def kill(self) -> None:
        """The machine is gone: every process ends at once."""
        wait_for(self._killed, f"the processes of {self.name} to end")

    def kill_gcs(self) -> None:
        """Of the head: the server that knows the cluster's state ends at once, all else goes on."""
        for process, line in self.processes().items():
            if line.split(" ")[0].endswith("/gcs_server"):
                send(process, signal.SIGKILL)

    def leave(self) -> None:
        """The machine is taken away with notice: its workers are told to end, when they have, the raylet, then all else."""
        told = set(self.workers())
        for worker in told:
            send(worker, signal.SIGTERM)
        wait_for(lambda: not told & set(self.workers()), f"the workers of {self.name} to leave")
        for raylet in self._raylet():
            send(raylet, signal.SIGTERM)
        wait_for(lambda: not self._raylet(), f"the raylet of {self.name} to leave")
        self.kill()

    def _raylet(self) -> list[int]:
        return [process for process, line in self.processes().items() if "/raylet/raylet " in line]

    def _killed(self) -> bool:
        left = self.processes()
        for process in left:
            send(process, signal.SIGKILL)
        return not left


class Nodes:
    """The cluster. Its head has no CPUs, so that work is on the others; `bench.close` ends all of it."""

    def __init__(self, bench: Bench, environment: Mapping[str, str]) -> None:
        """`environment`: what every node has in it, such as a store's credentials."""
        self._bench, self._environment = bench, {**environment, **SETTINGS}
        self.folder = Path(mkdtemp(prefix="n", dir=bench.environment["RAY_TMPDIR"]))
        """Ray's folders of all nodes."""
        self._made = 0
        self.head = self._start("head", "--head", "--port=0", "--num-cpus=0", "--include-dashboard=false")
        self._wait_for([self.head])
        self.address = (self.folder / "head/ray_current_cluster").read_text().strip()

    def add(self, count: int = 1) -> list[Node]:
        """More nodes of one CPU each; Ray knows them when this returns."""
        first, self._made = self._made + 1, self._made + count
        options = (f"--address={self.address}", "--num-cpus=1", "--include-log-monitor=false")
        added = [self._start(f"node{number}", *options) for number in range(first, first + count)]
        self._wait_for(added)
        return added

    def _start(self, name: str, *options: str) -> Node:
        temporary, cache = self.folder / name, self._bench.folder / "caches" / name
        temporary.mkdir()
        started = self._bench.start_process(
            str(Path(sys.executable).with_name("ray")),
            "start",
            *options,
            f"--temp-dir={temporary}",
            f"--object-store-memory={_OBJECT_STORE_BYTES}",
            "--disable-usage-stats",
            **self._environment,
            RAY_TMPDIR=str(temporary),
            FOD_BENCH_CACHE=str(cache),
        )
        return Node(name, started, cache)

    def _wait_for(self, nodes: list[Node]) -> None:
        for node in nodes:
            done = node.started.finished()
            assert done.code == 0, f"{node.name} did not start: {done.out}\n{done.err}"


def send(process: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, number)
