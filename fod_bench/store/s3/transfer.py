"""Large objects: read by ranges and written by parts, several at a time, in bounded memory."""

from __future__ import annotations

import collections
import contextlib
import functools
import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from botocore.response import StreamingBody

from fod_bench.errors import StoreError
from fod_bench.store.folder import files
from fod_bench.store.s3.connection import Connection
from fod_bench.store.s3.errors import REQUEST_ERRORS, TruncatedAnswerError
from fod_bench.store.s3_answers import Answer, metadata, status
from fod_bench.store.traffic import traffic

_MIB = 1 << 20
SINGLE_BYTES = 64 * _MIB
"""An object up to this size is written by one request, and held in memory for it."""
_RANGE_BYTES, _RANGES, _READ_BYTES = 16 * _MIB, 4, _MIB
_PART_BYTES, _PARTS = 16 * _MIB, 4
_MOST_PARTS = 10_000


class ReplacedError(Exception):
    """The object is no longer the one whose reading was begun."""


class MissingError(Exception):
    """There is no object of that key."""


class Source:
    """What is to be stored: bytes, or a file that is read piece by piece. A context manager."""

    def __init__(self, name: str, data: bytes | Path) -> None:
        """Raises `StoreError` when the file cannot be read."""
        self._name, self._data = name, data
        self._file: BinaryIO | None = None
        if isinstance(data, bytes):
            self.size = len(data)
            return
        try:
            self._file = data.open("rb")
            self._state = self._stat()
            self.size = self._state[0]
            if self.size <= SINGLE_BYTES:  # what is sent is then what was hashed, even if the file changes
                self._data = self._file.read()
                self.size = len(self._data)
        except OSError as error:
            self.close()
            raise self._unreadable(error) from error

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 in hexadecimal."""
        if isinstance(self._data, bytes):
            return hashlib.sha256(self._data).hexdigest()
        assert self._file is not None
        try:
            return files.digest_of(self._file)
        except OSError as error:
            raise self._unreadable(error) from error

    @property
    def body(self) -> bytes | BinaryIO:
        """All of it, for one request."""
        if isinstance(self._data, bytes):
            return self._data
        assert self._file is not None
        return self._file

    def read(self, start: int, size: int) -> bytes:
        """A part of it; for use by many threads."""
        if isinstance(self._data, bytes):
            return self._data[start : start + size]
        assert self._file is not None
        try:
            pieces = []
            while size and (piece := os.pread(self._file.fileno(), size, start)):
                pieces.append(piece)
                start, size = start + len(piece), size - len(piece)
            return b"".join(pieces)
        except OSError as error:
            raise self._unreadable(error) from error

    def check_unchanged(self) -> None:
        """Raises `StoreError` when the file is another than the one that was hashed."""
        if not isinstance(self._data, bytes) and self._stat() != self._state:
            raise StoreError(f"file {self._data} was changed while it was stored as {self._name}; store it again")

    def _stat(self) -> tuple[int, int]:
        assert self._file is not None
        found = os.fstat(self._file.fileno())
        return found.st_size, found.st_mtime_ns

    def _unreadable(self, error: OSError) -> StoreError:
        return StoreError(f"cannot read {self._data!s}, to be stored as {self._name}: {error.strerror}")


def upload_parts(connection: Connection, key: str, action: str, source: Source, entries: dict[str, str]) -> bool:
    """Write an object by parts, which nobody sees before the last step.

    Returns whether the server says so; when an answer got lost it may not know any more, and the caller should look.
    Raises `StoreError`; the parts are removed then.
    """
    part_bytes = max(_PART_BYTES, -(-source.size // _MOST_PARTS))
    stop = threading.Event()
    begun = connection.call(action, "create_multipart_upload", Key=key, Metadata=entries)
    upload = {"Key": key, "UploadId": begun["UploadId"]}

    def send(number: int) -> Answer:
        body = source.read((number - 1) * part_bytes, part_bytes)
        sent = connection.call(action, "upload_part", stop=stop, PartNumber=number, Body=body, **upload)
        return {"PartNumber": number, "ETag": sent["ETag"]}

    try:
        with ThreadPoolExecutor(_PARTS) as pool:
            futures = [pool.submit(send, number) for number in range(1, -(-source.size // part_bytes) + 1)]
            try:
                parts = [future.result() for future in futures]
            except BaseException:
                stop.set()
                pool.shutdown(cancel_futures=True)
                raise
        source.check_unchanged()
        done = connection.call(
            action, "complete_multipart_upload", told=(404,), MultipartUpload={"Parts": parts}, **upload
        )
        return status(done) != 404
    except BaseException:
        stop.set()  # one attempt only: the caller's error is the one that matters
        with contextlib.suppress(StoreError):
            connection.call("drop an unfinished upload", "abort_multipart_upload", stop=stop, **upload)
        raise


class Download:
    """One object as it was when its reading began."""

    def __init__(self, connection: Connection, key: str, action: str) -> None:
        """Ask for the object's beginning. Raises `MissingError`, `StoreError`."""
        self._connection, self._key, self._action = connection, key, action
        self._first = self._ask(_range(0, _RANGE_BYTES))
        if status(self._first) == 416:  # an empty object has no range
            self._first = self._ask({})
        if status(self._first) == 404:
            raise MissingError
        whole = self._first.get("ContentRange", "").rpartition("/")[2]
        self.size = int(whole) if whole.isdecimal() else int(self._first["ContentLength"])
        self.etag = str(self._first["ETag"])
        self.digest: str | None = metadata(self._first).get("sha256")

    def pieces(self, room: memoryview | None = None) -> Iterator[memoryview]:
        """The content in order, some mebibytes at a time; can be asked for once.

        Args:
            room: where to put it, as large as the object; None: each piece has memory of its own.

        Raises `ReplacedError`, `StoreError`.
        """
        stop = threading.Event()
        starts = iter(range(_RANGE_BYTES, self.size, _RANGE_BYTES))
        pool = ThreadPoolExecutor(_RANGES)  # starts no thread before it is given work
        pending: collections.deque[Future[memoryview]] = collections.deque()

        def read(start: int) -> memoryview:
            end = min(start + _RANGE_BYTES, self.size)
            piece = memoryview(bytearray(end - start)) if room is None else room[start:end]
            self._fill(piece, start, stop)
            return piece

        def submit() -> None:
            if (start := next(starts, None)) is not None:
                pending.append(pool.submit(read, start))

        try:
            for _ in range(_RANGES):
                submit()
            yield read(0)
            while pending:
                part = pending.popleft().result()
                submit()
                yield part
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)

    def _fill(self, piece: memoryview, start: int, stop: threading.Event) -> None:
        """Read what begins at `start` into `piece`. A body that breaks off is continued where it did."""
        done = 0
        trial = self._connection.trial(self._action, stop)
        while True:
            body = None
            try:
                body = self._first.pop("Body", None) if start + done == 0 else None
                if body is None:
                    body = self._range(start + done, start + len(piece), stop)
                while done < len(piece) and (count := body.readinto(piece[done : done + _READ_BYTES])):
                    done += count
                    traffic.add(read=count)
                    trial.progressed()
                if done == len(piece):
                    return
                raise TruncatedAnswerError(lacks="the end of its body")
            except REQUEST_ERRORS as error:
                trial.failed(error)
            finally:
                if body is not None:
                    body.close()

    def _range(self, start: int, end: int, stop: threading.Event) -> StreamingBody:
        answer = self._ask(_range(start, end), stop)
        if status(answer) in (404, 416) or answer["ETag"] != self.etag:
            raise ReplacedError
        if not answer.get("ContentRange", "").startswith(f"bytes {start}-"):
            raise self._connection.error(self._action, "the server does not give parts of objects (it ignores Range)")
        body: StreamingBody = answer["Body"]
        return body

    def _ask(self, which: dict[str, Any], stop: threading.Event | None = None) -> Answer:
        return self._connection.call(self._action, "get_object", told=(404, 416), stop=stop, Key=self._key, **which)


def _range(start: int, end: int) -> dict[str, str]:
    return {"Range": f"bytes={start}-{end - 1}"}
