"""The job files that come with fod-bench, known by name wherever it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fod_bench
from fod_bench.errors import FodBenchError, JobError, UsageError
from fod_bench.job.include import included_jobs, read_job_file
from fod_bench.schema.problems import unknown

_FOLDER = Path(fod_bench.__file__).parent / "jobs"


def shipped_jobs() -> dict[str, Path]:
    """`{name: file}`, by name."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.yaml"))}


def named_job(path: Path) -> Path:
    """The file that a person means: the one at `path`, or where there is none, the one of that name that comes with fod-bench.

    Raises `JobError` for a file that is not there while one of its name comes with fod-bench.
    """
    if path.stem not in shipped_jobs() or path.exists():
        return path
    if path == Path(path.stem):
        return shipped_jobs()[path.stem]
    raise JobError(f"{path}: no such job file; `{path.stem}` alone names the one that comes with fod-bench")


def first_sentence(path: Path) -> str:
    """What the job is for, in a line."""
    description = read_job_file(path)[0].data.get("description", "")
    return " ".join(str(description).split()).partition(". ")[0].rstrip(".")


def copy_job(name: str, target: Path) -> list[Path]:
    """Copy a job file that comes with fod-bench, and those it includes, into a folder; a single one also to a new file.

    Raises:
        UsageError: no such name.
        FodBenchError: something is there already, or cannot be written; then nothing is.
    """
    jobs = shipped_jobs()
    if name not in jobs:
        raise UsageError(unknown("job", name, jobs))
    sources = list(dict.fromkeys(_with_included(jobs[name])))
    if target.suffix == ".yaml":
        if len(sources) > 1:
            raise UsageError(
                f"job {name} includes {len(sources) - 1} other files: give a folder for all of them, not {target}"
            )
        targets = [target]
    else:
        targets = [target / source.name for source in sources]
    there = [str(path) for path in targets if path.exists()]
    if there:
        raise FodBenchError(f"{', '.join(there)}: there already; nothing was copied")
    try:
        for source, path in zip(sources, targets, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source.read_bytes())
    except OSError as error:
        raise FodBenchError(f"{target} cannot be written: {error.strerror or error}") from error
    return targets


def _with_included(path: Path) -> Iterator[Path]:
    yield path
    document, _ = read_job_file(path)
    names = {job["name"] for at, job in included_jobs(document.data) if at}
    yield from (path.with_name(f"{name}.yaml") for name in sorted(names))
