"""Looking into a store while others work in it: who holds which training, what is recorded, what was left behind.

Needs nothing of pytest, so that benchmarks can use it too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from fod_bench.records.claims import Entry
from fod_bench.records.names import checkpoints_prefix
from fod_bench.records.record import Record
from fod_bench.records.run import RunPlan
from fod_bench.store import ObjectMissingError, Store


class Holder(NamedTuple):
    """The newest claim of a training."""

    key: str
    process: int
    """Id of the worker's process."""
    host: str
    """Name of its machine."""
    claim: str
    """Name of the claim, as its records and checkpoints carry it."""
    checkpoints: int
    """How many it has in the store."""


def holders(store: Store) -> list[Holder]:
    """Who trains what, features left out; a worker that has died meanwhile is still told."""
    newest: dict[str, str] = {}
    for info in store.list("claims/"):
        if info.name.endswith(".json"):
            newest[info.name.split("/")[1]] = info.name  # sorted: the last one is the newest
    found = []
    for key in sorted(newest.keys() - _feature_keys(store)):
        name = newest[key]
        try:
            entry = Entry.model_validate_json(store.get(name))
        except ObjectMissingError:  # swept just now
            continue
        if entry.kind == "claim":
            claim = f"{name.rpartition('/')[2].removesuffix('.json')}-{entry.token}"
            written = sum(1 for _ in store.list(f"{checkpoints_prefix(key)}{claim}-"))
            found.append(Holder(key, entry.process.number, entry.process.host, claim, written))
    return found


def _feature_keys(store: Store) -> set[str]:
    plans = [info.name for info in store.list("runs/") if info.name.endswith("/plan.json")]
    return {key for name in plans for key in RunPlan.model_validate_json(store.get(name)).features}


def records_in(store: Store) -> dict[str, Record]:
    """Train key to record."""
    names = [info.name for info in store.list("trials/") if info.name.endswith("/record.json")]
    return {name.split("/")[1]: Record.model_validate_json(store.get(name)) for name in names}


def digests_in(store: Store) -> dict[str, str]:
    """Train key to the digest of its result."""
    return {key: record.result_digest() for key, record in records_in(store).items()}


def left_behind(store: Store) -> list[str]:
    """Names of claims and checkpoints: none once all is done."""
    return [info.name for info in store.list() if info.name.startswith("claims/") or "/checkpoints/" in info.name]


def faults_of(store: Store, expected: Mapping[str, str]) -> Iterator[str]:
    """What is wrong in a store whose work is done. `expected`: train key to the digest of the result, from a quiet run."""
    found = digests_in(store)
    yield from (f"trial {key} has no record" for key in expected.keys() - found.keys())
    yield from (f"record {key} was not asked for" for key in found.keys() - expected.keys())
    for key in expected.keys() & found.keys():
        if expected[key] != found[key]:
            yield f"record {key} is another than the quiet run's"
    yield from (f"left behind: {name}" for name in left_behind(store))
    last = [info.name for info in store.list("trials/") if info.name.endswith("/last.safetensors")]
    for key, count in Counter(name.split("/")[1] for name in last).items():
        if count != 1:
            yield f"trial {key} has weights of {count} claims"


def whole(store: Store) -> dict[str, bytes]:
    """Every object, checked as it is read."""
    return {info.name: b"".join(store.stream(info.name)) for info in list(store.list())}
