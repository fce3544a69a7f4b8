"""Appending to the index: a generation of what has changed, and the index made anew.

A generation is created under the number after the newest, so only one of many can; who is second starts over. The number is fixed
before anything is read for it: had anybody else looked at the same trials later and been first, it would be taken. So of what two
generations say of a trial the later one is newer.

A generation takes in those right before it that are not much larger, and replaces them. So a record is written anew as often as the
logarithm of their number, and there are only so many generations.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice

import pyarrow as pa
import pyarrow.compute as pc

from fod_bench.errors import DamagedObjectError, StoreError
from fod_bench.records.index.changes import noted
from fod_bench.records.index.format import VERSION, About, Generation, Member, Writer, read_generation, rows_of
from fod_bench.records.index.generations import Index, Newest, UnusableError, open_index
from fod_bench.records.index.rows import NOTHING, STATES, Row, State, names_of, read_row, state_of
from fod_bench.records.names import (
    CLAIMS,
    GENERATIONS,
    INDEXED,
    TRIALS,
    generation_name,
    generation_number,
    indexed_name,
    key_of,
    kind_of,
    newest_name,
)
from fod_bench.store import ObjectInfo, ObjectMissingError, Store
from fod_bench.store.many import read_many

MOST_ROWS = 1 << 16
"""Of a generation: larger ones are not taken in, so that none takes long to be written or read."""
_MUCH_LARGER = 2
_ATTEMPTS = 10
_LEFT_SECONDS = 3600.0
"""What belongs to no generation is not being written any more."""
_BATCH = 10_000
"""Trials that are read together."""
_LISTED = pa.schema(
    [
        pa.field("modified", pa.float64()),
        pa.field("key", pa.string()),
        *(pa.field(name, pa.string()) for name in STATES),
    ]
)
"""A trial in a listing: when its newest object was written, its key and its state."""


@dataclass(frozen=True)
class Appended:
    """What was done."""

    trials: int
    """That the index tells of now."""
    read: int
    """Of which the store was asked."""
    generations: int


def append_changes(store: Store) -> int:
    """Append what the notes name to an index that is whole; how many trials.

    Where there is no index, and nobody is making one, the notes go: whoever makes one looks at everything. Raises `UnusableError`,
    `StoreError`.
    """
    for _ in range(_ATTEMPTS):
        notes = noted(store)
        index = open_index(store)
        done = _settled(store, notes)
        if index is None and not store.exists(newest_name()):
            _forget(store, done)
        if index is None or not index.complete:
            raise UnusableError("there is none")
        if not done:
            return 0
        keys = sorted(set(done.values()))
        rows = read_many(lambda key: read_row(store, key), keys)
        if _appended(store, index, rows):
            _forget(store, done)
            return len(keys)
    raise UnusableError("a part of it is gone, or others were faster each time")


def append_if_indexed(store: Store) -> None:
    """As `append_changes`, but leave an index alone that cannot be used. Raises `StoreError`."""
    with contextlib.suppress(UnusableError):
        append_changes(store)


def refresh(store: Store, anew: bool = False, told: Callable[[int, int], None] = lambda done, of: None) -> Appended:
    """Compare the index with a listing of all trials, and read those that differ from it; without an index, all of them.

    Args:
        anew: whatever the index says, made of the records alone.
        told: how many trials have been looked at, and how many there are.

    Raises `StoreError`, also when somebody else makes the index anew at the same time.
    """
    store.create(newest_name(), Newest(number=0).model_dump_json().encode())  # from now on notes stay
    done = _settled(store, noted(store))
    changed = set(done.values())
    index = None if anew else _usable(store)
    listed = _listed(store)
    parts = _Parts(store, index)
    read = seen = 0
    for rows in listed.to_batches(max_chunksize=_BATCH):
        batch: dict[str, State] = dict(zip(rows["key"].to_pylist(), _states(rows), strict=True))
        places = index.places(batch) if index is not None else {}
        differing = [
            (key, state)
            for key, state in batch.items()
            if key not in places or places[key].state != state or key in changed
        ]
        for row in read_many(lambda trial: read_row(store, *trial), differing):
            parts.add(row)
        read, seen = read + len(differing), seen + len(batch)
        told(seen, len(listed))
    if index is not None:
        indexed = index.keys()
        there = pc.is_in(indexed, value_set=listed["key"].combine_chunks())
        gone = index.places(indexed.filter(pc.invert(there)).to_pylist())
        for key in (key for key, place in gone.items() if place.state != NOTHING):
            parts.add(Row(key, NOTHING))
    generations = parts.close()
    _forget(store, done)
    _sweep(store)
    return Appended(len(listed), read, generations)


def _usable(store: Store) -> Index | None:
    try:
        index = open_index(store)
    except UnusableError:
        return None
    return index if index is not None and index.complete else None


def _listed(store: Store) -> pa.Table:
    """Every trial that has a record or a failure, from one listing: oldest first, so that those of a run lie together.

    A table takes a fifth of the memory that as many Python objects take.
    """
    trials = (info for info in store.list(TRIALS) if kind_of(info.name) in ("records", "failures"))
    rows = (_listed_row(key, infos) for key, infos in groupby(trials, key=lambda info: key_of(info.name)))
    batches = []
    while some := list(islice(rows, _BATCH)):
        batches.append(pa.RecordBatch.from_pylist(some, schema=_LISTED))
    return pa.Table.from_batches(batches, schema=_LISTED).sort_by([("modified", "ascending"), ("key", "ascending")])


def _listed_row(key: str, infos: Iterable[ObjectInfo]) -> dict[str, str | float | None]:
    there = {info.name: info for info in infos}
    state = state_of(tuple(there.get(name) for name in names_of(key)))
    newest = max(info.modified for info in there.values())
    return {"modified": newest, "key": key, **dict(zip(STATES, state, strict=True))}


def _states(rows: pa.RecordBatch) -> Iterator[State]:
    return zip(*(rows[name].to_pylist() for name in STATES), strict=True)


def _settled(store: Store, notes: dict[str, str]) -> dict[str, str]:
    """Those of the notes whose change is over: nobody holds a claim of the key, and nothing is to be carried out for one."""
    if not notes:
        return {}
    claimed = {key_of(info.name) for info in store.list(CLAIMS)}
    return {name: key for name, key in notes.items() if key not in claimed}


def _appended(store: Store, index: Index, rows: Sequence[Row]) -> bool:
    """Append a generation of `rows` to the index as it was read, unless somebody else has appended meanwhile."""
    taken: list[Generation] = []
    total = len(rows)
    for generation in reversed(index.generations):
        more = len(generation.table)
        if more > _MUCH_LARGER * total or more + total > MOST_ROWS:
            break
        taken.insert(0, generation)
        total += more
    earlier = tuple(generation.member for generation in index.generations[: len(index.generations) - len(taken)])
    try:
        with Writer() as writer:
            for row in _newest_of_each(store, taken, rows, bool(earlier)):
                writer.add(row)
            if _created(store, writer, index.number + 1, earlier, complete=True) is None:
                return False
    except ObjectMissingError:  # somebody else has taken them in
        return False
    except DamagedObjectError as error:
        raise UnusableError(str(error)) from error
    for generation in taken:
        store.delete(generation_name(generation.about.number))
        store.delete(indexed_name(generation.about.token))
    return True


def _newest_of_each(store: Store, taken: list[Generation], rows: Sequence[Row], all_told: bool) -> Iterator[Row]:
    """Of each trial the newest row. `all_told`: also that there is nothing, which an earlier generation may not know."""
    newest = {row.key: len(taken) for row in rows}
    for number in range(len(taken) - 1, -1, -1):
        for key in taken[number].table["key"].to_pylist():
            newest.setdefault(key, number)
    for number, generation in enumerate(taken):
        whole = read_generation(store, generation.about.number)
        yield from (
            row for row in rows_of(store, whole) if newest[row.key] == number and (all_told or row.state != NOTHING)
        )
    yield from (row for row in rows if all_told or row.state != NOTHING)


class _Parts:
    """Generations of many rows, made one after the other while others may append, too."""

    def __init__(self, store: Store, index: Index | None) -> None:
        """`index`: what they go on from; None for an index that begins with them."""
        self._store, self._index = store, index
        self._number = index.number if index is not None else _highest(store)
        self._own: list[Member] = []
        self._others: set[str] = set()
        """Trials that others have told of since: theirs may be newer."""
        self._writer: Writer | None = None

    def add(self, row: Row) -> None:
        """One more row. Raises `StoreError`."""
        if self._writer is not None and len(self._writer) == MOST_ROWS:
            self._make(last=False)
        self._writer = self._writer or Writer()
        self._writer.add(row)

    def close(self) -> int:
        """How many generations the index has. Raises `StoreError`."""
        if self._writer is not None or self._index is None:
            self._make(last=True)
        return len(read_generation(self._store, _highest(self._store), STATES).about.earlier) + 1

    def _make(self, last: bool) -> None:
        with self._writer or Writer() as writer:
            self._writer = None
            for _ in range(_ATTEMPTS):
                earlier = self._earlier()
                writer.forget(self._others)
                member = _created(self._store, writer, self._number + 1, earlier, last or self._index is not None)
                if member is not None:
                    self._own.append(member)
                    self._number = member.number
                    return
            raise StoreError(f"store {self._store.uri}: others append to its index all the time; try again")

    def _earlier(self) -> tuple[Member, ...]:
        """The generations to go on from, now that others may have appended."""
        newest = _highest(self._store)
        for number in range(self._number + 1, newest + 1):
            with contextlib.suppress(ObjectMissingError):  # merged into a later one
                self._others.update(read_generation(self._store, number, STATES).table["key"].to_pylist())
        self._number = newest
        if self._index is None and not self._own:
            return ()
        before = read_generation(self._store, newest, STATES)
        earlier = (*before.about.earlier, before.member)
        if not set(self._own) <= set(earlier):
            raise StoreError(f"store {self._store.uri}: somebody else makes its index anew at the same time")
        return earlier


def _created(store: Store, writer: Writer, number: int, earlier: tuple[Member, ...], complete: bool) -> Member | None:
    """Make the generation `number`; None where there is one already."""
    about = About(version=VERSION, number=number, token=secrets.token_hex(8), earlier=earlier, complete=complete)
    records = indexed_name(about.token)
    store.put(records, writer.close())
    if not store.create(generation_name(number), writer.content(about)):
        store.delete(records)
        return None
    if complete:
        store.put(newest_name(), Newest(number=number).model_dump_json().encode())
    return Member(number=number, token=about.token, rows=len(writer))


def _highest(store: Store) -> int:
    """Number of the newest generation that there is, 0 for none."""
    return max((generation_number(info.name) for info in store.list(GENERATIONS)), default=0)


def _forget(store: Store, notes: Iterable[str]) -> None:
    """Remove notes of what the index tells by now."""
    read_many(store.delete, list(notes))


def _sweep(store: Store) -> None:
    """Remove what belongs to no generation that counts, and is not being written any more."""
    newest = read_generation(store, _highest(store), STATES)
    members = (*newest.about.earlier, newest.member)
    counting = {name for one in members for name in (generation_name(one.number), indexed_name(one.token))}
    limit = store.now() - _LEFT_SECONDS
    for info in [*store.list(GENERATIONS), *store.list(INDEXED)]:
        if info.name not in counting and info.modified < limit:
            store.delete(info.name)
