"""What a store has of trials: from its index as far as that can be trusted, else from the objects themselves.

What a record says counts, never what the index remembers of it:

* Where there is a note of a change, the store is asked.
* In a folder whether there is a record is looked up, always: that is as fast. Records of very many trials are taken from the index
  where the file is the one that was read for it, by its version, which is another after each write; the others are read.
* In a bucket that would be a request for each. `COMPARED` trials are, all or of more as many at random; if one of the latter
  differs, somebody has changed the store without a note, and nothing of the index is used.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from fod_bench.errors import DamagedObjectError
from fod_bench.records.index.rows import NOTHING, STATES, TIMINGS, State, names_of, version_of
from fod_bench.records.names import GENERATIONS, TRIALS, key_of, kind_of
from fod_bench.store import ObjectInfo, Store
from fod_bench.store.base import LooksAtOnce
from fod_bench.store.many import read_many

if TYPE_CHECKING:
    from fod_bench.records.index.generations import Index, Known, Place
    from fod_bench.records.index.timings import Timings

_LOG = logging.getLogger(__name__)

COMPARED = 100
"""Trials of a bucket whose objects are asked for one by one."""
FEW = 1000
"""Records of a folder that are read in less time than an index is."""
_ASKED = 2000
"""Of more trials than these a bucket is not asked one by one: it is listed."""
SWITCH = "FOD_BENCH_INDEX"
"""Environment variable; `0`: indexes are not used, every record is read."""


class Trials:
    """The trials of one store, for one command."""

    def __init__(self, store: Store, known: Known | None = None) -> None:
        """`known`: see `open_index`, for who asks again and again."""
        self._store, self._known = store, known
        self._usable = os.environ.get(SWITCH) != "0"

    def names(self, keys: Collection[str]) -> set[str]:
        """Names of the records, marks of failures and logs that there are of trials; of one that has a record, that may be all.

        Raises `StoreError`.
        """
        if isinstance(self._store, LooksAtOnce):
            return _looked_up(keys, self._store.infos)
        told, asked = self._told(keys)
        found = {
            name
            for key, place in told.items()
            for name, version in zip(names_of(key), _state(place), strict=True)
            if version is not None
        }
        if len(asked) <= _ASKED and self.index is not None:
            return found | _looked_up(asked, self._infos)
        wanted = set(asked)
        return found | {name for name in self._listed if key_of(name) in wanted}

    def records(self, keys: Collection[str]) -> Iterator[tuple[str, bytes | None]]:
        """`(key, its record's bytes)`, or None where there is neither a record nor anything of a failure.

        In any order, and only of those of which the index tells it: the others are to be read. Raises `StoreError`.
        """
        local = isinstance(self._store, LooksAtOnce)
        if local and len(keys) <= FEW:
            return
        told, _ = self._told(keys)
        index = self.index
        if index is None or not told:
            return
        try:
            yield from index.contents({key: place for key, place in told.items() if place is not None and place.kept})
        except DamagedObjectError as error:
            self._distrust(str(error))
            return
        if not local:  # in a folder something may stand in its place, which reading tells
            yield from ((key, None) for key, place in told.items() if _state(place) == NOTHING)

    def timings(self, most: int | None = None, first: Collection[str] = ()) -> Timings:
        """What all records of the store tell of the time that trainings take. Raises `StoreError`.

        Without an index that many are read at `most`, those of the keys in `first` before others.
        Of what has not changed by the notes the index is taken at its word, without comparing: it is for an estimate.
        """
        from fod_bench.records.index.timings import indexed_timings, read_timings

        index = self._open(TIMINGS) if self._usable else None
        if index is not None:
            return indexed_timings(self._store, index)
        keys = [key_of(name) for name in self._listed if kind_of(name) == "records"]
        return read_timings(self._store, sorted(keys, key=lambda key: (key not in first, key))[:most])

    @property
    def index(self) -> Index | None:
        """None where there is none that can be used. Raises `StoreError`."""
        return self._opened if self._usable else None

    @cached_property
    def _opened(self) -> Index | None:
        return self._open(STATES, self._known)

    def _open(self, columns: Sequence[str], known: Known | None = None) -> Index | None:
        if next(iter(self._store.list(GENERATIONS)), None) is None:
            return None
        from fod_bench.records.index.generations import UnusableError, open_index

        try:
            index = open_index(self._store, columns, known)
            if index is not None and not index.complete:
                raise UnusableError("it was being made anew, and is not complete")
        except UnusableError as error:
            self._distrust(str(error))
            return None
        return index

    def _told(self, keys: Collection[str]) -> tuple[dict[str, Place | None], list[str]]:
        """What the index says of those of `keys` of which it can be trusted, None being that there is nothing; and the others."""
        if self.index is None:
            return {}, list(keys)
        known, changed = self.index.places(keys), self.index.changed
        told = {key: known.get(key) for key in keys if key not in changed}
        if isinstance(self._store, LooksAtOnce):  # of others nothing is asked
            told = {key: place for key, place in told.items() if _state(place)[0] is not None}
        differing = self._differing({key: _state(place) for key, place in told.items()})
        told = {key: place for key, place in told.items() if key not in differing}
        return told, [key for key in keys if key not in told]

    def _differing(self, told: dict[str, State]) -> set[str]:
        """Trials of which the store has something else."""
        if isinstance(self._store, LooksAtOnce):
            return set(_differing(told, list(told), self._store.infos))
        if len(told) <= COMPARED:
            return set(_differing(told, list(told), self._infos))
        some = random.sample(list(told), COMPARED)
        differing = list(_differing(told, some, self._infos, records_alone=True))
        if not differing:
            return set()
        self._distrust(f"{names_of(differing[0])[0]} has changed without a note of it")
        return set(told)

    def _infos(self, names: Sequence[str]) -> list[ObjectInfo | None]:
        return read_many(self._store.info, names)

    @cached_property
    def _listed(self) -> frozenset[str]:
        listed = (info.name for info in self._store.list(TRIALS))
        return frozenset(name for name in listed if kind_of(name) in ("records", "failures"))

    def _distrust(self, why: str) -> None:
        """The index is not used, or no further."""
        self._usable = False
        _LOG.warning(
            "index     of store %s is not used: %s; `fod-bench store index` makes it anew", self._store.uri, why
        )


def _state(place: Place | None) -> State:
    return NOTHING if place is None else place.state


_Infos = Callable[[Sequence[str]], list[ObjectInfo | None]]


def _looked_up(keys: Collection[str], infos: _Infos) -> set[str]:
    """Names of the objects that there are of trials, as the store has them; of one that has a record that alone."""
    names = {key: names_of(key) for key in keys}
    records = infos([names[key][0] for key in keys])
    left = [name for key, info in zip(keys, records, strict=True) if info is None for name in names[key][1:]]
    return {info.name for info in (*records, *infos(left)) if info is not None}


def _differing(
    told: dict[str, State],
    keys: Sequence[str],
    infos: _Infos,
    records_alone: bool = False,
) -> Iterator[str]:
    """Those of `keys` of which `infos` has another state. Where there is a record nothing else counts."""
    names = {key: names_of(key)[: 1 if records_alone or told[key][0] is not None else 3] for key in keys}
    found = iter(infos([name for key in keys for name in names[key]]))
    for key in keys:
        seen = tuple(version_of(next(found)) for _ in names[key])
        if seen != told[key][: len(seen)]:
            yield key
