"""Reading and writing job files."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fod_bench.errors import FodBenchError, JobError, UsageError
from fod_bench.job.document import Document, Place, Template, dump_document, plain_scalar, read_document, substitute
from fod_bench.job.problems import KeyPath, Problem, dotted, problems_of, suggest, unknown
from fod_bench.job.schema import Job
from fod_bench.job.settings import SettingFields

_HOMES = dict.fromkeys(SettingFields.model_fields, "settings") | dict.fromkeys(Job.model_fields, "")


def load_job(path: str | Path, overrides: Sequence[str] = ()) -> Job:
    """The job of a YAML file, validated, after `overrides` of the form `key.path=value`.

    Relative folders in it are relative to the working directory. All faults of the file are reported at once, each
    with file, line and path of its key.

    Raises:
        JobError: the file cannot be read or is refused.
        UsageError: the fault lies in `overrides` alone.
    """
    source = str(path)
    document = read_document(_read_text(Path(path)), source)
    if document.data is None:
        raise JobError(f"{source}: is empty; a job needs at least `name` and `datasets`")
    if not isinstance(document.data, dict):
        kind = "a list" if isinstance(document.data, list) else "a single value"
        raise JobError(f"{source}: holds {kind}; a job is a mapping with the keys {', '.join(Job.model_fields)}")
    for override in overrides:
        _apply(document, override)

    problems = substitute(document)
    unfilled = [problem.path for problem in problems]
    job: Job | None = None
    try:
        job = Job.model_validate(document.data)
    except ValidationError as error:
        found = problems_of(error, Job, _HOMES)
        problems += [problem for problem in found if not any(problem.path[: len(at)] == at for at in unfilled)]
    if problems or job is None:
        raise _refused(document, problems)
    return job


def dump_job(job: Job) -> str:
    """The job as YAML with every default spelled out; it loads back to an equal job."""
    data = job.model_dump(exclude_none=True)
    data["variants"] = {
        name: variant.model_dump(include=variant.model_fields_set) for name, variant in job.variants.items()
    }
    return dump_document(data)


def job_digest(job: Job) -> str:
    """8 hex digits over all that decides the job's results: not its name, description, store, resources, times."""
    text = dump_job(
        job.model_copy(
            update={
                "name": "",
                "description": "",
                "store": "",
                "resources": None,
                "checkpoint_seconds": 0.0,
                "lease_seconds": None,
            }
        )
    )
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def run_id(job: Job) -> str:
    """Name of the job's run in a store: the same job goes on where it stood, a changed one is another run."""
    return f"{job.name}-{job_digest(job)}"


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise JobError(_missing(path)) from None
    except OSError as error:
        reason = "is a folder, not a job file" if path.is_dir() else f"cannot be read: {error.strerror}"
        raise JobError(f"{path}: {reason}") from None
    if b"\0" in content:
        raise JobError(f"{path}: is not a text file; a job is YAML in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise JobError(f"{path}:{line}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def _missing(path: Path) -> str:
    text = f"{path}: no such job file"
    if not path.parent.is_dir():
        return f"{text}; there is no folder {path.parent}"
    beside = sorted(file.name for file in path.parent.glob("*.yaml"))
    return f"{text}; {suggest(path.name, beside)}" if beside else text


def _apply(document: Document, override: str) -> None:
    """Set one value of the document. Raises UsageError when it has no such place."""
    place = Place.on_command_line(override)
    name, separator, text = override.partition("=")
    if not separator or not name or not all(name.split(".")):
        raise UsageError(f"{place.text}: should be of the form key=value, e.g. --set settings.epochs=2")
    path: KeyPath = tuple(plain_scalar(part) for part in name.split("."))
    first = str(path[0])
    if first in SettingFields.model_fields:
        path = ("settings", *path)
    elif first not in Job.model_fields:
        raise UsageError(f"{place.text}: {unknown('key', first, _HOMES)}")
    try:
        value = read_document(text, "value").data
    except JobError as error:
        raise UsageError(f"{place.text}: {error}") from None

    holder: Any = document.data
    for depth, part in enumerate(path[:-1], start=1):
        # A name that the file lacks is a slip: half a data set or variant helps nobody.
        if depth == 2 and path[0] in ("datasets", "variants") and part not in holder:
            raise UsageError(f"{place.text}: {unknown(f'name under {path[0]}', part, [str(name) for name in holder])}")
        if part == "reference" and isinstance(holder.get(part), str | Template):
            holder[part] = {"kind": holder[part]}  # a kind's name stands for the mapping
        elif holder.get(part) is None:
            holder[part] = {}
            document.places[path[:depth]] = place
        holder = holder[part]
        if not isinstance(holder, dict):
            raise UsageError(f"{place.text}: {dotted(path[:depth])} is no mapping, so it has no {path[depth]!r}")
    holder[path[-1]] = value
    document.places = {at: where for at, where in document.places.items() if at[: len(path)] != path}
    document.places[path] = place


def _refused(document: Document, problems: Iterable[Problem]) -> FodBenchError:
    """The problems in the order of the file, as one error."""
    placed = sorted(((document.place(problem.path), problem) for problem in problems), key=lambda pair: pair[0])
    lines = [": ".join(filter(None, (place.text, dotted(problem.path), problem.text))) for place, problem in placed]
    kind = UsageError if all(place.line == math.inf for place, _ in placed) else JobError
    return kind("\n".join(dict.fromkeys(lines)))
