"""From a job to its cells, and from a setting to what it shares with others."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from fod_bench.datasets import category_names, root_fault, root_notes
from fod_bench.datasets.names import composed
from fod_bench.errors import DatasetError, JobError
from fod_bench.job.datasets import DatasetSpec
from fod_bench.job.schema import Job
from fod_bench.methods.settings import MethodSettings
from fod_bench.schema.problems import MAX_SHOWN, unknown
from fod_bench.store.address import is_bucket

MAX_CELLS = 100_000
"""More cells than this are refused: their plan would take minutes, and the memory of a machine."""


@dataclass(frozen=True)
class CellSpec:
    """One number asked for: a row on one category with one seed."""

    part: Job
    """The job whose row it is: the one that is expanded, or one that it includes."""
    row: str
    dataset: str
    category: str
    seed: int
    settings: MethodSettings


@dataclass(frozen=True)
class Expansion:
    """The cells of a job, as far as they can be counted."""

    cells: tuple[CellSpec, ...]
    """In the order part, data set, category, row, seed."""
    problems: tuple[str, ...]
    """Data sets that are not there, each in words with the remedy. The cells of those whose categories are known
    without their files are counted all the same."""
    notes: tuple[str, ...] = ()
    """What lies in data sets and is in no category though all are asked for, a line each."""


def expand(job: Job) -> Expansion:
    """Every cell of the job.

    Raises:
        JobError: categories named in the job that a data set on disk lacks, or more than `MAX_CELLS` cells.
    """
    cells: list[CellSpec] = []
    problems: list[str] = []
    strange: list[str] = []
    notes: list[str] = []
    for part in job.parts():
        rows = part.rows()
        for name, spec in part.datasets.items():
            if spec.root is not None and spec.categories == "all":
                with suppress(DatasetError):  # it is a problem as well, and told there
                    notes += [f"{name}: {note}" for note in root_notes(spec.layout, spec.root, spec.own)]
            categories = _categories(name, spec, problems, strange)
            if len(cells) + len(rows) * len(categories) * len(part.seeds) > MAX_CELLS:
                made_of = f"{len(rows)} rows × {len(categories)} categories × {len(part.seeds)} seeds"
                raise JobError(f"datasets.{name}: {made_of} make more than {MAX_CELLS} cells; split the job")
            for category in categories:
                cells += [
                    CellSpec(part, row, name, category, seed, settings) for row, settings in rows for seed in part.seeds
                ]
    if strange:
        raise JobError("\n".join(dict.fromkeys(strange)))
    return Expansion(tuple(cells), tuple(dict.fromkeys(problems)), tuple(dict.fromkeys(notes)))


def _categories(name: str, spec: DatasetSpec, problems: list[str], strange: list[str]) -> tuple[str, ...]:
    """The categories of a data set, none when they cannot be known; adds to `problems` and `strange` what is wrong."""
    named = () if spec.categories == "all" else spec.categories
    fault = root_fault(spec.root)
    there = fault is None
    if not there:
        uncounted = ", so its categories cannot be counted" if spec.layout == "folder" and not named else ""
        remedy = f"; name yours by --set datasets.{name}.root=FOLDER or by the variable in the job file"
        problems.append(f"datasets.{name}: {fault}{uncounted}{'' if is_bucket(spec.root or '') else remedy}")
    if named and (not there or spec.layout != "folder"):
        return named
    try:
        on_disk = category_names(spec.layout, spec.root, own=spec.own) if there or spec.layout != "folder" else []
    except DatasetError as error:
        problems.append(f"datasets.{name}: {error}")
        return ()
    there_are = set(on_disk)
    missing = [category for category in named if composed(category) not in there_are]
    strange += [
        f"datasets.{name}.categories: {unknown('category', category, on_disk)}, in {spec.root}"
        for category in missing[:MAX_SHOWN]
    ]
    return tuple(map(composed, named)) or tuple(on_disk)
