"""What an answer of an S3 server must have, said once: one that lacks any of it was cut short on its way and is asked for again.

The standard library takes the end of a connection for the end of an answer's headers, so headers that broke off look like fewer
headers. Two things tell them apart: the empty line that ends whole headers, and the fields that every answer to an operation has.
"""

from __future__ import annotations

import email.utils
import http.client
import re
from typing import Any

import botocore.awsrequest

from fod_bench.store.s3.errors import TruncatedAnswerError

Answer = dict[str, Any]

_FIELDS: dict[str, tuple[str, ...]] = {
    "put_object": ("ETag",),
    "head_object": ("ContentLength", "ETag", "LastModified"),
    "get_object": ("ContentLength", "ETag"),
    "list_objects_v2": ("IsTruncated",),
    "list_multipart_uploads": ("IsTruncated",),
    "create_multipart_upload": ("UploadId",),
    "upload_part": ("ETag",),
    "complete_multipart_upload": ("ETag",),
}
"""Of every answer to an operation. Deleting is answered with a status alone."""
_MORE: dict[str, tuple[str, ...]] = {
    "list_objects_v2": ("NextContinuationToken",),
    "list_multipart_uploads": ("NextKeyMarker", "NextUploadIdMarker"),
}
"""Of a page after which another comes."""
_ENTRIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "list_objects_v2": ("Contents", ("Key", "Size", "LastModified")),
    "list_multipart_uploads": ("Uploads", ("Key", "UploadId", "Initiated")),
}
"""Where a page has its entries, and what each of them has."""
_RANGE = re.compile(r"bytes \d+-\d+/\d+")


def check_answer(operation: str, answer: Answer, dated: bool) -> None:
    """Raises `TruncatedAnswerError` for an answer without what each to `operation` has; `dated`: with the server's time."""
    refused = "Error" in answer
    if not refused:
        _need(answer, _FIELDS.get(operation, ()))
        if answer.get("IsTruncated"):
            _need(answer, _MORE[operation])
        where, fields = _ENTRIES.get(operation, ("", ()))
        for entry in answer.get(where, ()):
            _need(entry, fields)
        if status(answer) == 206 and answer["ContentLength"] and not _RANGE.fullmatch(answer.get("ContentRange", "")):
            raise TruncatedAnswerError(lacks="ContentRange")
    if dated:
        time_of(answer)


def _need(found: dict[str, Any], fields: tuple[str, ...]) -> None:
    for field in fields:
        value = found.get(field)
        if value is None or value == "" or (isinstance(value, int) and value < 0):
            raise TruncatedAnswerError(lacks=field)


def status(answer: Answer) -> int:
    """HTTP status of an answer."""
    return int(answer["ResponseMetadata"]["HTTPStatusCode"])


def metadata(answer: Answer) -> dict[str, str]:
    """User metadata of an object; servers differ in how they write the names."""
    return {name.lower(): value for name, value in answer["Metadata"].items()}


def time_of(answer: Answer) -> float:
    """Seconds since 1970 when the server gave an answer. Raises `TruncatedAnswerError`."""
    try:
        return email.utils.parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        raise TruncatedAnswerError(lacks="Date") from None


class _Lines:
    """A file that remembers the last line read from it."""

    def __init__(self, file: Any) -> None:
        self.file, self.last = file, b""

    def readline(self, *limit: int) -> bytes:
        self.last = self.file.readline(*limit)
        return self.last

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


class WholeHeaders(http.client.HTTPResponse):
    """An answer whose headers end with an empty line."""

    def begin(self) -> None:
        """Read status and headers. Raises `RemoteDisconnected` where the connection ends before they do."""
        lines: Any = _Lines(self.fp)
        self.fp = lines
        try:
            super().begin()
        finally:
            self.fp = lines.file
        if lines.last not in (b"\r\n", b"\n"):
            raise http.client.RemoteDisconnected("the connection ended within the headers")


def watch_headers() -> None:
    """Let whatever botocore asks in this process be answered with whole headers or be known as broken off."""
    for connection in (botocore.awsrequest.AWSHTTPConnection, botocore.awsrequest.AWSHTTPSConnection):
        connection.response_class = WholeHeaders
