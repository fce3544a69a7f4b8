"""Objects of a store that belong together."""

from __future__ import annotations

import json
from collections.abc import Iterable

from fod_bench.errors import DamagedObjectError
from fod_bench.records.names import curves_name, kept_folder, key_of, kind_of, weights_name
from fod_bench.records.record import Record
from fod_bench.records.run import RunPlan
from fod_bench.store import ObjectInfo
from fod_bench.store.reading import reading


def by_key(infos: Iterable[ObjectInfo]) -> dict[str, list[ObjectInfo]]:
    """Objects whose names begin with the same kind of thing, by key."""
    found: dict[str, list[ObjectInfo]] = {}
    for info in infos:
        found.setdefault(key_of(info.name), []).append(info)
    return found


def manifest_parts(name: str, content: bytes) -> list[str]:
    """Names of the files that the manifest `name` stands for. Raises `DamagedObjectError` when it is no manifest."""
    with reading(name, "manifest of a set"):
        parts = sorted(json.loads(content)["files"].values())
        if all(kind_of(part) == kind_of(name) and key_of(part) == key_of(name) for part in parts) and parts:
            return parts
    raise DamagedObjectError(f"object {name} is damaged: no manifest of a set: its files do not belong to it")


def record_of(name: str, content: bytes) -> Record:
    """The record stored as `name`. Raises `DamagedObjectError` when it is none, or another trial's."""
    with reading(name, "record of a trial"):
        record = Record.model_validate_json(content)
    if record.key != key_of(name):
        raise DamagedObjectError(f"object {name} is damaged: it is the record of another trial, {record.key}")
    return record


def plan_of(name: str, content: bytes) -> RunPlan:
    """The plan stored as `name`. Raises `DamagedObjectError` when it is none."""
    with reading(name, "plan of a run"):
        return RunPlan.model_validate_json(content)


def record_folder(record: Record) -> str:
    """Beginning of the names of the weights and curves that the record stands for; empty for a record that names no claim."""
    return kept_folder(record.key, record.run.claim) if record.run.claim else ""


def record_parts(record: Record) -> list[str]:
    """Names of the objects without which the record is not whole. A measurement has none."""
    kept = record.key, record.run.claim
    return [weights_name(*kept, "last"), curves_name(*kept)] if record.run.claim and record.curves else []
