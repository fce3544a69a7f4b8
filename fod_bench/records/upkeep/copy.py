"""Copies of a store's content in another store, whichever kind either is.

What belongs together is copied together, and what makes it whole, a manifest or a record, comes last: the target never holds a
half. Claims, drivers' states, checkpoints and marks of failures belong to a place and stay there.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from fod_bench.errors import DamagedObjectError, StoreError
from fod_bench.records.index.changes import changing
from fod_bench.records.names import (
    FEATURES,
    IMAGES,
    key_of,
    kind_of,
    manifest_name,
    plan_name,
    record_name,
    run_folder,
    run_of,
    set_folder,
    trial_folder,
)
from fod_bench.records.run import RunPlan
from fod_bench.records.run_reader import trained_keys
from fod_bench.records.upkeep.needs import needs_of
from fod_bench.records.upkeep.parts import by_key, manifest_parts, plan_of, record_folder, record_of, record_parts
from fod_bench.records.upkeep.progress import Meter
from fod_bench.store import ObjectInfo, ObjectMissingError, Store

_WORKERS = 4
_COPIED = ("features", "images", "truth", "references", "records", "weights", "scores", "curves", "runs")


class _Set(NamedTuple):
    """Objects that belong together."""

    name: str
    head: str
    """The one that makes the others count, copied last; empty where each stands for itself."""
    parts: list[ObjectInfo]


@dataclass
class Copied:
    """What became of the objects of one set."""

    name: str
    objects: int = 0
    """Copied now."""
    bytes: int = 0
    there: int = 0
    """Objects the target had."""
    faults: list[str] = field(default_factory=list)
    """What was left out, and why, a line each."""


def copy_store(
    source: Store,
    target: Store,
    *,
    prefixes: tuple[str, ...] = (),
    plans: tuple[RunPlan, ...] | None = None,
    meter: Meter,
    copied: Callable[[Copied], None],
) -> int:
    """Copy what the target does not have yet; the number of sets looked at is returned.

    Args:
        prefixes: only sets of which an object's name begins with one of these.
        plans: only these runs and what they need.
        copied: told each set when it is done, from the thread of the caller.

    Raises `StoreError` when a store fails or the temporary folder (`TMPDIR`) is full; the same call then copies the rest.
    """
    infos = [info for info in source.list() if kind_of(info.name) in _COPIED]
    sets = list(_sets(infos))
    if prefixes:
        sets = [one for one in sets if any(name.startswith(prefixes) for name in _names(one))]
    if plans is not None:
        sets = list(_needed(sets, plans, source))
    meter.expect(sum(len(_names(one)) for one in sets), sum(info.size for one in sets for info in one.parts))
    stop = threading.Event()

    def copy(one: _Set) -> Copied:
        told = Copied(one.name)
        if not stop.is_set():
            _Copier(source, target, told, meter).copy(one)
        return told

    with ThreadPoolExecutor(_WORKERS) as pool:
        try:
            for told in pool.map(copy, sets):
                copied(told)
        except BaseException:
            stop.set()
            raise
    if any(kind_of(one.head) == "records" for one in sets):
        from fod_bench.records.index.append import append_if_indexed

        append_if_indexed(target)
    return len(sets)


def _sets(infos: list[ObjectInfo]) -> Iterator[_Set]:
    """Runs first: their plans keep the rest from being taken for garbage in the target."""
    kinds: dict[str, list[ObjectInfo]] = {kind: [] for kind in _COPIED}
    for info in infos:
        kinds[str(kind_of(info.name))].append(info)
    of_runs: dict[str, list[ObjectInfo]] = {}
    for info in kinds["runs"]:
        of_runs.setdefault(run_of(info.name), []).append(info)
    of_trials = by_key(info for kind in ("records", "weights", "scores", "curves") for info in kinds[kind])
    groups: list[tuple[Callable[[str], str], Callable[[str], str], dict[str, list[ObjectInfo]]]] = [
        (run_folder, plan_name, of_runs)
    ]
    for kind, root in (("features", FEATURES), ("images", IMAGES)):
        groups.append((partial(set_folder, root=root), partial(manifest_name, root=root), by_key(kinds[kind])))
    groups.append((trial_folder, record_name, of_trials))
    for folder_of, head_of, found in groups:
        for key, objects in found.items():
            head = head_of(key)
            if any(info.name == head for info in objects):  # without it the rest counts for nothing
                yield _Set(folder_of(key).rstrip("/"), head, objects)
    for info in (*kinds["truth"], *kinds["references"]):
        yield _Set(info.name, "", [info])


def _needed(sets: list[_Set], plans: tuple[RunPlan, ...], source: Store) -> Iterator[_Set]:
    needs, runs = needs_of(plans, source), {plan.run_id for plan in plans}
    keys = {
        **{"trials": needs.trials, "features": needs.features, "images": needs.images},
        **{"truth": needs.truth, "references": needs.references},
    }
    for one in sets:
        kind = one.name.split("/")[0]
        if run_of(one.name) in runs if kind == "runs" else key_of(one.name) in keys[kind]:
            yield one


def _names(one: _Set) -> list[str]:
    return [info.name for info in one.parts]


class _Copier:
    """Copies one set."""

    def __init__(self, source: Store, target: Store, told: Copied, meter: Meter) -> None:
        self.source, self.target, self.told, self.meter = source, target, told, meter

    def copy(self, one: _Set) -> None:
        """Copy what the target lacks of it. What is damaged is told, and nothing is then made to count."""
        try:
            if not one.head:
                for info in one.parts:
                    self._part(info)
                return
            content = self.source.get(one.head)
            write = self._writing(one.head, content)
            if write is None:
                self.told.there += 1
                return
            for info in self._belonging(one, content):
                self._part(info)
            of_trial = kind_of(one.head) == "records"
            with changing(self.target, key_of(one.head)) if of_trial else contextlib.nullcontext():
                written = write(one.head, content)
            if written is False:
                self.told.there += 1
            else:
                self._count(len(content))
        except (DamagedObjectError, ObjectMissingError) as error:
            self.told.faults.append(str(error))
        finally:
            self.meter.add(0, objects=len(one.parts))

    def _writing(self, head: str, content: bytes) -> Callable[[str, bytes], bool | None] | None:
        """How the head is to be written, False being no news; None when the target has another of its own, which stays."""
        try:
            there = self.target.get(head)
        except ObjectMissingError:
            return self.target.create
        except DamagedObjectError:
            return self.target.put
        if there == content:
            return lambda name, data: False
        return self.target.put if kind_of(head) == "runs" and _covers(content, there) else None

    def _belonging(self, one: _Set, content: bytes) -> list[ObjectInfo]:
        """The parts that the head stands for. Raises `DamagedObjectError` for a damaged head or a missing part."""
        there = {info.name: info for info in one.parts if info.name != one.head}
        kind = kind_of(one.head)
        if kind == "runs":
            plan_of(one.head, content)
            return list(there.values())
        if kind in ("features", "images"):
            needed = manifest_parts(one.head, content)
            belonging = [there[name] for name in needed if name in there]
        else:
            record = record_of(one.head, content)
            folder, needed = record_folder(record), record_parts(record)
            belonging = [info for name, info in there.items() if folder and name.startswith(folder)]
        for name in needed:
            if name not in there:
                raise DamagedObjectError(f"{one.head}: a part of it is missing: {name}")
        return belonging

    def _part(self, info: ObjectInfo) -> None:
        """Copy one object, unless the target has one of that name and size; its name carries what it is made of."""
        there = self.target.info(info.name)
        if there is not None and there.size == info.size:
            self.told.there += 1
            self.meter.add(info.size)
            return
        try:
            with tempfile.TemporaryDirectory(prefix="fod-bench-") as folder:
                path = Path(folder) / "object"
                with path.open("wb") as file:
                    for piece in self.source.stream(info.name):
                        file.write(piece)
                        self.meter.add(len(piece))
                self.target.put(info.name, path)
        except OSError as error:
            free = shutil.disk_usage(tempfile.gettempdir()).free >> 20
            raise StoreError(
                f"cannot copy {info.name}: temporary folder {tempfile.gettempdir()} (set by TMPDIR, {free} MiB free): "
                f"{error.strerror}"
            ) from error
        self._count(info.size)

    def _count(self, size: int) -> None:
        self.told.objects += 1
        self.told.bytes += size


def _covers(content: bytes, other: bytes) -> bool:
    """Whether one plan of a run names all that the other names, so that nothing becomes unneeded in the other's place."""
    try:
        mine, theirs = RunPlan.model_validate_json(content), RunPlan.model_validate_json(other)
    except ValueError:  # a plan that cannot be read names nothing
        return True
    return trained_keys(theirs).keys() <= trained_keys(mine).keys() and all(
        set(getattr(theirs, kind)) <= set(getattr(mine, kind)) for kind in ("features", "images", "truth", "references")
    )
