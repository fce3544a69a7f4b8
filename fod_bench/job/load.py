"""Reading and writing job files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fod_bench.datasets import resize_of
from fod_bench.errors import FodBenchError, JobError, UsageError
from fod_bench.job.document import Document, dump_document
from fod_bench.job.include import read_job_file
from fod_bench.job.override import apply_override
from fod_bench.job.schema import Job, homes
from fod_bench.job.variables import leave, substitute
from fod_bench.job.yaml_file import read_document
from fod_bench.schema.hidden import hidden, masked
from fod_bench.schema.problems import MAX_SHOWN, KeyPath, Problem, dotted, problems_of, within_job
from fod_bench.text import shortened


def load_job(path: str | Path, overrides: Sequence[str] = (), *, keep_unset: bool = False) -> Job:
    """The job of a YAML file and those it includes, validated, after `overrides` of the form `key.path=value`.

    With `keep_unset` variables that are not set stay as they are written, for a machine that has them.

    Relative folders in it are relative to the working directory. All faults of all files are reported at once, each
    with file, line and path of its key.

    Raises:
        JobError: the file cannot be read or is refused.
        UsageError: the fault lies in `overrides` alone.
    """
    document, problems = read_job_file(Path(path))
    for override in overrides:
        apply_override(document, override)
    return _validated(document, problems, keep_unset)


def parse_job(text: str, source: str, *, fill: bool = False) -> Job:
    """The job that `dump_job` wrote as `text`; `source` names it in errors.

    With `fill`, variables in it are looked up; else each stands for the text that was written, such as `${NAME}`.
    Raises `JobError`.
    """
    document = read_document(text, source)
    if not fill:
        leave(document)
    return _validated(document, [])


def parse_job_data(text: str, source: str) -> Any:
    """`plain_job` of what `dump_job` wrote, not checked, variables as they were written. Raises `JobError` for what is no YAML."""
    document = read_document(text, source)
    leave(document)
    return document.data


def _validated(document: Document, problems: list[Problem], keep_unset: bool = False) -> Job:
    """The job, with the environment's variables in it."""
    written = document.data
    problems = problems + substitute(document, keep_unset=keep_unset)
    unfilled = {problem.path for problem in problems}
    job: Job | None = None
    try:
        job = Job.model_validate(document.data)
    except ValidationError as error:
        problems += problems_of(error, Job, homes(), unfilled)
    if problems or job is None:
        raise _refused(document, problems)
    return job.written_with(_subtrees(written, document.taken))


def _subtrees(written: Any, paths: Iterable[KeyPath]) -> dict[KeyPath, Any]:
    """What was written at these paths, or at the list above: validation may sort lists."""
    found: dict[KeyPath, Any] = {}
    for path in paths:
        outer = len(path) - len(within_job(path))
        index = next((place for place, part in enumerate(path[outer:], outer) if type(part) is int), len(path))
        value = written
        for part in path[:index]:
            value = value[part]
        found[path[:index]] = value
    return found


def dump_job(job: Job) -> str:
    """The job as YAML with every default spelled out; it loads back to an equal job.

    Values that came from environment variables stay what the file has, such as `${NAME}`: they may be secrets.
    """
    data = plain_job(job)
    for path, value in job.written.items():
        holder: Any = data
        for part in path[:-1]:
            holder = holder[part]
        holder[path[-1]] = value
    return dump_document(data)


def plain_job(job: Job) -> dict[str, Any]:
    """The job as plain data, every default spelled out; a variant holds what it sets."""
    data = job.model_dump(exclude_none=True)
    data["include"] = [plain_job(included) for included in job.include]
    if not data["include"]:
        del data["include"]
    return data


def job_digest(job: Job) -> str:
    """8 hex digits over all that decides the job's results: not its name, description, store, resources, times."""
    bare = _bare(job).model_copy(update={"name": ""})
    return hashlib.sha256(dump_document(plain_job(bare)).encode()).hexdigest()[:8]


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
            "priorities": None,
            "pack": None,
            "checkpoint_seconds": 0.0,
            "lease_seconds": None,
            "keep_scores": None,
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
    lines = dict.fromkeys(
        # The place tells which file it is, so the path is that within the file.
        ": ".join(
            filter(None, (place.text, shortened(dotted(within_job(problem.path))), _without_secrets(document, problem)))
        )
        for place, problem in placed[:MAX_SHOWN]
    )
    if len(placed) > MAX_SHOWN:
        lines[f"{document.places[()].text}: and {len(placed) - MAX_SHOWN} faults more"] = None
    kind = UsageError if all(place.is_on_command_line for place, _ in placed) else JobError
    return kind("\n".join(lines))


def _without_secrets(document: Document, problem: Problem) -> str:
    return shortened(hidden(masked(problem.text, document.values_near(problem.path))), 1000)
