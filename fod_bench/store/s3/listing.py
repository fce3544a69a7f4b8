"""Listing a bucket: the first page tells whether there is more, which is then listed in ranges of names at once.

A server gives a thousand names at a time, so one page after the other a large sweep's would take long. Most names go on with a
key, whose first hexadecimal digit makes even ranges; names that do not are listed all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

from fod_bench.store.s3.connection import Connection
from fod_bench.store.s3_answers import Answer

PAGE = 1000
"""Names in an answer; no server gives more."""
_DIGITS = "123456789abcdef"


def entries(connection: Connection, beginning: str) -> Iterator[dict[str, Any]]:
    """What the server tells of each object whose key begins with `beginning`, sorted by key. Raises `StoreError`."""
    page = _page(connection, beginning)
    while page["IsTruncated"] and not page.get("Contents"):  # a server may give a page of nothing before the next
        page = _page(connection, beginning, ContinuationToken=page["NextContinuationToken"])
    contents: list[dict[str, Any]] = page.get("Contents", [])
    yield from contents
    if not page["IsTruncated"]:
        return
    last = contents[-1]["Key"]
    bounds = [last, *(beginning + digit for digit in _DIGITS if beginning + digit > last), None]
    with ThreadPoolExecutor(len(bounds)) as pool:
        for found in pool.map(lambda bound: _range(connection, beginning, *bound), list(pairwise(bounds))):
            yield from found


def _range(connection: Connection, beginning: str, after: str, until: str | None) -> list[dict[str, Any]]:
    """Entries whose key comes after `after`, up to and with `until`."""
    found: list[dict[str, Any]] = []
    more: dict[str, Any] = {"StartAfter": after}
    while True:
        page = _page(connection, beginning, **more)
        contents = page.get("Contents", [])
        found += [entry for entry in contents if until is None or entry["Key"] <= until]
        beyond = until is not None and bool(contents) and contents[-1]["Key"] > until
        if beyond or not page["IsTruncated"]:
            return found
        more = {"ContinuationToken": page["NextContinuationToken"]}


def _page(connection: Connection, beginning: str, **more: Any) -> Answer:
    return connection.call("list it", "list_objects_v2", Prefix=beginning, MaxKeys=PAGE, **more)
