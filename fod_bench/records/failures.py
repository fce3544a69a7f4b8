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
from fod_bench.records.index.changes import changing
from fod_bench.records.names import failure_log_name, failure_name, failure_prefix
from fod_bench.schema.hidden import hidden
from fod_bench.store import ObjectMissingError, Store
from fod_bench.store.reading import failure_reason
from fod_bench.text import escaped, shortened

REASON_LENGTH = 300
"""Characters of a reason that are shown where many stand together."""


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


@dataclass(frozen=True)
class KeptFailure:
    """What the store keeps of the last attempt at a trial, which failed."""

    reason: str
    """One line for a person, of bounded length, without control characters."""
    log: str
    """Where a person finds its log; empty where there is none."""
    marked: bool
    """Whether it would fail again, so that no run repeats it unasked."""


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
        with changing(store, key):
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


def last_failure(store: Store, key: str) -> KeptFailure | None:
    """Why the last attempt at a trial failed; None where nothing is kept of one. Reads only what there is. Raises `StoreError`."""
    there = {info.name for info in store.list(failure_prefix(key))}
    mark, log = failure_name(key), failure_log_name(key)
    reason = marked_reason(store, key) if mark in there else _logged_reason(store, log) if log in there else None
    if reason is None:
        return None
    line = shortened(escaped(" ".join(reason.split())), REASON_LENGTH)
    return KeptFailure(line, store.location(log) if log in there else "", mark in there)


def marked_reason(store: Store, key: str) -> str | None:
    """Why a trial failed, as its mark says, or that the mark is damaged; None where it is gone by now. Raises `StoreError`."""
    name = failure_name(key)
    try:
        return failure_reason(name, store.get(name))
    except ObjectMissingError:  # it is being tried again
        return None
    except DamagedObjectError:
        return f"its mark {store.location(name)} is damaged"


def _logged_reason(store: Store, log: str) -> str | None:
    """The same of a failure that left a log alone, as `keep_failure` wrote it: the reason stands between heading and details."""
    try:
        _, _, text = store.get(log).decode(errors="replace").partition("\n")
    except ObjectMissingError:
        return None
    except DamagedObjectError:
        return f"its log {store.location(log)} is damaged"
    return text.partition("\n\n")[0] or "its log tells why"


def forget_failure(store: Store, key: str) -> None:
    """The trial is to be tried again."""
    with changing(store, key):
        for name in failure_names(key):
            store.delete(name)


def failure_names(key: str) -> tuple[str, str]:
    """Store names of what is kept of a failure: the mark, where a retry would fail again, and the log."""
    return failure_name(key), failure_log_name(key)
