"""`--set key.path=value`: one value of a job changed from the command line, in every part that has such a place, which for a key of
settings is one with a row whose method has the key."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from fod_bench.errors import JobError, UsageError
from fod_bench.job.document import Document, Place, Template
from fod_bench.job.include import included_jobs
from fod_bench.job.resources import AUTO, EVERY_KEY_AUTO
from fod_bench.job.scalars import plain_scalar
from fod_bench.job.schema import OUTER_KEYS, Job, homes
from fod_bench.job.settings import setting_keys
from fod_bench.job.yaml_file import MAX_DEPTH, Budget, read_document
from fod_bench.methods.registry import DEFAULT, method_names
from fod_bench.schema.problems import KeyPath, dotted, unknown
from fod_bench.text import has_control

_ROWS = ("settings", "grid", "variants")
_MAX_VALUES = 20_000
"""Values that one override may hold; it is copied into every part."""


def apply_override(document: Document, override: str) -> None:
    """Set one value of the document. A key of the run as a whole is set in the outer job, any other in every part.

    Raises:
        UsageError: no part has such a place.
    """
    place = Place.on_command_line(override)
    name, separator, text = override.partition("=")
    if not separator or not name or not all(name.split(".")):
        raise UsageError(f"{place.text}: should be of the form key=value, e.g. --set settings.epochs=2")
    if has_control(name) or name.count(".") > MAX_DEPTH:
        fault = "holds control characters" if has_control(name) else f"is more than {MAX_DEPTH} levels deep"
        raise UsageError(f"{place.text}: the key {fault}")
    path: KeyPath = tuple(plain_scalar(part) for part in name.split("."))
    first = str(path[0])
    if first in setting_keys():
        path = ("settings", *path)
    elif first not in Job.model_fields:
        raise UsageError(f"{place.text}: {unknown('key', first, homes())}")
    elif first == "include":
        raise UsageError(f"{place.text}: files are included by a job file only; write one that includes them")
    try:
        value = read_document(text, "value", budget=Budget(_MAX_VALUES)).data
    except JobError as error:
        raise UsageError(f"{place.text}: {error}") from None

    for at, job in _targets(document, path, place):
        _set(document, at, job, path, deepcopy(value), place)


def _targets(document: Document, path: KeyPath, place: Place) -> list[tuple[KeyPath, dict[Any, Any]]]:
    """The jobs that the value is for, each with its path in the document."""
    jobs = list(included_jobs(document.data))
    first = path[0]
    if first in OUTER_KEYS:
        return jobs[:1]
    # A job without data sets holds others together, no more; where it includes none, that is told later.
    parts = [(at, job) for at, job in jobs if job.get("datasets")] or jobs[:1]
    if first == "settings" and len(path) > 1:
        return [(at, job) for at, job in parts if _has_key(job, str(path[1]))] or parts
    if first not in ("datasets", "variants") or len(path) == 1:
        return parts
    # A name that no part has is a slip: half a data set or variant helps nobody. A whole one may be new in a single part.
    having = [(at, job) for at, job in parts if isinstance(job.get(first), dict) and path[1] in job[first]]
    if not having and len(path) == 2 and len(parts) == 1:
        return parts
    if not having:
        held = [job[first] for _, job in parts if isinstance(job.get(first), dict)]
        names = dict.fromkeys(str(name) for mapping in held for name in mapping)
        raise UsageError(f"{place.text}: {unknown(f'name under {first}', path[1], names)}")
    return having


def _has_key(job: dict[Any, Any], key: str) -> bool:
    """Whether some row's method has the key; one that is not known yet, such as of a variable, may have it."""
    settings, grid, variants = (given if isinstance(given := job.get(name), dict) else {} for name in _ROWS)
    base = grid.get("method", settings.get("method") or DEFAULT)
    own = [row.get("method") if isinstance(row, dict) else None for row in variants.values()]
    rows = [method or base for method in own] or [base]
    methods = [method for row in rows for method in (row if isinstance(row, list) else [row])]
    having = setting_keys().get(key, ())
    return any(method in having or method not in method_names() for method in methods) or key == "method"


def _set(document: Document, at: KeyPath, job: dict[Any, Any], path: KeyPath, value: Any, place: Place) -> None:
    """Put the value at `path` of the job, which stands at `at`."""
    holder: Any = job
    for depth, part in enumerate(path[:-1], start=1):
        if isinstance(holder.get(part), str | Template) and path[0] in ("settings", "variants"):
            holder[part] = {"kind": holder[part]}  # a kind's name stands for a mapping with it
        elif depth == 1 and part == "resources" and holder.get(part) == AUTO:  # which stands for a mapping, too
            holder[part] = dict(EVERY_KEY_AUTO)
            holder.setdefault("pack", AUTO)
        elif holder.get(part) is None:
            holder[part] = {}
            document.places[(*at, *path[:depth])] = place
        holder = holder[part]
        if not isinstance(holder, dict):
            raise UsageError(f"{place.text}: {dotted(path[:depth])} is no mapping, so it has no {path[depth]!r}")
    holder[path[-1]] = value
    changed = (*at, *path)
    document.places = {key: where for key, where in document.places.items() if key[: len(changed)] != changed}
    document.places[changed] = place
