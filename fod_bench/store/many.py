"""Reading many objects: several at once where each is a trip to a server, one after the other where nothing is waited for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter, thread_time
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

READERS = 16
"""Objects read at once, where reading waits."""
_TRIED = 8
"""Objects by which it is seen whether reading waits."""


def read_many(read: Callable[[T], R], wanted: Sequence[T]) -> list[R]:
    """`read` of each, in order. Raises what `read` raises.

    By `READERS` threads where the first reads waited for longer than they computed, as from a bucket or a network's file system.
    Where they did not, threads would only take turns: 10 000 records of a local folder took 16 of them 2 s longer than one.
    """
    began, busy = perf_counter(), thread_time()
    found = [read(each) for each in wanted[:_TRIED]]
    waits = perf_counter() - began > 2 * (thread_time() - busy)
    rest = wanted[_TRIED:]
    if not waits:
        return found + [read(each) for each in rest]
    # A batch per call: with a call per object, handing them out takes longer than reading some of them.
    size = max(1, len(rest) // (4 * READERS))
    batches = [rest[start : start + size] for start in range(0, len(rest), size)]
    with ThreadPoolExecutor(READERS) as pool:
        for batch in pool.map(lambda batch: [read(each) for each in batch], batches):
            found += batch
    return found
