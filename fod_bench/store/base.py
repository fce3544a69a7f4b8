"""The interface of a store, the rules for object names, and the opening of a store by its URI."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, runtime_checkable

from fod_bench.errors import StoreError

_SEGMENT = re.compile(r"[A-Za-z0-9_+@=-][A-Za-z0-9._+@=-]*")


class ObjectMissingError(StoreError, LookupError):
    """The store holds no object of that name."""


class ObjectInfo(NamedTuple):
    """What a listing tells about one object."""

    name: str
    size: int
    """Bytes."""
    modified: float
    """Seconds since 1970, by the store's own clock."""
    tag: str = ""
    """Another for every write of the object, as far as the store can tell: the ETag in a bucket, inode and times of a file."""


class Store(Protocol):
    """Named byte strings with checksums.

    Whoever reads an object sees one whole value that was put, whatever else reads, writes or dies at the time. Every
    method raises `ValueError` for a name that is not `is_name`, and `StoreError` when the store cannot be
    reached, read or written; a failed write leaves the object as it was.
    """

    @property
    def uri(self) -> str:
        """What `open_store` takes to open this store again, from any working folder."""
        ...

    def put(self, name: str, data: bytes | Path) -> None:
        """Store `data`, or a copy of the file at `data`, under `name`; an object of that name is replaced as a whole."""
        ...

    def create(self, name: str, data: bytes | Path) -> bool:
        """Like `put`, but only if there is no object `name`: of many that race, exactly one gets True."""
        ...

    def get(self, name: str) -> bytes:
        """Content of `name`, checked. Raises `ObjectMissingError`, `DamagedObjectError`."""
        ...

    def stream(self, name: str) -> Iterator[bytes | memoryview]:
        """Content of `name` in pieces, for what need not fit in memory.

        Raises as `get` does, `DamagedObjectError` only after the last piece: what was read is to be used after the end.
        """
        ...

    def open(self, name: str) -> BinaryIO:
        """A file on local disk with the checked content of `name`, open for reading and for mapping into memory.

        It stays whole for as long as it is open or mapped. Raises as `get` does.
        """
        ...

    def info(self, name: str) -> ObjectInfo | None:
        """Size and time of `name`, None when there is none. Sees what is there now, where a listing may lag behind."""
        ...

    def exists(self, name: str) -> bool:
        """Whether there is an object `name`; as current as `info`."""
        ...

    def now(self) -> float:
        """Seconds since 1970 by the clock that `ObjectInfo.modified` is taken from."""
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Objects whose name begins with the characters of `prefix`, sorted by name."""
        ...

    def delete(self, name: str) -> None:
        """Remove `name`; nothing happens when it is not there."""
        ...

    def location(self, name: str) -> str:
        """Where a person finds `name`: a path or an address."""
        ...


@runtime_checkable
class HasPlaces(Protocol):
    """A store in which something else may stand in the place of an object, or of a folder on the way to it: there is no such object
    then, and writing it raises `BlockedObjectError`."""

    def obstacle(self, name: str) -> str | None:
        """What stands where `name` would be or on the way there, and what to do; None where nothing does."""
        ...


@runtime_checkable
class LooksAtOnce(Protocol):
    """A store that tells of thousands of objects in the time of one request to a server."""

    def infos(self, names: Sequence[str]) -> list[ObjectInfo | None]:
        """`Store.info` of each name, in order."""
        ...


def obstacle(store: Store, name: str) -> str | None:
    """See `HasPlaces`; None for a store in which there are only objects. Asks no server."""
    return store.obstacle(name) if isinstance(store, HasPlaces) else None


def is_name(name: str) -> bool:
    """Whether `name` may name an object: segments of `A-Z a-z 0-9 . _ + @ = -`, joined by `/`.

    A segment does not begin with a dot: such names are the store's own.
    """
    return all(_SEGMENT.fullmatch(segment) for segment in name.split("/"))


def check_name(name: str) -> str:
    """`name` itself, if `is_name`. Raises `ValueError` otherwise."""
    if not is_name(name):
        raise ValueError(
            f"{name!r} cannot name an object of a store: expected segments of letters, digits and ._+@=-, none of them "
            "beginning with a dot, joined by '/', such as 'trials/3f2a/record.json'"
        )
    return name


def check_prefix(prefix: str) -> str:
    """`prefix` itself, if a name can begin with it. Raises `ValueError` otherwise."""
    if prefix:
        # A prefix may end anywhere in a name, so any name's character makes it whole.
        check_name(prefix + "x" if prefix.endswith("/") else prefix)
    return prefix
