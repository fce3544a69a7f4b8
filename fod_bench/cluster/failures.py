"""Failures kept in the store, so that the next run does not repeat what cannot succeed, and a person can read why."""

from __future__ import annotations

import json
from datetime import datetime, timezone

from fod_bench.cluster.messages import Failure
from fod_bench.errors import DamagedObjectError, StoreError
from fod_bench.plan import TrialJob
from fod_bench.store import ObjectMissingError, Store

_PASSING = ("data",)
"""Kinds that may be gone by the next run: tried again each time."""


def keep_failure(store: Store, trial: TrialJob, failure: Failure) -> str:
    """Write a trial's log and, where a retry would fail again, the mark that it failed; the log's place is returned."""
    when = datetime.now(timezone.utc).isoformat(timespec="seconds")
    text = f"{when} {trial.name} ({trial.key})\n{failure.reason}\n\n{failure.details}\n"
    try:
        store.put(_log_name(trial.key), text.encode())
        if failure.kind not in _PASSING:
            about = {"kind": failure.kind, "reason": failure.reason, "time": when}
            store.put(failure_name(trial.key), json.dumps(about).encode())
    except StoreError as error:
        return f"not written: {error}"
    return store.location(_log_name(trial.key))


def kept_failure(store: Store, key: str) -> tuple[str, str] | None:
    """Reason and place of the log of a trial that failed before and would again; None where there is none."""
    try:
        return json.loads(store.get(failure_name(key)))["reason"], store.location(_log_name(key))
    except (ObjectMissingError, DamagedObjectError):
        return None


def forget_failure(store: Store, key: str) -> None:
    """The trial succeeded, or is to be tried again."""
    store.delete(failure_name(key))
    store.delete(_log_name(key))


def failure_name(key: str) -> str:
    """Store name of the mark that a trial failed and would again."""
    return f"trials/{key}/failure.json"


def _log_name(key: str) -> str:
    return f"trials/{key}/failure.log"
