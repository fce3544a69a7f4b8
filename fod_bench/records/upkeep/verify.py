"""Reading every object of a store, to find those that are damaged or are not what they should be, and sets that have lost a part.

Changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from fod_bench.errors import DamagedObjectError
from fod_bench.records.fit import plan_faults
from fod_bench.records.names import IMAGES, kind_of, manifest_name, record_name, reference_name, truth_name
from fod_bench.records.record import Record
from fod_bench.records.run import Cell, RunPlan
from fod_bench.records.upkeep.content import check_content
from fod_bench.records.upkeep.progress import Meter
from fod_bench.store import ObjectInfo, ObjectMissingError, Store
from fod_bench.store.base import obstacle

WORKERS = 8
"""Objects read at the same time."""


_LARGE = ("features", "images", "truth", "references", "checkpoints", "index", None)
"""What is read for its checksum alone."""


@dataclass(frozen=True)
class Verified:
    """What a walk through a store found."""

    objects: int
    bytes: int
    faults: list[str]
    """One line for each damaged object and each missing part, sorted."""


@dataclass
class _Seen:
    """What is compared when all is read."""

    records: dict[str, Record] = field(default_factory=dict)
    plans: dict[str, RunPlan] = field(default_factory=dict)


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
    seen = _Seen()

    def tell(told: Iterable[str]) -> None:
        for fault in told:
            faults.append(fault)
            found(fault)

    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            for told in pool.map(lambda info: _faults(store, info, names, seen, meter), infos):
                tell(told)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    tell(_in_the_way(store, names, seen))
    tell(_unplanned(seen))
    return Verified(len(infos), sum(info.size for info in infos), sorted(faults))


def _faults(store: Store, info: ObjectInfo, names: set[str], seen: _Seen, meter: Meter) -> list[str]:
    """What is wrong with one object; nothing if it is gone by now."""
    try:
        if kind_of(info.name) in _LARGE and not info.name.endswith(".json"):
            for piece in store.stream(info.name):  # large: what is in them shows when they are used
                meter.add(len(piece))
            return []
        content = store.get(info.name)
        meter.add(len(content))
        checked = check_content(store, info.name, content)
        if isinstance(checked.read, Record):
            seen.records[checked.read.key] = checked.read
        elif isinstance(checked.read, RunPlan):
            seen.plans[info.name] = checked.read
        lost = [part for part in checked.parts if part not in names and not store.exists(part)]
        if lost and store.exists(info.name):
            return [f"{info.name}: a part of it is missing: {part}" for part in lost]
        return [f"{info.name}: {fault}" for fault in checked.faults]
    except ObjectMissingError:
        return []
    except DamagedObjectError as error:
        return [f"{info.name}: {error}"]
    finally:
        meter.add(0, objects=1)


def _in_the_way(store: Store, names: set[str], seen: _Seen) -> list[str]:
    """What stands where an object would be, or a folder on the way to it."""
    places: set[str] = set()
    for plan in seen.plans.values():
        places.update(record_name(cell.key) for cell in plan.cells if cell.key)
        places.update(map(manifest_name, plan.features), (manifest_name(key, IMAGES) for key in plan.images))
        places.update(map(truth_name, plan.truth), map(reference_name, plan.references))
    places -= names
    for name in names:
        parts = name.split("/")
        above = ("/".join(parts[:count]) for count in range(1, len(parts)))
        places.update(folder for folder in above if kind_of(folder) not in (None, "probe"))
    return [f"{name}: {stands}" for name in sorted(places) if (stands := obstacle(store, name)) is not None]


def _unplanned(seen: _Seen) -> list[str]:
    """Records that are of something else than every plan that names their key says."""
    cells: dict[str, list[Cell]] = {}
    for plan in seen.plans.values():
        for cell in plan.cells:
            if cell.key in seen.records:
                cells.setdefault(cell.key, []).append(cell)
    return [
        f"{record_name(key)}: {fault}"
        for key, asked in sorted(cells.items())
        for fault in plan_faults(seen.records[key], asked)
    ]
