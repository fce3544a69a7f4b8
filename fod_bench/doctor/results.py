"""The store of results."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from fod_bench.doctor.finding import Finding
from fod_bench.records.names import TRIALS
from fod_bench.schema.hidden import hidden
from fod_bench.store.address import S3Address, parse_address
from fod_bench.store.open import open_store
from fod_bench.text import format_bytes

_PATIENCE = 5.0


def store(uri: str) -> Iterator[Finding]:
    """Whether a store can be read, and, of a folder, written. Nothing is written. Raises StoreError for what cannot be a store."""
    address = parse_address(uri)
    if isinstance(address, S3Address):
        yield Finding("store", "ok", f"{hidden(uri)} answers, {_results(uri)}")
        return
    existing = next(place for place in (address, *address.absolute().parents) if place.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        what = "is no folder" if not existing.is_dir() else "may not be written"
        yield Finding("store", "missing", f"{address}: {existing} {what}", "--store names another place")
        return
    said = _results(uri) if address.exists() else "made by the first run"
    yield Finding("store", "ok", f"{address}, {said}; {format_bytes(shutil.disk_usage(existing).free)} free")


def _results(uri: str) -> str:
    """Whether there are any, by the first that a listing names: a store may hold a million."""
    return "with results in it" if any(True for _ in open_store(uri, _PATIENCE).list(TRIALS)) else "no results yet"
