"""The way to where a cluster takes jobs: an address, or a port of this machine that Ray's launcher forwards to the head by ssh."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from fod_bench.cluster.joined_ray import knock, unreachable
from fod_bench.cluster.submit.kinds import RayCluster
from fod_bench.errors import ClusterError

WAY_SECONDS = 120.0
"""Time in which ssh has to make a way: the launcher first asks a cloud where the head is."""
_LOOK_SECONDS = 0.1


@contextmanager
def reached(cluster: RayCluster) -> Iterator[str]:
    """Where the cluster takes jobs, for as long as the block lasts. Raises `ClusterError` when nobody listens there."""
    if cluster.url is None:
        with _forwarded(cluster) as url:
            yield url
        return
    parts = urlsplit(cluster.url)
    try:
        knock(f"{parts.hostname}:{parts.port or 443}")
    except OSError as error:
        start = f"; is it up? its commands are at the top of {cluster.file}" if cluster.file else ""
        raise ClusterError(f"{unreachable(cluster.url, error)}{start}") from None
    yield cluster.url


@contextmanager
def _forwarded(cluster: RayCluster) -> Iterator[str]:
    port = _free_port()
    ray = Path(sys.executable).with_name("ray")
    command = [str(ray), "dashboard", str(cluster.file), "--port", str(port), "--remote-port", str(cluster.port)]
    with tempfile.TemporaryFile("w+") as said:
        forwarding = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            _wait_for(forwarding, port, cluster, said)
            yield f"http://127.0.0.1:{port}"
        finally:
            with suppress(OSError):
                os.killpg(forwarding.pid, signal.SIGTERM)
            forwarding.wait()


def _wait_for(forwarding: subprocess.Popen[bytes], port: int, cluster: RayCluster, said: IO[str]) -> None:
    end = time.monotonic() + WAY_SECONDS
    while True:
        with suppress(OSError):
            knock(f"127.0.0.1:{port}")
            return
        if forwarding.poll() is not None or time.monotonic() > end:
            said.seek(0)
            lines = [line.strip() for line in said.read().splitlines() if line.strip()]
            reason = lines[-1] if lines else f"no way there within {WAY_SECONDS:.0f} s"
            raise ClusterError(
                f"the head of {cluster.name} cannot be reached by `ray dashboard {cluster.file}`: {reason}; is it up? "
                f"`ray up {cluster.file}` starts it"
            )
        time.sleep(_LOOK_SECONDS)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
