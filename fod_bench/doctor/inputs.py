"""Weights of backbones, and data sets: those of a job, or what is there without one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fod_bench.datasets import category_names, open_category
from fod_bench.datasets.fetch import SOURCES
from fod_bench.doctor.finding import Finding, within
from fod_bench.errors import DatasetError, WeightsError
from fod_bench.features.weights import hub_out_of_reach, resolve_weights
from fod_bench.job.datasets import DatasetSpec
from fod_bench.job.schema import Job
from fod_bench.methods.settings import PAPER_BACKBONE, SMALL_BACKBONE
from fod_bench.text import counted

_SECONDS = 60.0


def weights(job: Job | None) -> Iterator[Finding]:
    """Weights that the rows of a job need; without a job those of two common backbones."""
    wanted: dict[tuple[str, str], None] = {}
    if job is None:
        wanted = {(backbone, "pretrained"): None for backbone in (PAPER_BACKBONE, SMALL_BACKBONE)}
    else:
        for part in job.parts():
            for _, settings in part.rows():
                for need in settings.needs().weights:
                    wanted[need] = None
    if job is not None and not wanted:
        yield Finding("weights", "ok", "no row has a backbone")
    for backbone, which in wanted:
        yield from within(_SECONDS, "weights", partial(_weights, backbone, which, needed=job is not None))


def _weights(backbone: str, which: str, needed: bool) -> Iterator[Finding]:
    if which == "random":
        yield Finding("weights", "ok", f"{backbone}: random, made where it runs", "for a look, not for numbers")
        return
    try:
        found = resolve_weights(backbone, which, 0, download=False)
    except WeightsError as error:
        if which != "pretrained":
            yield Finding("weights", "missing", str(error))
            return
        reason = hub_out_of_reach(backbone)
        if reason is None:
            yield Finding("weights", "note", f"{backbone}: not here yet; fetched from huggingface.co at the first run")
            return
        remedy = "a network or HF_ENDPOINT, a file (`--set weights=FILE`), or `--set weights=random` for a look"
        yield Finding(
            "weights", "missing" if needed else "note", f"{backbone}: not here, and the hub: {reason}", remedy
        )
    else:
        yield Finding("weights", "ok", f"{backbone}: {found.path}")


def data(job: Job | None) -> Iterator[Finding]:
    """The data sets of a job; without a job the published ones below `$FOD_DATA`, or `data`."""
    if job is None:
        yield from _published(Path(os.environ.get("FOD_DATA") or "data").expanduser())
        return
    seen: list[DatasetSpec] = []
    for part in job.parts():
        for name in part.datasets:
            spec = part.dataset(name).model_copy(update={"limit": None})  # all that is looked at
            if spec not in seen:
                seen.append(spec)
                yield from within(_SECONDS, "data", partial(_dataset, part, name))


def _dataset(job: Job, name: str) -> Iterator[Finding]:
    spec = job.dataset(name)
    if spec.layout == "synthetic":
        yield Finding("data", "ok", f"{name}: drawn, nothing is needed")
        return
    own = spec.own
    try:
        names = list(spec.categories) if spec.categories != "all" else category_names(spec.layout, spec.root, own=own)
        for category in names:
            open_category(spec.layout, spec.root, category, own=own)
    except DatasetError as error:
        fetch = f"`fod-bench data fetch {spec.layout}`, or " if spec.layout in SOURCES else ""
        yield Finding("data", "missing", f"{name}: {error}", f"{fetch}`--set datasets.{name}.root=FOLDER`")
    else:
        yield Finding("data", "ok", f"{name}: {spec.root}, {counted(len(names), 'category')}")


def _published(folder: Path) -> Iterator[Finding]:
    for name in SOURCES:
        root = folder / name
        there = [category for category in category_names(name) if (root / category).is_dir()]
        expected = len(category_names(name))
        if len(there) == expected:
            yield Finding("data", "ok", f"{name}: {root}, all {expected} categories")
        else:
            said = (
                f"{name}: not in {root}" if not there else f"{name}: {root} has {len(there)} of {expected} categories"
            )
            yield Finding("data", "note", said, f"`fod-bench data fetch {name}`, or FOD_DATA names another folder")
