"""A row of the index: what lay in the store of one trial when it was looked at."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from fod_bench.errors import DamagedObjectError
from fod_bench.records.names import failure_log_name, failure_name, record_name
from fod_bench.records.record import Record
from fod_bench.store import ObjectInfo, ObjectMissingError, Store

STATES = ("record", "mark", "log")
TIMINGS = ("method", "setting", "counts", "seconds", "device", "threads")
"""Names of the columns of a state and of a timing."""

State = tuple[str | None, str | None, str | None]
"""Of a trial's record, mark of a failure and log: what tells one content from another, None where there is no such object."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Of a record, what the time of other trainings is reckoned from."""

    method: str
    setting: str
    """As JSON, keys sorted."""
    counts: str
    """As JSON."""
    seconds: float
    """Of training and evaluation."""
    device: str
    threads: int


@dataclass(frozen=True, slots=True)
class Row:
    """One trial."""

    key: str
    state: State
    content: bytes | None = None
    """The record's own bytes; None where there is none, or none that can be read."""
    timing: Timing | None = None


def names_of(key: str) -> tuple[str, str, str]:
    """Store names of what a state is of."""
    return record_name(key), failure_name(key), failure_log_name(key)


def state_of(infos: Sequence[ObjectInfo | None]) -> State:
    """The state of what a listing tells of the three objects. Beside a record the others do not count."""
    record, mark, log = map(version_of, infos)
    return (record, None, None) if record is not None else (None, mark, log)


def version_of(info: ObjectInfo | None) -> str | None:
    """Another for every content of an object; None for none."""
    return None if info is None else f"{info.size}:{info.tag or repr(info.modified)}"


def read_row(store: Store, key: str, seen: State | None = None) -> Row:
    """What lies in the store of a trial, its record read. `seen`: its state, where a listing has told it. Raises `StoreError`.

    The record's version is seen before it is read: of one that is replaced in between it is that of none any more.
    """
    state = seen or _look(store, key)
    if state[0] is None:
        return Row(key, state)
    try:
        content = store.get(record_name(key))
    except (ObjectMissingError, DamagedObjectError):
        return Row(key, state)
    return Row(key, state, content, timing_of(content))


def _look(store: Store, key: str) -> State:
    record, mark, log = names_of(key)
    found = store.info(record)
    return state_of((found, *(store.info(name) if found is None else None for name in (mark, log))))


NOTHING: State = (None, None, None)
"""Of a trial that has neither a record nor a failure."""
UNSURE: State = ("?", None, None)
"""Of a trial of which others may know better: no object is of that version, so the store is asked each time."""


def timing_of(content: bytes) -> Timing | None:
    """None for what is no record that this version reads."""
    try:
        record = Record.model_validate_json(content)
    except ValidationError:
        return None
    return Timing(
        record.method,
        json.dumps(record.setting, sort_keys=True),
        record.counts.model_dump_json(),
        record.run.train_seconds + record.run.evaluate_seconds,
        record.run.device,
        record.run.threads,
    )
