"""Files in a bucket under names of any text, as a person puts them there; a store's objects are `S3Store`'s."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fod_bench.store.address import S3Address
from fod_bench.store.base import ObjectMissingError
from fod_bench.store.s3.connection import Connection
from fod_bench.store.s3.listing import entries
from fod_bench.store.s3.transfer import SINGLE_BYTES, Download, MissingError, ReplacedError, Source, upload_parts
from fod_bench.store.s3_answers import metadata, status

_REPLACEMENTS = 3
"""So often in a row a file may be replaced while it is read."""


class FileInfo(NamedTuple):
    """A file that is there."""

    size: int
    digest: str | None
    """SHA-256 that was noted when it was written; None of one that another program wrote."""


class BucketFiles:
    """The files below one prefix, for use by many threads. Every method raises `StoreError` when the server fails."""

    def __init__(self, address: S3Address, what: str, patience: float = 20.0) -> None:
        """`what` they are, for messages. Raises `StoreError` for settings that cannot be used."""
        self._connection = Connection(address, patience, what)

    @property
    def uri(self) -> str:
        """The whole address, endpoint and region included."""
        return self._connection.address.uri

    def location(self, name: str) -> str:
        """`s3://bucket/prefix/name`."""
        return f"s3://{self._connection.address.bucket}/{self._key(name)}"

    def info(self, name: str) -> FileInfo | None:
        """What is known of a file; None where there is none."""
        answer = self._connection.call(f"look for {name}", "head_object", told=(404,), Key=self._key(name))
        if status(answer) == 404:
            return None
        return FileInfo(int(answer["ContentLength"]), metadata(answer).get("sha256"))

    def read(self, name: str, most: int) -> bytes | None:
        """The content of a file; None of one with more than `most` bytes. Raises `ObjectMissingError`."""
        action = f"read {name}"
        for _ in range(_REPLACEMENTS):
            try:
                download = Download(self._connection, self._key(name), action)
                return b"".join(download.pieces()) if download.size <= most else None
            except MissingError:
                raise ObjectMissingError(f"there is no {self.location(name)}") from None
            except ReplacedError:
                continue
        raise self._connection.error(action, "it is replaced faster than it can be read")

    def write(self, name: str, data: bytes | Path) -> FileInfo:
        """Write a file, in place of one of that name; what was written. Its SHA-256 is noted in its metadata."""
        key, action = self._key(name), f"write {name}"
        with Source(name, data) as source:
            written = FileInfo(source.size, source.digest)
            noted = {"sha256": source.digest}
            if source.size <= SINGLE_BYTES:
                self._connection.call(action, "put_object", Key=key, Body=source.body, Metadata=noted)
            elif not upload_parts(self._connection, key, action, source, noted) and self.info(name) != written:
                raise self._connection.error(action, "the server lost its parts; write it again")
        return written

    def list(self) -> Iterator[tuple[str, int]]:
        """Name and size of every file, sorted by name."""
        prefix = self._connection.address.prefix
        for entry in entries(self._connection, prefix):
            yield entry["Key"][len(prefix) :], int(entry["Size"])

    def _key(self, name: str) -> str:
        return self._connection.address.prefix + name
