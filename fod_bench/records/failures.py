"""Failures: what an error is to a person, and what the store keeps of it, so that no run repeats what cannot succeed."""

from __future__ import annotations

import json
import traceback
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal

from fod_bench.errors import (
    BlockedObjectError,
    DamagedObjectError,
    DatasetError,
    DivergedError,
    FodBenchError,
    StoreError,
    WeightsError,
)
from fod_bench.records.names import failure_log_name, failure_name
from fod_bench.schema.hidden import hidden
from fod_bench.store import ObjectMissingError, Store
from fod_bench.store.reading import failure_reason
from fod_bench.text import escaped


@dataclass(frozen=True)
class Failure:
    """Work that failed."""

    reason: str
    """One line for a person."""
    details: str
    """Everything known, for the log."""
    kind: Literal["data", "diverged", "memory", "store", "object", "features", "worker", "fault"] = "fault"
    """`store`: it failed as a whole, perhaps for a while. `object`: one of its objects cannot be had until a person acts.
    `features`: they are no longer in the store, or damaged, and have to be made again."""


_PASSING = ("data", "object")
"""Kinds that may be gone by the next run: tried again each time."""


def failure_of(error: Exception) -> Failure:
    """An error as a failure."""
    details = "".join(traceback.format_exception(error))
    if isinstance(error, DatasetError | WeightsError):
        return Failure(str(error), details, "data")
    if isinstance(error, DivergedError):
        return Failure(str(error), details, "diverged")
    if isinstance(error, BlockedObjectError | DamagedObjectError):
        return Failure(str(error), details, "object")
    if isinstance(error, StoreError):
        return Failure(str(error), details, "store")
    if isinstance(error, FodBenchError):
        return Failure(str(error), details)
    first = (str(error).strip().splitlines() or ["no message"])[0]
    return Failure(f"{type(error).__name__}: {first}", details)


def keep_failure(store: Store, key: str, name: str, failure: Failure) -> str:
    """Write a trial's log and, where a retry would fail again, the mark that it failed; the log's place is returned."""
    when = datetime.now(timezone.utc).isoformat(timespec="seconds")
    text = escaped(hidden(f"{when} {name} ({key})\n{failure.reason}\n\n{failure.details}\n"), keep="\n\t")
    try:
        store.put(failure_log_name(key), text.encode())
        if failure.kind not in _PASSING:
            about = {"kind": failure.kind, "reason": hidden(failure.reason), "time": when}
            store.put(failure_name(key), json.dumps(about).encode())
    except StoreError as error:
        return f"not written: {error}"
    return store.location(failure_log_name(key))


def kept_failure(store: Store, key: str) -> tuple[str, str] | None:
    """Reason and place of the log of a trial that failed before and would again; None where there is none."""
    try:
        return failure_reason(failure_name(key), store.get(failure_name(key))), store.location(failure_log_name(key))
    except (ObjectMissingError, DamagedObjectError):
        return None


def forget_failure(store: Store, key: str) -> None:
    """The trial is to be tried again."""
    for name in failure_names(key):
        store.delete(name)


def failure_names(key: str) -> tuple[str, str]:
    """Store names of what is kept of a failure: the mark, where a retry would fail again, and the log."""
    return failure_name(key), failure_log_name(key)
