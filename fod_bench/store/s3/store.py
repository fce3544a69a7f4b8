"""A store in a bucket, behind S3's protocol.

Each object carries two entries of user metadata: `sha256`, its checksum, and `writer`, a number drawn for the one write that
made it. By the latter a writer whose answer got lost finds out whether its object is the one that stands.

Servers agree on few conditions (Ceph 16 never matches `IfMatch` and ignores conditions on deleting and on completing parts), so
nothing is built on any but `If-None-Match: *` on a single put.
"""

from __future__ import annotations

import collections
import hashlib
import io
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from fod_bench.errors import DamagedObjectError
from fod_bench.store.address import S3Address
from fod_bench.store.base import ObjectInfo, ObjectMissingError, check_name, check_prefix, is_name
from fod_bench.store.cache import NodeCache
from fod_bench.store.s3.connection import Connection
from fod_bench.store.s3.listing import entries
from fod_bench.store.s3.transfer import SINGLE_BYTES, Download, MissingError, ReplacedError, Source, upload_parts
from fod_bench.store.s3_answers import Answer, metadata, status, time_of

_CREATE_BYTES = 5 << 30
"""What one put can carry."""
_REPLACEMENTS = 20
"""So often in a row an object may be replaced while it is read."""

_Value = TypeVar("_Value")


