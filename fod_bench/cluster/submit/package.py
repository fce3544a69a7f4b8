"""The working directory of a submitted job: the job file, what the first step has to know, and that step. Nothing else is sent."""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fod_bench import __version__
from fod_bench.cluster.submit import start
from fod_bench.cluster.submit.own_paths import own_paths
from fod_bench.job import Job, dump_job

JOB = "job.yaml"


def versions() -> dict[str, str]:
    """What the cluster needs the same of."""
    import ray

    return {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "Ray": ray.__version__,
        "fod-bench": __version__,
    }


@contextmanager
def packaged(job: Job, cluster: str, here: bool, given: str, arguments: Sequence[str]) -> Iterator[Path]:
    """A folder to be sent, for as long as the block lasts.

    The job is one file: what it includes and what the command line sets is in it, variables stay as they are written.

    Args:
        job: the job.
        cluster: its name, for messages.
        here: the cluster is to be this machine. Where the job has folders of this machine, the first step makes sure by a file that
            is there as long as the block lasts.
        given: the job and its options as the command line has them, for what the run says of going on.
        arguments: of `fod-bench run`, after the job.
    """
    about: dict[str, Any] = {
        "job": JOB,
        "cluster": cluster,
        "given": given,
        "versions": versions(),
        "arguments": [*arguments, "--address", "auto"],
    }
    with tempfile.TemporaryDirectory(prefix="fod-bench-submit-", ignore_cleanup_errors=True) as temporary:
        own = [f"{one.key} ({one.path})" for one in own_paths(job)]
        if here and own:
            witness = Path(temporary) / "witness"
            witness.touch(mode=0o600)
            about |= {"witness": str(witness), "folder": str(Path.cwd()), "own": own}
        folder = Path(temporary) / "package"
        folder.mkdir()
        (folder / JOB).write_text(dump_job(job), encoding="utf-8")
        (folder / start.ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")
        (folder / Path(start.__file__).name).write_bytes(Path(start.__file__).read_bytes())
        yield folder
