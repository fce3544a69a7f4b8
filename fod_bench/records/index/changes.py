"""Notes of what changes in a store, left before it does, so that nobody takes an index at its word that is not up to date.

A note has a name of its own, so whoever has dealt with those that were there removes none that came after.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from fod_bench.records.names import CHANGES, change_name, changed_key
from fod_bench.store import Store


def note_change(store: Store, key: str) -> None:
    """Say that the record of trial `key`, or what is kept of its failure, is about to change. Raises `StoreError`.

    Enough by itself for who holds a claim of the key until the change is made: notes of claimed keys stay.
    """
    store.put(change_name(key, secrets.token_hex(8)), b"")


@contextmanager
def changing(store: Store, key: str) -> Iterator[None]:
    """Around a change by who holds no claim: one more note follows it, should the first have been dealt with in between."""
    note_change(store, key)
    try:
        yield
    finally:
        note_change(store, key)


def noted(store: Store) -> dict[str, str]:
    """`{name of a note: train key}` of all there are: one listing. Raises `StoreError`."""
    return {info.name: changed_key(info.name) for info in store.list(CHANGES)}
