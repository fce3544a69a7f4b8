"""What a store holds that no run needs, as heaps of objects, and their removal.

Each heap is looked at once more right before it goes: whether somebody has claimed its key, whether anything was added to it,
whether another run has begun.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from fod_bench.errors import FodBenchError
from fod_bench.records.claims import is_held
from fod_bench.records.index.changes import changing
from fod_bench.records.names import RUNS, is_plan, kind_of, run_of
from fod_bench.store import ObjectInfo, Store

UPLOAD_SECONDS = 86400.0
"""An unfinished upload that began earlier has been given up."""
_WORKERS = 8


@runtime_checkable
class KeepsUploads(Protocol):
    """A store in which an upload that broke off takes room without being an object."""

    def abandon_uploads(self, older_than: float, *, dry_run: bool = False) -> tuple[str, ...]:
        """Drop uploads that began more than `older_than` seconds ago; the names of their objects are returned."""
        ...


@dataclass(frozen=True)
class Heap:
    """Objects that go together, in the order in which they go."""

    name: str
    """What they have in common, e.g. `trials/<key>`."""
    why: str
    objects: list[ObjectInfo]
    key: str
    """The key whose claim keeps them from going; empty when there is none."""
    around: str
    """Prefix of all that belongs with them."""

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(info.size for info in self.objects)


@dataclass
class Garbage:
    """What can go, and what was left alone though nobody needs it."""

    heaps: list[Heap] = field(default_factory=list)
    young: int = 0
    """Heaps left alone because of their age."""
    unknown: list[ObjectInfo] = field(default_factory=list)
    """Objects this program does not know."""
    notes: list[str] = field(default_factory=list)
    """Why more was left alone, a line each."""
    uploads: tuple[str, ...] = ()
    """Objects whose upload was begun and never finished."""
    seen: frozenset[ObjectInfo] = frozenset()
    """Every object there was, of plans those that were reckoned with."""

    @property
    def objects(self) -> int:
        """Number of objects that can go."""
        return sum(len(heap.objects) for heap in self.heaps)

    @property
    def size(self) -> int:
        """Bytes that can go."""
        return sum(heap.size for heap in self.heaps)


def remove_garbage(store: Store, garbage: Garbage, removed: Callable[[Heap], None]) -> list[str]:
    """Delete what was found, apart from what is needed after all: those names are returned.

    Args:
        removed: told each heap when it is gone, from the thread of the caller.

    Raises:
        FodBenchError: a run has begun meanwhile; what is not gone yet stays.
        StoreError: the store fails.
    """
    kept, stop = [], threading.Event()

    def remove(heap: Heap) -> bool:
        if stop.is_set() or _needed_after_all(store, garbage, heap):
            return False
        with changing(store, heap.key) if _of_trials(heap) else contextlib.nullcontext():
            for info in heap.objects:
                store.delete(info.name)
        return True

    with ThreadPoolExecutor(_WORKERS) as pool:
        try:
            for heap, gone in zip(garbage.heaps, pool.map(remove, garbage.heaps), strict=True):
                if gone:
                    removed(heap)
                else:
                    kept.append(heap.name)
        except BaseException:
            stop.set()
            raise
    if any(map(_of_trials, garbage.heaps)):
        from fod_bench.records.index.append import append_if_indexed

        append_if_indexed(store)
    if isinstance(store, KeepsUploads):
        store.abandon_uploads(UPLOAD_SECONDS)
    return kept


def _of_trials(heap: Heap) -> bool:
    """Whether it has what an index of records tells of."""
    return any(kind_of(info.name) in ("records", "failures") for info in heap.objects)


def _needed_after_all(store: Store, garbage: Garbage, heap: Heap) -> bool:
    for info in store.list(RUNS):
        if is_plan(info.name) and info not in garbage.seen:
            raise FodBenchError(
                f"run {run_of(info.name)} was begun meanwhile, and what it needs was not reckoned with; start again"
            )
    if heap.key and is_held(store, heap.key):
        return True
    return any(info not in garbage.seen for info in store.list(heap.around))
