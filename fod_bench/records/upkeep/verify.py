"""Reading every object of a store, to find those that are damaged, and sets that have lost a part. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from fod_bench.errors import DamagedObjectError
from fod_bench.records.upkeep.names import kind_of, manifest_parts, plan_of, record_of, record_parts
from fod_bench.records.upkeep.progress import Meter
from fod_bench.store import ObjectInfo, ObjectMissingError, Store

WORKERS = 8
"""Objects read at the same time."""


@dataclass(frozen=True)
class Verified:
    """What a walk through a store found."""

    objects: int
    bytes: int
    faults: list[str]
    """One line for each damaged object and each missing part, sorted."""


def verify_store(store: Store, prefix: str, meter: Meter, found: Callable[[str], None]) -> Verified:
    """Read and check every object whose name begins with `prefix`.

    Args:
        found: told each fault when it is found, a line, from the thread of the caller.

    Raises `StoreError` when the store cannot be read.
    """
    infos = list(store.list(prefix))
    names = {info.name for info in infos}
    meter.expect(len(infos), sum(info.size for info in infos))
    faults = []
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            for told in pool.map(lambda info: _faults(store, info, names, meter), infos):
                for fault in told:
                    faults.append(fault)
                    found(fault)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return Verified(len(infos), sum(info.size for info in infos), sorted(faults))


def _faults(store: Store, info: ObjectInfo, names: set[str], meter: Meter) -> list[str]:
    """What is wrong with one object; nothing if it is gone by now."""
    try:
        if kind_of(info.name) in ("records", "runs") or info.name.endswith("/manifest.json"):
            content = store.get(info.name)
            meter.add(len(content))
            parts = _parts(info.name, content)
            lost = [part for part in parts if part not in names and not store.exists(part)]
            if lost and store.exists(info.name):
                return [f"{info.name}: a part of it is missing: {part}" for part in lost]
        else:
            for piece in store.stream(info.name):
                meter.add(len(piece))
    except ObjectMissingError:
        return []
    except DamagedObjectError as error:
        return [f"{info.name}: {error}"]
    finally:
        meter.add(0, objects=1)
    return []


def _parts(name: str, content: bytes) -> list[str]:
    """Names of the objects without which this one is not whole. Raises `DamagedObjectError` when it is not what it should be."""
    if kind_of(name) == "features":
        return manifest_parts(name, content)
    if kind_of(name) == "records":
        return record_parts(record_of(name, content))
    if name.endswith("/plan.json"):
        plan_of(name, content)
    return []
