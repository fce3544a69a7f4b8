"""Requests to one bucket that go on trying for a while, and end in one clear line."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, TypeVar

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.handlers import add_expect_header
from botocore.parsers import ResponseParserError
from botocore.utils import parse_timestamp

from fod_bench.errors import StoreError
from fod_bench.store.address import S3Address, check_endpoint
from fod_bench.store.s3.errors import (
    REQUEST_ERRORS,
    TruncatedAnswerError,
    code_of,
    explanation,
    is_passing,
    is_strange,
    status_of,
    summary,
)
from fod_bench.store.s3_answers import Answer, check_answer, watch_headers
from fod_bench.store.traffic import traffic

_Value = TypeVar("_Value")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_CONNECT_SECONDS, _READ_SECONDS = 5.0, 30.0
_UNPARSABLE_ANSWERS = 3
_LISTED_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}|\.\d{6})?Z")


class Connection:
    """A client for one bucket, for use by many threads."""

    def __init__(self, address: S3Address, patience: float, what: str = "store") -> None:
        """Fill in what `address` leaves to the environment. `what` lies there, for messages.

        Raises `StoreError` for settings that cannot be used.
        """
        self.patience, self._what = patience, what
        self.address = address
        try:
            session = _session()
            region = address.region or session.region_name or "us-east-1"
            endpoint = address.endpoint or _configured_endpoint(session, region)
            if endpoint is not None:
                endpoint = check_endpoint(
                    endpoint, f"{what} {address.place}: the endpoint that boto3 is configured with"
                )
            self.address = address._replace(region=region, endpoint=endpoint)
            addressing = "path" if address.addressing == "auto" and endpoint else address.addressing
            self._client = session.client(
                "s3",
                region_name=region,
                endpoint_url=endpoint,
                config=Config(
                    signature_version="s3v4",
                    s3={"addressing_style": addressing},
                    max_pool_connections=32,
                    connect_timeout=min(_CONNECT_SECONDS, max(patience, 1.0)),
                    read_timeout=min(_READ_SECONDS, max(patience, 1.0)),
                    retries={"mode": "standard", "total_max_attempts": 2},
                    # Ceph 16 and others take no trailing checksums; ours is in the metadata.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                ),
            )
            watch_headers()
            # Botocore waits for the end of a refusal to "may I send it?" for ever where the connection ends before it.
            self._client.meta.events.unregister("before-call.s3", add_expect_header)
        except (BotoCoreError, ValueError) as error:
            raise StoreError(f"{what} {address.place}: cannot open it: {explanation(error, address)}") from None
        self.answered = False
        """Whether what is at the other end has ever answered as an S3 server does."""

    def call(
        self,
        action: str,
        operation: str,
        told: Collection[int] = (),
        dated: bool = False,
        stop: threading.Event | None = None,
        **parameters: Any,
    ) -> Answer:
        """The answer to a request about the bucket, repeated for as long as the fault is a passing one.

        Args:
            action: for the message, what cannot be done: `read object a`.
            operation: name of the client's method.
            told: statuses of a refusal that are answers to the caller, found in `status(answer)`.
            dated: whether the answer must tell the server's time.
            stop: ends the trying when it is set.
            parameters: those of the method, apart from the bucket; a file as `Body` is sent from its beginning.

        Raises `StoreError` when patience is at its end or the fault does not pass.
        """

        def request() -> Answer:
            body = parameters.get("Body")
            if body is not None and not isinstance(body, bytes):
                body.seek(0)  # an earlier attempt may have sent some of it
            try:
                answer: Answer = getattr(self._client, operation)(Bucket=self.address.bucket, **parameters)
            except ClientError as error:
                if status_of(error) not in told or code_of(error) == "NoSuchBucket":
                    raise
                if status_of(error) == 404 and operation != "head_object" and code_of(error) in ("", "404"):
                    raise ResponseParserError("a refusal without its code") from None
                answer = error.response
            except ValueError:  # botocore's, for a number or a time that is none
                raise TruncatedAnswerError(lacks="a value that can be read") from None
            check_answer(operation, answer, dated)
            self.answered = True
            if body is not None:
                traffic.add(written=len(body) if isinstance(body, bytes) else body.tell())
            return answer

        return self.attempt(action, request, stop)

    def attempt(self, action: str, work: Callable[[], _Value], stop: threading.Event | None = None) -> _Value:
        """What `work` returns, called again while its faults are passing ones. Raises as `call` does."""
        trial = self.trial(action, stop)
        while True:
            try:
                return work()
            except REQUEST_ERRORS as error:
                trial.failed(error)

    def trial(self, action: str, stop: threading.Event | None = None) -> Trial:
        """The patience for one piece of work, whose author calls it at every fault."""
        return Trial(self, action, stop or threading.Event())

    def error(self, action: str, text: str) -> StoreError:
        """A `StoreError` that says what could not be done, and why."""
        return StoreError(f"{self._what} {self.address.place}: cannot {action}: {text}")


class Trial:
    """How long something has been failing, and whether to go on."""

    def __init__(self, connection: Connection, action: str, stop: threading.Event) -> None:
        self._connection, self._action, self._stop = connection, action, stop
        self.progressed()

    def progressed(self) -> None:
        """Something was achieved: patience begins anew."""
        self._since, self._pause, self._faults = time.monotonic(), _FIRST_PAUSE, 0

    def failed(self, error: Exception) -> None:
        """Wait before the next attempt, longer every time. Raises `StoreError` when there should be none."""
        self._faults += 1
        # A list that was cut short cannot be told from the page of a web server, until a real answer has come.
        strange = is_strange(error)
        passing = self._connection.answered or self._faults < _UNPARSABLE_ANSWERS if strange else is_passing(error)
        if not passing:
            raise self._connection.error(self._action, explanation(error, self._connection.address)) from None
        self.wait(summary(error))

    def wait(self, reason: str) -> None:
        """Wait before the next attempt. Raises `StoreError` with `reason` when patience is at its end."""
        pause = self._pause * random.uniform(0.5, 1.0)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        failing = time.monotonic() - self._since
        left = self._connection.patience - failing
        if left <= 0 or self._stop.wait(min(pause, left)):
            server = self._connection.address.endpoint or "AWS"
            raise self._connection.error(
                self._action,
                f"{server} unreachable for {failing:.0f} s (last: {reason}); is the endpoint right, and up?",
            ) from None
        traffic.add(retries=1)


def _session() -> Any:
    """Boto3's, which reads the times in a listing, a thousand to a page, ten times faster than by itself."""
    core = botocore.session.get_session()
    core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=read_time)
    return boto3.session.Session(botocore_session=core)


def read_time(text: Any) -> datetime:
    """A time as servers write it, with its zone. Raises ValueError for what is none."""
    if isinstance(text, str) and _LISTED_TIME.fullmatch(text):
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    try:
        found: datetime = parse_timestamp(text)
    except (RuntimeError, OverflowError) as error:  # botocore's for a number of seconds beyond all years
        raise ValueError(str(error)) from None
    if found.tzinfo is None:
        raise ValueError(f"{text!r} has no zone")
    return found


def _configured_endpoint(session: Any, region: str) -> str | None:
    """The server that environment or profile name in place of AWS, None when they name none."""
    configured, plain = (
        session.client(
            "s3", region_name=region, config=Config(ignore_configured_endpoint_urls=ignored)
        ).meta.endpoint_url
        for ignored in (None, True)
    )
    return None if configured == plain else str(configured)
