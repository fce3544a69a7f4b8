"""The index as it stands: the notes of what has changed since, and the generations that count."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from fod_bench.errors import DamagedObjectError
from fod_bench.records.index.changes import noted
from fod_bench.records.index.format import Generation, read_contents, read_generation
from fod_bench.records.index.rows import STATES, State
from fod_bench.records.names import GENERATIONS, generation_number, newest_name
from fod_bench.store import ObjectInfo, ObjectMissingError, Store
from fod_bench.store.many import read_many
from fod_bench.store.reading import Count

_ATTEMPTS = 4
"""So often an index is read again whose generations were merged meanwhile."""


class UnusableError(Exception):
    """There is something of an index, but not what can be used; says why."""


class Newest(BaseModel):
    """The newest generation, as who made it said."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: Count


class Place(NamedTuple):
    """Where the index tells of a trial, and what."""

    generation: int
    """Place in `Index.generations`."""
    row: int
    kept: bool
    """Whether the record's bytes are there."""
    state: State


Known = dict[ObjectInfo, Generation]
"""Generations by the objects in which they are."""


class Index:
    """What was read of an index."""

    def __init__(self, store: Store, changed: frozenset[str], generations: list[Generation]) -> None:
        """`changed`: keys of which nothing here counts. `generations`: oldest first."""
        self.changed, self.generations = changed, generations
        self._store = store

    @property
    def number(self) -> int:
        """Of the newest generation."""
        return self.generations[-1].about.number

    @property
    def complete(self) -> bool:
        """Whether a trial of which it says nothing, and which has not changed, does not lie in the store."""
        return self.generations[-1].about.complete

    def places(self, keys: Collection[str]) -> dict[str, Place]:
        """Of those of `keys` that it tells of. Changed ones are among them."""
        wanted, found = pa.array(list(keys), type=pa.string()), {}
        for number, generation in enumerate(self.generations):
            rows = generation.places(wanted)
            told = generation.table.select(["key", "kept", *STATES]).take(rows).to_pydict()
            states = zip(*(told[name] for name in STATES), strict=True)
            for key, row, kept, state in zip(told["key"], rows.to_pylist(), told["kept"], states, strict=True):
                found[key] = Place(number, row, kept, state)
        return found

    def contents(self, places: Mapping[str, Place]) -> Iterator[tuple[str, bytes]]:
        """`(key, the record's bytes)` of places where they are kept, as they lie in the index.

        Raises `DamagedObjectError`, also after the first ones.
        """
        by_generation: dict[int, dict[int, str]] = {}
        for key, place in places.items():
            by_generation.setdefault(place.generation, {})[place.row] = key
        for number, keys in sorted(by_generation.items()):
            try:
                for row, content in read_contents(self._store, self.generations[number], sorted(keys)):
                    yield keys[row], content
            except ObjectMissingError as error:
                raise DamagedObjectError(f"{error}; it was merged meanwhile, or is lost") from error

    def keys(self) -> pa.ChunkedArray:
        """Of every trial that it tells of, in the order of `rows`."""
        return _table(self.generations, ("key",))["key"].take(self._counting())

    def rows(self, columns: Sequence[str]) -> pa.Table:
        """What counts of every trial that has not changed."""
        table = _table(self.generations, ("key", *columns)).take(self._counting())
        changed = pa.array(sorted(self.changed), type=pa.string())
        return table.filter(pc.invert(pc.is_in(table["key"], value_set=changed))) if self.changed else table

    def _counting(self) -> NDArray[Any]:
        """Numbers of the rows that no later generation tells anew, over all generations, in their order."""
        keys = _table(self.generations, ("key",))["key"].combine_chunks()
        if _all_differ(keys):
            return np.arange(len(keys))
        codes = keys.dictionary_encode()
        codes = codes.combine_chunks() if isinstance(codes, pa.ChunkedArray) else codes
        last = np.full(len(codes.dictionary), -1)
        last[codes.indices.to_numpy()] = np.arange(len(codes))  # of equal places the last one is written last
        return np.sort(last)


def open_index(store: Store, columns: Sequence[str] = STATES, known: Known | None = None) -> Index | None:
    """The index of a store, of every row these columns; None where there is none.

    The notes are taken first: a change whose note has gone by then is in the generations.

    Args:
        known: what an earlier call has read of the same columns, and what this one reads.

    Raises `UnusableError`, `StoreError`.
    """
    known = {} if known is None else known
    for attempt in range(_ATTEMPTS):
        changed = frozenset(noted(store).values())
        there = {generation_number(info.name): info for info in store.list(GENERATIONS)}
        if not there:
            return None
        try:
            if max(there) < _least(store):
                raise UnusableError("its newest generation is gone, or the server's listing lags behind")
            return Index(store, changed, _members(store, there, columns, known))
        except DamagedObjectError as error:
            raise UnusableError(str(error)) from error
        except ObjectMissingError as error:  # merged meanwhile: then there is a newer one
            if attempt == _ATTEMPTS - 1:
                raise UnusableError(str(error)) from error
    raise AssertionError


def _least(store: Store) -> int:
    """A number that the newest generation has at least."""
    try:
        return Newest.model_validate_json(store.get(newest_name())).number
    except ObjectMissingError:
        return 0
    except (DamagedObjectError, ValidationError) as error:
        raise UnusableError(f"{newest_name()} cannot be read: {' '.join(str(error).split())[:200]}") from error


def _members(store: Store, there: Mapping[int, ObjectInfo], columns: Sequence[str], known: Known) -> list[Generation]:
    """The newest generation and those before it that count, oldest first; `known` holds these and no others then."""

    def read(number: int) -> Generation:
        info = there.get(number)
        return known.get(info) or read_generation(store, number, columns) if info else _gone(number)

    number = max(there)
    newest = read(number)
    earlier = read_many(read, [member.number for member in newest.about.earlier])
    for member, generation in zip(newest.about.earlier, earlier, strict=True):
        if generation.member != member or member.number >= number:
            raise UnusableError(f"generation {member.number} is not the one that generation {number} goes on from")
    members = [*earlier, newest]
    known.clear()
    known.update((there[generation.about.number], generation) for generation in members)
    return members


def _gone(number: int) -> Generation:
    raise ObjectMissingError(f"generation {number} is gone")


def _all_differ(keys: pa.StringArray) -> bool:
    """Whether no two keys are equal, in a tenth of the time that it takes to tell which; False where that cannot be told."""
    lengths = pc.min_max(pc.binary_length(keys)).as_py()
    if lengths != {"min": 32, "max": 32}:  # as all are that are hashes
        return False
    words = np.frombuffer(keys.buffers()[2], np.uint64, 4 * len(keys), 32 * keys.offset).reshape(-1, 4)
    mixed = np.sort(words @ np.array([1, 3, 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], np.uint64))
    return not (mixed[1:] == mixed[:-1]).any()


def _table(generations: Sequence[Generation], columns: Sequence[str]) -> pa.Table:
    return pa.concat_tables([generation.table.select(list(columns)) for generation in generations]).unify_dictionaries()
