"""Reading and writing job files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fod_bench.datasets import resize_of
from fod_bench.errors import FodBenchError, JobError, UsageError
from fod_bench.job.document import Document, dump_document, substitute
from fod_bench.job.include import read_job_file
from fod_bench.job.override import apply_override
from fod_bench.job.schema import Job, homes
from fod_bench.schema.problems import Problem, dotted, problems_of, within_job


def load_job(path: str | Path, overrides: Sequence[str] = ()) -> Job:
    """The job of a YAML file and those it includes, validated, after `overrides` of the form `key.path=value`.

    Relative folders in it are relative to the working directory. All faults of all files are reported at once, each
    with file, line and path of its key.

    Raises:
        JobError: the file cannot be read or is refused.
        UsageError: the fault lies in `overrides` alone.
    """
    document, problems = read_job_file(Path(path))
    for override in overrides:
        apply_override(document, override)

    problems += substitute(document)
    unfilled = [problem.path for problem in problems]
    job: Job | None = None
    try:
        job = Job.model_validate(document.data)
    except ValidationError as error:
        found = problems_of(error, Job, homes())
        problems += [problem for problem in found if not any(problem.path[: len(at)] == at for at in unfilled)]
    if problems or job is None:
        raise _refused(document, problems)
    return job


def dump_job(job: Job) -> str:
    """The job as YAML with every default spelled out; it loads back to an equal job."""
    return dump_document(_plain(job))


def _plain(job: Job) -> dict[str, Any]:
    data = job.model_dump(exclude_none=True)
    data["include"] = [_plain(included) for included in job.include]
    if not data["include"]:
        del data["include"]
    return data


def job_digest(job: Job) -> str:
    """8 hex digits over all that decides the job's results: not its name, description, store, resources, times."""
    return hashlib.sha256(dump_job(_bare(job).model_copy(update={"name": ""})).encode()).hexdigest()[:8]


def _bare(job: Job) -> Job:
    """The job with what decides no result taken out, in the jobs it includes as well.

    That images are stretched is left out too: it is the same said or not.
    """
    settings = job.settings
    if all(resize_of(data.layout, 0, settings["resize"]).shorter_side is None for data in job.datasets.values()):
        settings = {key: value for key, value in settings.items() if key != "resize"}
    return job.model_copy(
        update={
            "description": "",
            "store": "",
            "resources": None,
            "pack": None,
            "checkpoint_seconds": 0.0,
            "lease_seconds": None,
            "settings": settings,
            "include": tuple(_bare(included) for included in job.include),
        }
    )


def run_id(job: Job) -> str:
    """Name of the job's run in a store: the same job goes on where it stood, a changed one is another run."""
    return f"{job.name}-{job_digest(job)}"


def _refused(document: Document, problems: Iterable[Problem]) -> FodBenchError:
    """The problems in the order of the files, as one error."""
    placed = sorted(((document.place(problem.path), problem) for problem in problems), key=lambda pair: pair[0])
    lines = [
        # The place tells which file it is, so the path is that within the file.
        ": ".join(filter(None, (place.text, dotted(within_job(problem.path)), problem.text)))
        for place, problem in placed
    ]
    kind = UsageError if all(place.is_on_command_line for place, _ in placed) else JobError
    return kind("\n".join(dict.fromkeys(lines)))
