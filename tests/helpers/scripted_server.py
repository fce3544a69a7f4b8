"""An HTTP server that answers as a test says, for what no real S3 server can be made to do."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import MappingProxyType
from typing import Any, NamedTuple

XML = {"Content-Type": "application/xml"}


TOLD = {"ETag": '"1"', "Last-Modified": "Sun, 01 Mar 2026 23:00:05 GMT"}
"""What every S3 server tells of an object, beside its size."""


class Request(NamedTuple):
    """What a scripted server was asked."""

    method: str
    path: str
    headers: dict[str, str]


class Answer(NamedTuple):
    """What it answers. A body that is shorter than its `Content-Length` header is cut off; a header that is None is left out."""

    status: int
    headers: Mapping[str, str | None] = MappingProxyType({})
    body: bytes = b""


Script = Callable[[Request], Answer | None]


def refusal(status: int, code: str, message: str = "") -> Answer:
    """An S3 server's error."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Answer(status, XML, body.encode())


@contextlib.contextmanager
def serving(script: Script) -> Iterator[str]:
    """The endpoint of a server that answers as `script` says; None breaks the connection off."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = script(
                Request(self.command, self.path, {name.lower(): text for name, text in self.headers.items()})
            )
            self.close_connection = True
            if answer is None:
                return
            self.send_response_only(answer.status)
            said = {
                "Date": self.date_time_string(),
                "Content-Length": str(len(answer.body)),
                "Connection": "close",
            } | dict(answer.headers)
            for name, value in said.items():
                if value is not None:
                    self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def part_of(content: bytes, start: int, cut: int | None) -> Answer:
    """An answer to a read from `start`, broken off after `cut` bytes."""
    digest = hashlib.sha256(content).hexdigest()
    headers = {"ETag": f'"{digest[:8]}"', "x-amz-meta-sha256": digest, "Content-Length": str(len(content) - start)}
    if start:
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
    return Answer(206 if start else 200, headers, content[start:][:cut])
