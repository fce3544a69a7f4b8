"""Reading many objects: a bounded number at once, since from a bucket each costs a trip to the server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

READERS = 16
"""Objects read at once."""


def read_many(read: Callable[[T], R], wanted: Sequence[T]) -> list[R]:
    """`read` of each, in order, by `READERS` threads. Raises what `read` raises."""
    # A batch per call: with a call per object, handing them out takes longer than reading them from a folder.
    size = max(1, len(wanted) // (4 * READERS))
    batches = [wanted[start : start + size] for start in range(0, len(wanted), size)]
    with ThreadPoolExecutor(READERS) as pool:
        return [found for batch in pool.map(lambda batch: [read(each) for each in batch], batches) for found in batch]
