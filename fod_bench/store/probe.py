"""Whether a store can be used, and shared: asked once, before anything is trained."""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from pydantic import ValidationError

from fod_bench.errors import DamagedObjectError, StoreError
from fod_bench.machine.process import ProcessId
from fod_bench.store.base import ObjectInfo, ObjectMissingError, Store

FORMAT = 1
MARK = "fod-bench.json"
"""The object that marks a store as one of this program, and says in which format it is."""
FOLDERS = ("claims", "features", "index", "probe", "references", "runs", "trials")
"""What the names in a store begin with."""

_CREATORS, _ROUNDS = 16, 6
_OWNER = "owner.json"
_SECONDS = 3600.0
"""No probe takes so long, however often its store falls silent."""


class Probe(NamedTuple):
    """What a store was found to do."""

    exclusive_create: bool
    """Whether of many who create one object at once, exactly one is told that it did. Only such a store can be shared."""
    winners: tuple[int, ...]
    """How many were told so, in each race; the last number is of one who came when the object was there, and should be 0."""


def check_store(store: Store) -> Probe:
    """Try a store out: read, write, delete, and race for an object; and mark an empty one as a store of this program.

    What it writes it removes, also when it fails, and what a probe that died has left.

    Raises `StoreError`, one line, when it cannot be read or written, holds other things, or is of a newer format.
    """
    _check_mark(store)
    _clear(store)
    folder = f"probe/{secrets.token_hex(8)}"
    names = [f"{folder}/{number}" for number in range(_ROUNDS)]
    written = [f"{folder}/{_OWNER}", f"{folder}/written", *names]
    try:
        store.put(written[0], ProcessId.own().model_dump_json().encode())
        _check_written(store, written[1])
        with ThreadPoolExecutor(_CREATORS) as pool:
            winners = [_race(store, name, pool) for name in names]
        winners.append(int(store.create(names[-1], b"too late")))
    except BaseException:
        with contextlib.suppress(
            StoreError
        ):  # the error at hand is the one that matters; the next probe clears the rest
            _delete(store, written)
        raise
    _delete(store, written)
    return Probe(winners == [1] * _ROUNDS + [0], tuple(winners))


def _clear(store: Store) -> None:
    """Remove what probes left whose process is known to be dead, or that are too old to go on."""
    folders: dict[str, list[ObjectInfo]] = {}
    for info in store.list("probe/"):
        folders.setdefault("/".join(info.name.split("/")[:2]), []).append(info)
    limit = store.now() - _SECONDS if folders else 0.0
    for folder, infos in folders.items():
        if max(info.modified for info in infos) < limit or _is_dead(store, f"{folder}/{_OWNER}"):
            _delete(store, [info.name for info in infos])


def _is_dead(store: Store, owner: str) -> bool:
    try:
        return ProcessId.model_validate_json(store.get(owner)).is_dead()
    except (ObjectMissingError, DamagedObjectError, ValidationError):
        return False


def _delete(store: Store, names: list[str]) -> None:
    """Remove what of `names` there is, the owner last."""
    for name in sorted(names, key=lambda name: name.endswith(_OWNER)):
        store.delete(name)


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
    except (ValueError, TypeError, KeyError, RecursionError):
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
