"""A Ray cluster that is running already: is it there, does it ask for a token, and is this user's the right one."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from fod_bench.cluster.ray_environment import ONLY_THIS_MACHINE, defaults, ray_environment
from fod_bench.cluster.watch import Link
from fod_bench.errors import ClusterError

PATIENCE_SECONDS = 300.0
"""Time for which a run under way waits for a cluster that does not answer."""
KNOCK_SECONDS = 3.0
"""Time in which a cluster has to take a connection; one behind a network that drops everything never refuses it."""
_TOKEN_FILE = "~/.ray/auth_token"
WAYS = f"put the cluster's into {_TOKEN_FILE}, or name a file that holds it in RAY_AUTH_TOKEN_PATH"


@contextmanager
def joined_ray(address: str, note: Callable[[str], None]) -> Iterator[Link]:
    """The cluster at `address`, for as long as the block lasts.

    The user's token is sent where there is one. `note` is told of a cluster that asks for none.

    Raises:
        ClusterError: nobody listens there, or the cluster wants a token that this user does not have.
    """
    changes = {
        "RAY_NUM_REDIS_GET_RETRIES": "2",  # tries to reach it
        "RAY_gcs_rpc_server_reconnect_timeout_s": str(
            round(2 * PATIENCE_SECONDS)
        ),  # else Ray ends the process sooner, in silence
    }
    with ExitStack() as stack:
        stack.enter_context(ray_environment(defaults(changes | sent_token())))
        if "://" in address:
            yield Link({"address": address})
            return
        try:
            found = _found(address)
        except ClusterError:
            if not _of_this_machine(address):
                raise
            # Ray takes 127.0.0.1 for the machine's own address on its network, where one that is closed does not listen.
            stack.enter_context(ray_environment(ONLY_THIS_MACHINE))
            found = _found(address)
        _show_token(found, note)
        yield Link({"address": address}, partial(_fault, found), PATIENCE_SECONDS)


def sent_token() -> dict[str, str]:
    """What has Ray send this user's token to a cluster that is named: nothing where there is none, or the environment forbids it.

    Raises `ClusterError` for a token that the environment asks for and nobody has.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "").lower()
    if mode != "disabled" and _token_place() is not None:
        return {"RAY_AUTH_MODE": "token"}  # else `ray.init` does not send it
    if mode == "token":
        raise ClusterError(f"RAY_AUTH_MODE=token asks for a token to send, and this user has none; {WAYS}")
    return {}


def _token_place() -> str | None:
    """Where this user has a token for clusters, as Ray looks for it; None when there is none.

    Raises:
        ClusterError: a file is named that cannot be read, or is empty; Ray would end the process.
    """
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "RAY_AUTH_TOKEN"
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named or _TOKEN_FILE).expanduser()
    try:
        filled = bool(path.read_text().strip())
    except (OSError, UnicodeDecodeError) as error:
        if named:
            raise ClusterError(f"RAY_AUTH_TOKEN_PATH: the token in {path} cannot be read: {error}") from error
        return None
    if named and not filled:
        raise ClusterError(f"RAY_AUTH_TOKEN_PATH: {path} is empty; it should hold the cluster's token")
    return str(path) if filled else None


def _of_this_machine(address: str) -> bool:
    """Whether an address names no other machine."""
    return address == "auto" or address.rpartition(":")[0] in ("localhost", "127.0.0.1")


def unreachable(address: str, reason: object) -> ClusterError:
    """The error that says so, in a line."""
    said = str(reason).strip().splitlines() or [type(reason).__name__]
    return ClusterError(f"the Ray cluster at {address} cannot be reached: {said[0]}")


def _found(address: str) -> str:
    """The `host:port` that an address means, `auto` included, where somebody listens. Raises `ClusterError`."""
    from ray._private.services import canonicalize_bootstrap_address

    try:
        found = canonicalize_bootstrap_address(address)
        if found is None:
            raise ConnectionError("none runs on this machine, and RAY_ADDRESS names none")
        knock(found)
    except Exception as error:  # connection, value and lookup errors
        raise unreachable(address, error) from error
    return str(found)


def knock(address: str) -> None:
    """Raises `OSError` when nobody listens at a `host:port`, which Ray takes long to find out."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()


def _fault(address: str) -> str | None:
    """Whether the cluster does not answer."""
    try:
        knock(address)
    except OSError as error:
        return f"the Ray cluster at {address} does not answer ({error})"
    return None


def _show_token(address: str, note: Callable[[str], None]) -> None:
    """Raises `ClusterError` when the cluster wants another token; `note` is told when it wants none."""
    with ray_environment({"RAY_AUTH_MODE": "disabled"}):
        if _takes_us(address):
            note(
                f"warning: the Ray cluster at {address} asks for no token: whoever reaches it can run code there, as its user, and "
                "read what its workers read; docs/running.md says how to close it"
            )
            return
    place = _token_place()
    if place is None:
        raise ClusterError(f"the Ray cluster at {address} asks for a token, and this user has none; {WAYS}")
    mode = os.environ["RAY_AUTH_MODE"]
    if mode.lower() != "token":
        raise ClusterError(
            f"the Ray cluster at {address} asks for a token, and RAY_AUTH_MODE={mode} keeps this user's from being sent; unset it"
        )
    if not _takes_us(address):
        raise ClusterError(f"the Ray cluster at {address} asks for another token than the one in {place}")


def _takes_us(address: str) -> bool:
    """Whether the cluster is content with what is sent now as a token. Raises `ClusterError` when it does not answer."""
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled
    from ray.exceptions import AuthenticationError

    try:
        with _without_standard_error():
            GcsClient(address=address)
    except AuthenticationError:
        return False
    except Exception as error:  # Ray's own, depending on what is missing
        raise unreachable(address, error) from error
    return True


@contextmanager
def _without_standard_error() -> Iterator[None]:
    """Drop what compiled code prints there."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
