"""What the records of a store tell of the time that trainings take, a few numbers of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fod_bench.errors import DamagedObjectError
from fod_bench.records.index.rows import Timing, timing_of
from fod_bench.records.names import record_name
from fod_bench.store import ObjectMissingError, Store
from fod_bench.store.many import read_many

if TYPE_CHECKING:
    from fod_bench.records.index.generations import Index

_GROUPED = ("method", "setting", "counts", "device", "threads")


class Alike(NamedTuple):
    """What trainings have in common that differ in category, seed and time alone."""

    method: str
    setting: str
    """As JSON, keys sorted."""
    counts: str
    """As JSON."""
    device: str
    threads: int


class Timings(NamedTuple):
    """Of n trainings the time each took, by groups of like ones."""

    groups: list[Alike]
    group: NDArray[np.int64]
    """(n,): which one each is of."""
    seconds: NDArray[np.float64]
    """(n,): of training and evaluation."""


def read_timings(store: Store, keys: Sequence[str]) -> Timings:
    """Read the records of these keys, one by one; those that cannot be read tell nothing. Raises `StoreError`."""

    def read(key: str) -> Timing | None:
        try:
            return timing_of(store.get(record_name(key)))
        except (ObjectMissingError, DamagedObjectError):
            return None

    return _grouped(timing for timing in read_many(read, keys) if timing is not None)


def indexed_timings(store: Store, index: Index) -> Timings:
    """Those of an index read with `TIMINGS`; of trials that have changed since, the records are read. Raises `StoreError`."""
    import pyarrow.compute as pc

    table = index.rows((*_GROUPED, "seconds"))
    table = table.filter(pc.is_valid(table["method"])).combine_chunks()
    codes, words = zip(*(_coded(table[name].combine_chunks()) for name in _GROUPED), strict=True)
    joined, sizes = np.zeros(len(table), np.int64), [len(each) for each in words]
    for each, size in zip(codes, sizes, strict=True):
        joined = joined * size + each
        # Kept small after each column: of a million trainings the product of all might not fit.
        joined = np.unique(joined, return_inverse=True)[1].reshape(-1)
    first = np.unique(joined, return_index=True)[1]
    groups = [Alike(*(words[n][codes[n][place]] for n in range(len(_GROUPED)))) for place in first]
    own = Timings(groups, joined, table["seconds"].to_numpy())
    return _together(own, read_timings(store, sorted(index.changed)))


def _coded(column: Any) -> tuple[NDArray[np.int64], list[Any]]:
    """Of each value the number of its word, and the words."""
    import pyarrow as pa

    found = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    return found.indices.to_numpy().astype(np.int64), found.dictionary.to_pylist()


def _grouped(timings: Iterable[Timing]) -> Timings:
    numbers: dict[Alike, int] = {}
    pairs = [
        (
            numbers.setdefault(Alike(one.method, one.setting, one.counts, one.device, one.threads), len(numbers)),
            one.seconds,
        )
        for one in timings
    ]
    group, seconds = (np.array([pair[n] for pair in pairs]) for n in range(2))
    return Timings(list(numbers), group.astype(np.int64), seconds.astype(np.float64))


def _together(one: Timings, other: Timings) -> Timings:
    return Timings(
        one.groups + other.groups,
        np.concatenate([one.group, other.group + len(one.groups)]),
        np.concatenate([one.seconds, other.seconds]),
    )
