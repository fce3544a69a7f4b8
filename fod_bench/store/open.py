"""A store by its URI."""

from __future__ import annotations

from pathlib import Path

from fod_bench.errors import StoreError
from fod_bench.store.base import Store

DEFAULT_STORE = "results/store"
"""Where a job that names no store keeps its results, and where they are looked for."""
RUN_PATIENCE = 300.0
"""Patience of a run under way and its workers, who have hours of work to lose."""


def open_store(uri: str, patience: float = 20.0) -> Store:
    """The store at `uri`: a folder's path, `file://` and an absolute path, or a place in a bucket.

    A bucket's address is `s3://bucket/prefix?endpoint=https://host:port&region=us-east-1&addressing=path`; everything after
    the bucket may be left out, endpoint and region then come from the environment as boto3 has them, and so do the
    credentials, always. A folder need not exist: the first write makes it; a bucket must. Opening does not ask the server.

    Args:
        uri: the address.
        patience: seconds that one operation goes on trying when the server cannot be reached or asks to be asked later.

    Raises `StoreError` for a place that cannot be a store.
    """
    from fod_bench.store.address import S3Address, parse_address

    address = parse_address(uri)
    if isinstance(address, S3Address):
        from fod_bench.store.s3.store import S3Store

        return S3Store(address, patience)
    from fod_bench.store.folder.store import LocalStore

    return LocalStore(address)


def open_existing(uri: str, remedy: str = "") -> Store:
    """As `open_store`, to read what should be there.

    Raises `StoreError` for a folder that does not exist, which is no empty store; `remedy` says what makes it.
    """
    from fod_bench.store.address import parse_address

    address = parse_address(uri)
    if isinstance(address, Path) and not address.exists():
        raise StoreError(f"there is no folder {address}, so no store to read; {remedy or '--store names another'}")
    return open_store(uri)


def store_to_read(store: str | Path | Store) -> Store:
    """The store itself, or the one at an address. Raises as `open_existing` does."""
    return open_existing(str(store)) if isinstance(store, str | Path) else store
