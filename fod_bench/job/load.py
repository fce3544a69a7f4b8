"""Reading and writing job files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fod_bench.datasets import resize_of
from fod_bench.errors import FodBenchError, JobError, UsageError
from fod_bench.job.document import Document, dump_document, read_document, substitute
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
    return _validated(document, problems + substitute(document))


def parse_job(text: str, source: str) -> Job:
    """The job that `dump_job` wrote as `text`; `source` names it in errors. Raises `JobError`."""
    document = read_document(text, source)
    return _validated(document, substitute(document, {}))


def parse_job_data(text: str, source: str) -> Any:
    """`plain_job` of what `dump_job` wrote as `text`, not checked. Raises `JobError` for what is no YAML."""
    document = read_document(text, source)
    substitute(document, {})
    return document.data


def _validated(document: Document, problems: list[Problem]) -> Job:
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
    return dump_document(plain_job(job))


def plain_job(job: Job) -> dict[str, Any]:
    """The job as plain data, every default spelled out; a variant holds what it sets."""
    data = job.model_dump(exclude_none=True)
    data["include"] = [plain_job(included) for included in job.include]
    if not data["include"]:
        del data["include"]
    return data


def job_digest(job: Job) -> str:
    """8 hex digits over all that decides the job's results: not its name, description, store, resources, times."""
    return hashlib.sha256(dump_job(_bare(job).model_copy(update={"name": ""})).encode()).hexdigest()[:8]


def content_digest(job: Job) -> str:
    """`job_digest` without the folders of the data sets, which another machine may have elsewhere."""
    return job_digest(_rootless(job))


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


def _rootless(job: Job) -> Job:
    datasets = {name: data.model_copy(update={"root": None}) for name, data in job.datasets.items()}
    return job.model_copy(
        update={"datasets": datasets, "include": tuple(_rootless(included) for included in job.include)}
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
