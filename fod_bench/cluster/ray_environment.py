"""What Ray reads from the environment, for as long as a session lasts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

ONLY_THIS_MACHINE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Ray's name for: nodes of this machine only, on 127.0.0.1."""


@contextmanager
def ray_environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    """Set these variables, or unset those that are None; when the block ends, the environment is again as it was before.

    Ray heeds both. What it sets itself meanwhile goes, too.
    """
    before = dict(os.environ)
    for name, value in changes.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    try:
        _have_ray_read_it()
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
        _have_ray_read_it()


def defaults(values: Mapping[str, str]) -> dict[str, str]:
    """Those of `values` about which the environment says nothing."""
    return {name: value for name, value in values.items() if name not in os.environ}


def _have_ray_read_it() -> None:
    """Ray reads these once in a process, and there may have been a session before."""
    from ray._private import ray_constants
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]  # compiled

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
    ray_constants.ENABLE_RAY_CLUSTER = ray_constants.env_bool(
        ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, not ray_constants.IS_WINDOWS_OR_OSX
    )
    ray_constants.NUM_REDIS_GET_RETRIES = int(os.environ.get("RAY_NUM_REDIS_GET_RETRIES", "20"))
