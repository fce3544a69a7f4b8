"""What tells jobs apart: the keys in which they differ, as `--set` takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fod_bench.job.include import included_jobs
from fod_bench.job.schema import OUTER_KEYS, Job
from fod_bench.methods.settings import MethodSettings
from fod_bench.schema.fields import shown
from fod_bench.schema.hidden import hidden

Values = Mapping[tuple[str, str], str]
"""`{(part, key): value}`: what is compared, in words. A part is a job with rows, by its name."""

SHOWN = 4
"""Differences that are written out before the rest is only counted."""


def job_values(data: Mapping[str, Any]) -> Values:
    """All that decides the results of a job given as plain data (`plain_job`), and of those that it includes."""
    return {
        (str(job.get("name", "")), key): value
        for _, job in included_jobs(data)
        if job.get("datasets")
        for key, value in _flat({name: value for name, value in job.items() if name not in (*OUTER_KEYS, "include")})
    }


def row_values(part: Job, settings: MethodSettings) -> dict[str, str]:
    """All of a row's setting that decides its numbers, whatever the data: what has no effect on this row is left out."""
    values = settings.training() | {
        "scoring": settings.rule,
        "score_levels": settings.scored_levels,
        "resize": None if settings.resize == "auto" else settings.resize,
        "resize_size": settings.resize_size,
        "limit_train": part.limit_train,
        "limit_test": part.limit_test,
    }
    for need in settings.needs().features:
        values["weights"] = need.weights
        if need.weights == "random":
            values["weights_seed"] = need.weights_seed
    return dict(_flat(values))


def given_values(part: Job, settings: MethodSettings) -> dict[str, str]:
    """Those of `row_values` that are not the method's defaults."""
    changed = {*settings.model_dump(exclude_defaults=True), "limit_train", "limit_test"} - {"method", "measure"}
    return {key: value for key, value in row_values(part, settings).items() if key.partition(".")[0] in changed}


def data_values(part: Job, dataset: str) -> dict[str, str]:
    """All of a data set's own keys that decide its numbers, apart from the folder and the choice of categories."""
    data = part.datasets[dataset].model_dump(exclude={"root", "categories"})
    return {f"datasets.{dataset}.{key}": value for key, value in _flat(data)}


def differences(jobs: Sequence[Values]) -> list[dict[str, str]]:
    """For each of `jobs` the keys, with its values, that tell it from the first; for the first those that it is told by.

    A key that has one value in all parts of a job stands once, any other behind the name of its part.
    """
    first: Values = jobs[0] if jobs else {}
    places = list(dict.fromkeys(place for job in jobs for place in job))
    varying = {place for place in places if len({job.get(place) for job in jobs}) > 1}
    parts: dict[str, list[str]] = {}
    for part, key in places:
        parts.setdefault(key, []).append(part)
    found = []
    for job in jobs:
        own: dict[str, str] = {}
        for part, key in places:
            if (part, key) in varying and (job is first or job.get((part, key)) != first.get((part, key))):
                same = len({job.get((other, key)) for other in parts[key]}) == 1
                own[key if same else f"{part}: {key}"] = job.get((part, key), shown(None))
        found.append(own)
    return found


def in_words(difference: Mapping[str, str]) -> str:
    """`learning_rate=0.05, limit_train=2`; of many the first."""
    texts = [f"{key}={value}" for key, value in difference.items()]
    rest = len(texts) - SHOWN
    return hidden(", ".join(texts[:SHOWN]) + (f" and {rest} more" if rest > 0 else ""))


def _flat(values: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """The values by their paths; those of `settings` stand at the top, as `--set` takes them."""
    for key, value in values.items():
        path = above if not above and key == "settings" else f"{above}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}." if path else "")
        elif isinstance(value, list | tuple):
            yield path, f"[{','.join(map(shown, value))}]"
        elif value is not None and (value != {} or above == "variants."):
            yield path, shown(value) or "{}"