class S3Store:
    """A `Store` in a bucket, for use by many threads."""

    def __init__(self, address: S3Address, patience: float) -> None:
        """`patience`: seconds that one operation goes on trying. Raises `StoreError` for settings that cannot be used."""
        self._connection = Connection(address, patience)
        self._cache = NodeCache.of_this_node()

    @property
    def uri(self) -> str:
        """The whole address, endpoint and region included: it opens the same place in any environment."""
        return self._connection.address.uri

    def put(self, name: str, data: bytes | Path) -> None:
        """See `Store.put`. The parts of a large object are seen together, after the last one."""
        key, action = self._key(name), f"write object {name}"
        with Source(name, data) as source:
            entries = _entries(source)
            if source.size <= SINGLE_BYTES:
                self._connection.call(action, "put_object", Key=key, Body=source.body, Metadata=entries)
                return
            known = upload_parts(self._connection, key, action, source, entries)
            if not known and self._writer(name) != entries["writer"]:
                raise self._connection.error(action, "the server lost its parts; store it again")

    def create(self, name: str, data: bytes | Path) -> bool:
        """See `Store.create`. One request, so the object can be no larger than 5 GiB."""
        key, action = self._key(name), f"write object {name}"
        with Source(name, data) as source:
            if source.size > _CREATE_BYTES:
                raise self._connection.error(
                    action, "a bucket creates objects of up to 5 GiB only where none may be yet"
                )
            entries = _entries(source)
            trial = self._connection.trial(action)
            while True:
                answer = self._connection.call(
                    action, "put_object", told=(409, 412), Key=key, Body=source.body, Metadata=entries, IfNoneMatch="*"
                )
                source.check_unchanged()
                if status(answer) not in (409, 412):
                    return True
                # Refused, maybe for the object of this very call, whose first answer got lost on its way.
                writer = self._writer(name)
                if writer is not None:
                    return writer == entries["writer"]
                trial.wait(f"{status(answer)}, though there is no such object")

    def get(self, name: str) -> bytes:
        """See `Store.get`."""
        key = self._key(name)

        def read() -> bytes:
            download = self._download(name, key)
            content = io.BytesIO(bytes(download.size))
            with content.getbuffer() as room:
                collections.deque(self._checked(name, download, room), maxlen=0)
            return content.getvalue()  # that memory itself, where joining the pieces would take it twice

        return self._repeated(name, read)

    def stream(self, name: str) -> Iterator[bytes | memoryview]:
        """See `Store.stream`. Raises `StoreError` when the object is replaced in the middle of it."""
        try:
            yield from self._checked(name, self._download(name, self._key(name)))
        except ReplacedError:
            raise self._connection.error(f"read object {name}", "it was replaced meanwhile; read it again") from None

    def open(self, name: str) -> BinaryIO:
        """See `Store.open`. The file is in the node's cache, or in memory where there is no room for one."""
        key = self._key(name)

        def read() -> BinaryIO:
            head = self._head(name)
            if head is None:
                raise self._missing(name)
            digest = metadata(head).get("sha256")
            if digest is None:
                raise self._damaged(name, "it has no checksum")

            def pieces() -> Iterator[memoryview]:
                download = self._download(name, key)
                if download.digest != digest:
                    raise ReplacedError
                return self._checked(name, download)

            return self._cache.open(digest, int(head["ContentLength"]), pieces)

        return self._repeated(name, read)

    def info(self, name: str) -> ObjectInfo | None:
        """See `Store.info`."""
        head = self._head(name)
        return None if head is None else _info(name, int(head["ContentLength"]), head)

    def exists(self, name: str) -> bool:
        """See `Store.exists`."""
        return self._head(name) is not None

    def now(self) -> float:
        """The `Date` of a small answer of the server."""
        return time_of(
            self._connection.call("tell the time", "head_object", told=(404,), dated=True, Key=self._key("now"))
        )

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See `Store.list`. Names that no store gives are left out."""
        return self._list(self._connection.address.prefix + check_prefix(prefix))

    def delete(self, name: str) -> None:
        """See `Store.delete`."""
        self._connection.call(f"delete object {name}", "delete_object", told=(404,), Key=self._key(name))

    def abandon_uploads(self, older_than: float, *, dry_run: bool = False) -> tuple[str, ...]:
        """Drop what uploads that never ended have left in the bucket, where it takes room and is not listed.

        Args:
            older_than: seconds since the upload began; younger ones may be going on.
            dry_run: drop nothing.

        Returns the names of the objects they were for. Raises `StoreError`.
        """
        prefix, begun_before, found = self._connection.address.prefix, self.now() - older_than, []
        more: dict[str, Any] = {}
        while True:
            page = self._connection.call("list unfinished uploads", "list_multipart_uploads", Prefix=prefix, **more)
            found += [upload for upload in page.get("Uploads", []) if upload["Initiated"].timestamp() < begun_before]
            if not page["IsTruncated"]:
                break
            more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
        for upload in found if not dry_run else ():
            which = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
            self._connection.call("drop an unfinished upload", "abort_multipart_upload", told=(404,), **which)
        return tuple(upload["Key"][len(prefix) :] for upload in found)

    def location(self, name: str) -> str:
        """`s3://bucket/prefix/name`."""
        return f"s3://{self._connection.address.bucket}/{self._key(name)}"

    def _key(self, name: str) -> str:
        return self._connection.address.prefix + check_name(name)

    def _head(self, name: str) -> Answer | None:
        answer = self._connection.call(f"look for object {name}", "head_object", told=(404,), Key=self._key(name))
        return None if status(answer) == 404 else answer

    def _writer(self, name: str) -> str | None:
        """The write that made the object that stands; empty if it was not a store's; None if there is no object."""
        head = self._head(name)
        return None if head is None else metadata(head).get("writer", "")

    def _list(self, beginning: str) -> Iterator[ObjectInfo]:
        start = len(self._connection.address.prefix)
        for entry in entries(self._connection, beginning):
            name = entry["Key"][start:]
            if is_name(name):
                yield _info(name, entry["Size"], entry)

    def _download(self, name: str, key: str) -> Download:
        try:
            return Download(self._connection, key, f"read object {name}")
        except MissingError:
            raise self._missing(name) from None

    def _checked(self, name: str, download: Download, room: memoryview | None = None) -> Iterator[memoryview]:
        """The pieces of a download; `DamagedObjectError` after the last if they are not what was put."""
        digest = hashlib.sha256()
        for piece in download.pieces(room):
            digest.update(piece)
            yield piece
        if download.digest is None:
            raise self._damaged(name, "it has no checksum")
        if download.digest != digest.hexdigest():
            raise self._damaged(name, "its content does not match its checksum")

    def _repeated(self, name: str, read: Callable[[], _Value]) -> _Value:
        """What `read` returns; once more if it finds damage, which may have come on the way, and for every replacement."""
        damaged = False
        for _ in range(_REPLACEMENTS):
            try:
                return read()
            except ReplacedError:
                pass
            except DamagedObjectError:
                if damaged:
                    raise
                damaged = True
        raise self._connection.error(f"read object {name}", "it is replaced faster than it can be read")

    def _missing(self, name: str) -> ObjectMissingError:
        return ObjectMissingError(f"store {self._connection.address.place}: there is no object {name}")

    def _damaged(self, name: str, fault: str) -> DamagedObjectError:
        place = self._connection.address.place
        return DamagedObjectError(f"store {place}: object {name} is damaged: {fault}; delete it to have it made anew")


def _info(name: str, size: int, told: Mapping[str, Any]) -> ObjectInfo:
    """What an answer tells of an object, be it of a listing or of the object itself."""
    return ObjectInfo(name, size, told["LastModified"].timestamp(), str(told.get("ETag", "")).strip('"'))


def _entries(source: Source) -> dict[str, str]:
    return {"sha256": source.digest, "writer": secrets.token_hex(16)}
