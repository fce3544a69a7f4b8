"""The first step of a submitted job, on the head: is this the cluster that was meant, and the same program? Then the run begins.

It is sent with the job and runs as a script, of the standard library alone: the cluster may have another fod-bench, or none.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ABOUT = "submission.json"
"""Beside this script: what it is told."""
_ONE_VERSION = "the cluster and the machine that submits need the same, by one image or environment (docs/clusters.md)"


def faults(about: dict[str, Any]) -> Iterator[str]:
    """Why the run cannot begin here."""
    witness = about.get("witness")
    if witness is not None and not Path(witness).is_file():
        paths = ", ".join(about["own"])
        yield (
            f"the cluster at {about['cluster']} is not the machine that submits, and does not see {paths}: name places in a "
            "bucket, or paths with variables of the nodes, or add --paths-on-nodes if every node has these"
        )
    here = _versions()
    for name, there in about["versions"].items():
        if here.get(name) is None:
            yield (
                f"the head of {about['cluster']} has no {name} for {sys.executable}: start Ray there from the environment that "
                f"has it; {_ONE_VERSION}"
            )
        elif here[name] != there:
            yield f"the head of {about['cluster']} has {name} {here[name]}, this machine {there}; {_ONE_VERSION}"


def _versions() -> dict[str, str | None]:
    """Of what has to be the same."""
    found: dict[str, str | None] = {"Python": ".".join(platform.python_version_tuple()[:2])}
    for name, module in (("Ray", "ray"), ("fod-bench", "fod_bench")):
        try:
            found[name] = str(__import__(module).__version__)
        except ImportError:
            found[name] = None
    return found


def main() -> None:
    """Say what is wrong and exit, or become the run."""
    folder = Path(__file__).resolve().parent
    about = json.loads((folder / ABOUT).read_text())
    sys.path[:] = [
        entry for entry in sys.path if Path(entry or ".").resolve() != folder
    ]  # what was sent shadows nothing
    for fault in faults(about):
        print(f"fod-bench: {fault}", file=sys.stderr, flush=True)
        sys.exit(1)
    # Workers need nothing of what was sent, and without it Ray can give them processes that it has ready.
    config = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    if config:
        os.environ["RAY_JOB_CONFIG_JSON_ENV_VAR"] = json.dumps(config | {"runtime_env": {}})
    if about.get("witness") is not None:
        os.chdir(about["folder"])
    os.environ |= {"FOD_BENCH_GIVEN": about["given"], "FOD_BENCH_CLUSTER": about["cluster"], "PYTHONSAFEPATH": "1"}
    os.execv(
        sys.executable, [sys.executable, "-m", "fod_bench", "run", str(folder / about["job"]), *about["arguments"]]
    )


if __name__ == "__main__":
    main()
