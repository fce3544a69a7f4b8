"""Whether a record fits what it belongs to: the plans that name its key, the key itself, its curves."""

from __future__ import annotations

import re
from collections.abc import Collection

from fod_bench.errors import DamagedObjectError
from fod_bench.records.curves import read_curves
from fod_bench.records.names import curves_name, record_name
from fod_bench.records.record import Record, train_key
from fod_bench.records.run import Cell
from fod_bench.store.base import ObjectMissingError, Store
from fod_bench.store.reading import reading

_HASH = re.compile(r"[0-9a-f]{32}")
_VERSIONS = range(1, 100)
"""Versions of a method that a key may be of: one that fits none is of no version."""


def plan_faults(record: Record, cells: Collection[Cell]) -> list[str]:
    """In what the record is of something else than every one of the `cells` with its key says; nothing where there are none."""
    return [
        f"{what} {getattr(record, what)} is in no plan of this training; there it is "
        + " or ".join(dict.fromkeys(str(getattr(cell, what)) for cell in cells))
        for what in ("method", "seed", "category")
        if cells and all(getattr(cell, what) != getattr(record, what) for cell in cells)
    ]


def key_faults(record: Record) -> list[str]:
    """A key is the hash of what was trained: a record that says otherwise has been altered, or was put under a wrong key.

    Raises `DamagedObjectError` for a setting that has no hash.
    """
    if not _HASH.fullmatch(record.key):
        return []
    with reading(record_name(record.key), "record of a trial"):
        source = record.features.get("key")
        fits = any(record.key == train_key(source, record.seed, record.setting, version) for version in _VERSIONS)
    return [] if fits else ["its key is not that of its method, seed, setting and features"]


def curves_faults(store: Store, record: Record) -> list[str]:
    """In what the record is not what its curves say. Curves that are gone say nothing. Raises `StoreError`."""
    if not record.run.claim:
        return []
    try:
        curves = read_curves(store, record)
    except ObjectMissingError:
        return []
    except DamagedObjectError as error:
        return [str(error)]
    if curves is None:
        return []
    if curves.key != record.key:
        return [f"its curves {curves_name(record.key, record.run.claim)} are those of another trial, {curves.key}"]
    epochs = {len(values) for values in curves.losses.values()} or {record.epochs}  # a method may have no loss
    fits = epochs == {record.epochs} and curves.selected() == record.selected
    return [] if fits else ["its values are not those of its curves"]
