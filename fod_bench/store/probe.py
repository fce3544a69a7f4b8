"""Whether a store can be used, and shared: asked once, before anything is trained."""

from __future__ import annotations

import json
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from fod_bench.errors import StoreError
from fod_bench.store.base import ObjectMissingError, Store

FORMAT = 1
MARK = "fod-bench.json"
"""The object that marks a store as one of this program, and says in which format it is."""
FOLDERS = ("claims", "features", "probe", "references", "runs", "trials")
"""What the names in a store begin with."""

_CREATORS, _ROUNDS = 16, 6


class Probe(NamedTuple):
    """What a store was found to do."""

    exclusive_create: bool
    """Whether of many who create one object at once, exactly one is told that it did. Only such a store can be shared."""
    winners: tuple[int, ...]
    """How many were told so, in each race; the last number is of one who came when the object was there, and should be 0."""


def check_store(store: Store) -> Probe:
    """Try a store out: read, write, delete, and race for an object; and mark an empty one as a store of this program.

    Raises `StoreError`, one line, when it cannot be read or written, holds other things, or is of a newer format.
    """
    _check_mark(store)
    folder = f"probe/{secrets.token_hex(8)}"
    names = [f"{folder}/{number}" for number in range(_ROUNDS)]
    _check_written(store, f"{folder}/written")
    with ThreadPoolExecutor(_CREATORS) as pool:
        winners = [_race(store, name, pool) for name in names]
    winners.append(int(store.create(names[-1], b"too late")))
    for name in (*names, f"{folder}/written"):
        store.delete(name)
    return Probe(winners == [1] * _ROUNDS + [0], tuple(winners))


def _check_mark(store: Store) -> None:
    try:
        _check_format(store, store.get(MARK))
        return
    except ObjectMissingError:
        pass
    place = store.location(MARK).removesuffix(f"/{MARK}")
    foreign = next((info.name for info in store.list() if info.name.partition("/")[0] not in (*FOLDERS, MARK)), None)
    if foreign is not None:
        raise StoreError(f"store {place}: it holds other things, such as {foreign}; give an empty folder or prefix")
    if not store.create(MARK, json.dumps({"format": FORMAT}).encode()):
        _check_format(store, store.get(MARK))  # another was faster


def _check_format(store: Store, mark: bytes) -> None:
    place = store.location(MARK)
    try:
        number = json.loads(mark)["format"]
    except (ValueError, TypeError, KeyError):
        number = None
    if type(number) is not int or number < 1:
        raise StoreError(f"{place} does not say which format the store has; it should be " + '{"format": 1}')
    if number > FORMAT:
        raise StoreError(
            f"{place}: the store has format {number}, this version of fod-bench knows formats up to {FORMAT}; use a newer one"
        )


def _check_written(store: Store, name: str) -> None:
    content = secrets.token_bytes(1000)
    store.put(name, content)
    if store.get(name) != content:
        raise StoreError(f"{store.location(name)} reads otherwise than it was written; the store cannot be used")


def _race(store: Store, name: str, pool: ThreadPoolExecutor) -> int:
    """How many of those who create `name` at once are told that they did."""
    start = threading.Barrier(_CREATORS)

    def create(number: int) -> bool:
        start.wait()
        return store.create(name, b"%d" % number)

    return sum(pool.map(create, range(_CREATORS)))
