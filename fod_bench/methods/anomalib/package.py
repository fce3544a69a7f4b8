"""Whether anomalib is installed, and which version, without importing it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

from fod_bench.errors import JobError

INSTALL = "pip install 'fod-bench[anomalib]'"
"""The command that installs it."""


def installed() -> str | None:
    """anomalib's version; None where it is not installed."""
    try:
        return version_of("anomalib")
    except PackageNotFoundError:
        return None


def missing() -> str:
    """Text for a method that cannot run without it."""
    return f"needs the package anomalib, which is not installed here: {INSTALL}"


def version() -> str:
    """anomalib's version. Raises `JobError` where it is not installed."""
    found = installed()
    if found is None:
        raise JobError(f"a method `anomalib/...` {missing()}")
    return found
