"""A Ray of one's own on this machine, closed to everybody else.

Its servers listen on the loopback interface alone, and ask for a token that is made for it. The token lies in a file that only
this user can read: its path is in the environment of Ray's processes, its value in none, nor in an argument list or a log.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from fod_bench.cluster.private_folder import private_folder
from fod_bench.cluster.ray_environment import ONLY_THIS_MACHINE, ray_environment
from fod_bench.cluster.watch import Link
from fod_bench.errors import ClusterError
from fod_bench.machine.system import cores


@contextmanager
def own_ray(note: Callable[[str], None], metrics_port: int | None = None) -> Iterator[Link]:
    """A closed Ray that `ray.init` is to start, for as long as the block lasts; whatever the environment says.

    Args:
        note: is told what a person should know.
        metrics_port: where its metrics are served, on the loopback interface and without the token, which Prometheus does not have.

    Raises:
        ClusterError: there is no place for its files, the port is taken, or Ray has no metrics to serve.
    """
    if metrics_port is not None:
        _check_metrics(metrics_port)
        note(f"metrics   http://127.0.0.1:{metrics_port}/metrics for as long as the run lasts")
    with private_folder(note) as folder:
        # Ray opens its own folder to everybody, so it is one within. Without `local` it would join a cluster that somebody else
        # has running on this machine.
        arguments = {
            "address": "local",
            "include_dashboard": False,
            "num_cpus": cores(),
            "_temp_dir": str(folder / "r"),
            "_metrics_export_port": metrics_port,
        }
        with ray_environment(_closed(_new_token(folder))):
            yield Link(arguments, _fault)


def _check_metrics(port: int) -> None:
    """Raises `ClusterError`: Ray would go on without metrics, or end when its agent finds no port."""
    from ray._private.utils import get_dashboard_dependency_error

    missing = get_dashboard_dependency_error()
    if missing is not None:
        raise ClusterError(f"--metrics-port: Ray serves no metrics here ({missing}); pip install 'fod-bench[cluster]'")
    with socket.socket() as knocking:
        knocking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            knocking.bind(("127.0.0.1", port))
        except OSError as error:
            raise ClusterError(
                f"--metrics-port {port}: the port cannot be had ({error.strerror}); name another"
            ) from None


def _fault() -> str | None:
    """Which of the servers has ended without which Ray does not go on."""
    from ray._private import worker

    node = worker._global_node
    started: dict[str, list[Any]] = node.all_processes if node is not None else {}
    for kind in ("raylet", "gcs_server"):
        for info in started.get(kind, []):
            if info.process.poll() is not None:
                return f"Ray has lost its {kind} (process {info.process.pid}), which was killed or has crashed"
    return None


def assure_closed() -> None:
    """Raises `ClusterError` if the Ray that was started is open to others after all, as another version of Ray might be."""
    import ray
    from ray._private.authentication.authentication_utils import is_token_auth_enabled

    addresses = {node["NodeManagerAddress"] for node in ray.nodes()}
    if not is_token_auth_enabled() or not all(ip_address(address).is_loopback for address in addresses):
        raise ClusterError(
            f"Ray {ray.__version__} cannot be closed to others on this machine; constraints.txt names one that can"
        )


def _new_token(folder: Path) -> Path:
    path = folder / "token"
    with open(path, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(secrets.token_hex(32))
    return path


def _closed(token: Path) -> dict[str, str | None]:
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_AUTH_TOKEN": None,  # would be taken before the file
        "RAY_ENABLE_K8S_TOKEN_AUTH": None,  # would ask another judge
        "RAY_ADDRESS": None,
        "RAY_REDIS_ADDRESS": None,  # would keep its state in somebody's Redis
        **ONLY_THIS_MACHINE,
    }
