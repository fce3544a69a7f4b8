"""Whether an object is what its name says, and fits what it belongs to. A right checksum does not tell."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from fod_bench.records.chosen import ChosenResources
from fod_bench.records.claims import Entry
from fod_bench.records.fit import curves_faults, key_faults
from fod_bench.records.names import is_plan, key_of, kind_of, resources_name, run_of, state_name
from fod_bench.records.normal import NormalScores
from fod_bench.records.record import SELECTED_WEIGHTS, Record
from fod_bench.records.state import DriverState
from fod_bench.records.upkeep.parts import manifest_parts, plan_of, record_folder, record_of, record_parts
from fod_bench.store import Store
from fod_bench.store.reading import failure_reason, reading
from fod_bench.store.tensors import parse_tensors


@dataclass
class Checked:
    """What was found in an object."""

    read: Any = None
    """What it holds, of records and plans."""
    parts: list[str] = field(default_factory=list)
    """Names of the objects without which it is not whole."""
    faults: list[str] = field(default_factory=list)
    """In what it does not fit its name or its parts."""


def check_content(store: Store, name: str, content: bytes) -> Checked:
    """Look into an object. Raises `DamagedObjectError` when it is not what its name says."""
    kind = kind_of(name)
    if kind == "records":
        record = record_of(name, content)
        return Checked(
            record,
            [*record_parts(record), *_selected_weights(record)],
            [*key_faults(record), *curves_faults(store, record)],
        )
    if kind in ("features", "images"):
        return Checked(parts=manifest_parts(name, content))
    if is_plan(name):
        return Checked(plan_of(name, content))
    if kind in ("weights", "scores"):
        _, about = parse_tensors(name, content, store.location(name))
        if about.get("key") != key_of(name):
            other = about.get("key", "which is not named")
            return Checked(
                faults=[f"these are {kind} of another trial, {other}; delete the trial's record to train anew"]
            )
    elif kind == "normal":
        with reading(name, "scores of the training images"):
            normal = NormalScores.model_validate_json(content)
        if normal.key != key_of(name):
            return Checked(faults=[f"these are scores of another trial, {normal.key}; delete it to have it made anew"])
    elif kind == "states":
        with reading(name, "state of a run"):
            state = DriverState.model_validate_json(content)
        if state_name(state.run_id, state.driver) != name:
            return Checked(
                faults=[f"this is the state of another run, {state.run_id}, by driver {state.driver}; delete it"]
            )
    elif kind == "runs" and name == resources_name(run_of(name)):
        with reading(name, "resources that a run has chosen"):
            chosen = ChosenResources.model_validate_json(content)
        if chosen.run_id != run_of(name):
            return Checked(
                faults=[f"this was chosen by another run, {chosen.run_id}; delete it to have it chosen anew"]
            )
    elif kind == "claims" and name.endswith(".json"):
        with reading(name, "claim"):
            Entry.model_validate_json(content)
    elif kind == "failures" and name.endswith(".json"):
        failure_reason(name, content)
    elif kind == "mark":
        with reading(name, "mark of a store"):
            json.loads(content)["format"]
    return Checked()


def _selected_weights(record: Record) -> list[str]:
    """Names of the weights of the epochs that are best on the test data, where there is a best."""
    folder = record_folder(record)
    best = {part: record.best(record.primary_score, metric)[0] for part, metric in SELECTED_WEIGHTS.items()}
    return [f"{folder}{part}.safetensors" for part, value in best.items() if folder and value is not None]
