"""A batch script for one job: the script that was given, with the job, its store, and nodes as it needs them."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from fod_bench.cluster.submit.needs import Needs
from fod_bench.errors import ClusterError

_OPTION = re.compile(r"^#SBATCH --(?P<name>[a-z-]+)=(?P<value>\S+)(?P<rest>.*)$", re.MULTILINE)
_MEMORY = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "": 2**20}


def filled_in(
    name: str, script: str, job_file: Path, run: str, store: str, needs: Needs, arguments: Sequence[str]
) -> str:
    """The script for the job in `job_file`, to be submitted from any folder.

    Args:
        name: of the script that was given, for messages.
        script: its text.
        job_file: path that all nodes see.
        run: what the job is called there.
        store: address of the store.
        needs: of the job.
        arguments: of `fod-bench run`.

    Raises `ClusterError` for a script that takes no job.
    """
    if "${JOB" not in script or "${STORE" not in script:
        raise ClusterError(f"{name} takes no JOB and STORE, so no job can be filled in; clusters/slurm.sh does")
    if arguments and 'fod-bench run "$JOB"' not in script:
        raise ClusterError(f'{name} has no `fod-bench run "$JOB"`, so options of the run cannot be filled in')
    given = {found["name"]: found["value"] for found in _OPTION.finditer(script)}
    cpus = needs.node_cpus(_number(given.get("cpus-per-task", "1")))
    gpus = needs.node_gpus(_number(given.get("gpus-per-node", "0").rpartition(":")[2]))
    changed: dict[str, str | None] = {
        "job-name": run,
        "cpus-per-task": str(cpus),
        "nodes": str(needs.nodes(cpus, gpus, _number(given.get("nodes", "1")))),
    }
    if "gpus-per-node" in given:
        kind = given["gpus-per-node"].rpartition(":")[0]
        changed["gpus-per-node"] = (f"{kind}:{gpus}" if kind else str(gpus)) if gpus else None
    elif gpus:
        changed["gpus-per-node"] = str(gpus)
    memory = needs.node_memory(cpus, gpus) if not gpus else 0.0
    if memory > _bytes(given.get("mem", "0")):
        changed["mem"] = f"{math.ceil(memory / 2**30)}G"
    text = _OPTION.sub(lambda found: _line(found, changed), script)
    new = [f"#SBATCH --{key}={value}" for key, value in changed.items() if key not in given and value is not None]
    lines = [line for line in text.split("\n") if line != _REMOVED]
    last = max(index for index, line in enumerate(lines) if line.startswith("#SBATCH "))
    own = [
        *new,
        f"#SBATCH --chdir={Path.cwd()}",
        "",
        f"export JOB={shlex.quote(str(job_file))} STORE={shlex.quote(store)}",
    ]
    text = "\n".join([*lines[: last + 1], *own, *lines[last + 1 :]])
    return text.replace('fod-bench run "$JOB"', f'fod-bench run "$JOB" {shlex.join(arguments)}'.rstrip())


_REMOVED = "#removed"


def _line(found: re.Match[str], changed: dict[str, str | None]) -> str:
    if found["name"] not in changed:
        return found[0]
    value = changed[found["name"]]
    return _REMOVED if value is None else f"#SBATCH --{found['name']}={value}{found['rest']}"


def _number(text: str) -> int:
    """The last number of `2`, or of a range such as `1-4`."""
    found = re.search(r"(\d+)\D*$", text)
    return max(int(found[1]), 0) if found else 1


def _bytes(text: str) -> float:
    found = re.fullmatch(r"(\d+)([KMGT]?)B?", text.upper())
    return int(found[1]) * _MEMORY[found[2]] if found else 0.0
