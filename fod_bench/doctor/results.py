"""The store of results."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

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
        opened = open_store(uri, _PATIENCE)
        there = len(list(islice(opened.list(TRIALS), 1)))
        said = f"{hidden(uri)} answers, {'with results in it' if there else 'no results yet'}"
        yield Finding("store", "ok", said)
        return
    existing = next(place for place in (address, *address.absolute().parents) if place.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        what = "is no folder" if not existing.is_dir() else "may not be written"
        yield Finding("store", "missing", f"{address}: {existing} {what}", "--store names another place")
        return
    if address.exists():
        records = sum(1 for _ in Path(address, "trials").glob("*/record.json"))
        said = f"{address}, {records} trainings"
    else:
        said = f"{address}, made by the first run"
    yield Finding("store", "ok", f"{said}; {format_bytes(shutil.disk_usage(existing).free)} free")
