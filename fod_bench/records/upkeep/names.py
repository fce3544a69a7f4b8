"""What an object of a store is, by its name; and what belongs together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Literal, get_args

from fod_bench.errors import DamagedObjectError
from fod_bench.records.record import Record
from fod_bench.records.run import RunPlan
from fod_bench.store import ObjectInfo
from fod_bench.store.reading import reading

Kind = Literal[
    "features",
    "references",
    "records",
    "weights",
    "curves",
    "checkpoints",
    "failures",
    "claims",
    "runs",
    "states",
    "probe",
    "mark",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

_CLAIM = r"\d+-[0-9a-f]+"
_NAMES: dict[Kind, str] = {
    "features": rf"features/[^/]+/(manifest\.json|{_CLAIM}/(train|test)\.safetensors)",
    "references": r"references/[^/]+\.safetensors",
    "records": r"trials/[^/]+/record\.json",
    "weights": rf"trials/[^/]+/{_CLAIM}/[^/]+\.safetensors",
    "curves": rf"trials/[^/]+/{_CLAIM}/curves\.json",
    "checkpoints": r"trials/[^/]+/checkpoints/[^/]+\.safetensors",
    "failures": r"trials/[^/]+/failure\.(json|log)",
    "claims": r"claims/[^/]+/\d+\.(json|beat)",
    "runs": r"runs/[^/]+/(job\.yaml|plan\.json)",
    "states": r"runs/[^/]+/state/[^/]+\.json",
    "probe": r"probe/.+",
    "mark": r"fod-bench\.json",
}
_ANY = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _NAMES.items()))


def kind_of(name: str) -> Kind | None:
    """What the object `name` is; None for what this program does not write."""
    found = _ANY.fullmatch(name)
    return next(kind for kind in KINDS if found[kind] is not None) if found else None


def key_of(name: str) -> str:
    """The key in the name of features, references, anything of a trial, or a claim."""
    return name.split("/")[1].partition(".")[0]


def run_of(name: str) -> str:
    """Run id in the name of an object of a run."""
    return name.split("/")[1]


def by_key(infos: Iterable[ObjectInfo]) -> dict[str, list[ObjectInfo]]:
    """Objects whose names begin with the same kind of thing, by key."""
    found: dict[str, list[ObjectInfo]] = {}
    for info in infos:
        found.setdefault(key_of(info.name), []).append(info)
    return found


def manifest_parts(name: str, content: bytes) -> list[str]:
    """Names of the files that the manifest `name` stands for. Raises `DamagedObjectError` when it is no manifest."""
    with reading(name, "manifest of a feature set"):
        parts = sorted(json.loads(content)["files"].values())
        if all(kind_of(part) == "features" and key_of(part) == key_of(name) for part in parts) and parts:
            return parts
    raise DamagedObjectError(f"object {name} is damaged: no manifest of a feature set: its files do not belong to it")


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
    return f"trials/{record.key}/{record.run.claim}/" if record.run.claim else ""


def record_parts(record: Record) -> list[str]:
    """Names of the objects without which the record is not whole. A measurement has none."""
    folder = record_folder(record)
    return [f"{folder}last.safetensors", f"{folder}curves.json"] if folder and record.curves else []
