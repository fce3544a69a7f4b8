"""Whether the images of a job's data sets are those that the cache of digests, and a store's features and records, name."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from fod_bench.datasets import Category, open_category
from fod_bench.errors import DamagedObjectError, DatasetError
from fod_bench.job import Job, expand, run_id
from fod_bench.records.names import IMAGES, manifest_name, record_name
from fod_bench.records.run import Cell, RunPlan
from fod_bench.records.run_reader import RunReader
from fod_bench.records.upkeep.parts import record_of
from fod_bench.records.upkeep.verify import WORKERS
from fod_bench.store import ObjectMissingError, Store


@dataclass(frozen=True)
class VerifiedData:
    """What reading the images and looking at the store found."""

    categories: int
    images: int
    compared: int
    """Feature sets and records that name the content they were made of."""
    faults: list[str]
    """One line for each file that the cache had wrong, each feature set and record of other content, and each category that cannot
    be read."""


@dataclass(frozen=True)
class _Now:
    """A category of the job as it lies on disk."""

    category: Category
    fingerprint: str
    exact: bool
    """Whether the store's run is of this very job, so that another selection of images is a difference, too."""

    def replaces(self, made: _Made) -> bool:
        """Whether `made` was meant to be made of this, and was not."""
        meant = self.exact or (made.train, made.test) == (len(self.category.train), len(self.category.test))
        return meant and made.fingerprint != self.fingerprint


def verify_data(job: Job, store: Store, found: Callable[[str], None]) -> VerifiedData:
    """Read every image and mask that `job` uses, put the cache of digests right, and compare with what its run in `store` names.

    The run is the one of this very job; where there is none, the runs of a job of its name.

    Args:
        found: told each fault when it is found, a line.

    Raises:
        JobError: the job names categories that a data set lacks.
        StoreError: the store cannot be read.
    """
    faults: list[str] = []

    def fault(text: str) -> None:
        faults.append(text)
        found(text)

    runs = [plan for plan in RunReader(store).read().plans if plan.job == job.name]
    same = [plan for plan in runs if plan.run_id == run_id(job)]
    now = _read(job, bool(same), fault)
    compared = 0
    for made in _made(same or runs, store):
        compared += 1
        candidates = now.get((made.layout, made.category), [])
        if candidates and all(each.replaces(made) for each in candidates):
            fault(f"{made.name}: made of other images or masks of category {made.category} than there are now")
    read = [each.category for several in now.values() for each in several]
    return VerifiedData(len(read), sum(len(category.samples) for category in read), compared, faults)


def _read(job: Job, exact: bool, fault: Callable[[str], None]) -> dict[tuple[str, str], list[_Now]]:
    """The categories of the job by layout and name, every file read."""
    expansion = expand(job)
    for problem in expansion.problems:
        fault(problem)
    now: dict[tuple[str, str], list[_Now]] = defaultdict(list)
    places = {(cell.part.dataset(cell.dataset), cell.category): cell.dataset for cell in expansion.cells}
    blamed = {problem.split(":", 1)[0] for problem in expansion.problems}
    for (data, name), dataset in places.items():
        try:
            category = open_category(
                data.layout, data.root, name, limit=data.limit, synthetic=data.synthetic, own=data.own
            )
            fingerprint, wrong = category.fingerprint_anew()
        except DatasetError as error:
            if f"datasets.{dataset}" not in blamed:
                fault(f"{dataset}/{name}: {error}")
            continue
        for path in wrong:
            fault(
                f"{path}: its content changed though nothing else of it did; the digest that was kept of it is put right"
            )
        now[data.layout, name].append(_Now(category, fingerprint, exact))
    return now


class _Made(NamedTuple):
    """A feature set or record of the runs."""

    name: str
    """In the store."""
    layout: str
    category: str
    fingerprint: str
    train: int
    test: int


def _made(plans: list[RunPlan], store: Store) -> Iterator[_Made]:
    """What the runs have in the store; what is damaged there is `verify_store`'s to tell."""
    sets = dict.fromkeys(manifest_name(key) for plan in plans for key in plan.features)
    sets |= dict.fromkeys(manifest_name(key, IMAGES) for plan in plans for key in plan.images)
    # Categories of one content share a record, which names the first.
    cells = {(cell.key, cell.layout, cell.category): cell for plan in plans for cell in plan.cells if cell.key}
    with ThreadPoolExecutor(WORKERS) as pool:
        found = [
            *pool.map(lambda name: _set(name, store), sets),
            *pool.map(lambda cell: _record(cell, store), cells.values()),
        ]
    yield from (made for made in found if made is not None)


def _set(name: str, store: Store) -> _Made | None:
    try:
        manifest = json.loads(store.get(name))
        layout, category, fingerprint = (str(manifest[fact]) for fact in ("layout", "category", "fingerprint"))
        return _Made(name, layout, category, fingerprint, len(manifest["train"]), len(manifest["test"]))
    except (ObjectMissingError, DamagedObjectError, ValueError, LookupError, TypeError):
        return None


def _record(cell: Cell, store: Store) -> _Made | None:
    assert cell.key is not None
    name = record_name(cell.key)
    try:
        record = record_of(name, store.get(name))
    except (ObjectMissingError, DamagedObjectError):
        return None
    counts = record.counts
    test = counts.test_good + counts.test_defect
    return _Made(name, cell.layout, cell.category, record.fingerprint, counts.train, test)
