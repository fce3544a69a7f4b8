"""A proxy that does to an S3 server's connections what a network does on a bad day, and counts it.

It speaks just enough HTTP to know where a request and its answer end. Needs nothing of pytest nor of this package; as a
process of its own, `python tests/faulty_proxy.py HOST:PORT`, it takes orders at its standard input (see `main`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args
from urllib.parse import urlsplit

from tests.helpers.http_connection import BrokenError, Connection, header

Kind = Literal["delay", "drop", "error", "break_upload", "swallow", "cut_head", "reset", "truncate"]
_NO_BODY = re.compile(rb"HTTP/1\.[01] (1\d\d|204|304) ")
_CODES = {500: "InternalError", 503: "SlowDown", 429: "TooManyRequests"}


@dataclass(frozen=True)
class Fault:
    """What happens to one request."""

    kind: Kind
    """What it is:

    `delay`         it passes after `seconds`
    `drop`          the client gets a reset, the server never hears of it
    `error`         it is answered with `status`, the server never hears of it
    `break_upload`  after `after` bytes of its body the connections to both sides are reset
    `swallow`       the server acts on it, the client gets a reset instead of the answer
    `cut_head`      its answer's status and headers end after `after` bytes with an orderly end of the connection
    `reset`         its answer's body ends after `after` bytes with a reset
    `truncate`      its answer's body ends after `after` bytes with an orderly end of the connection
    """
    after: int = 0
    seconds: float = 0.0
    status: int = 503
    matching: str = ""
    """Regular expression searched in the request line, such as `^PUT` or `partNumber=2`; others pass."""
    times: int | None = None
    """How many requests it happens to; None: all until `FaultyProxy.lift`."""


class FaultyProxy:
    """`http://127.0.0.1:port`, passing on to the http server at `target`; a context manager, usable from any thread."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 80)
        # A second socket, bound and never listening, keeps the port ours while it refuses connections.
        self._reserved = _bound(0)
        self.port: int = self._reserved.getsockname()[1]
        self.counts: Counter[str] = Counter()
        """What was done so far: `request` for every request, and each kind of fault; `unreachable` for every time it went down."""
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._connections: set[Connection] = set()
        self._listener: socket.socket | None = None
        self._lifted = threading.Event()
        self._listen()

    @property
    def endpoint(self) -> str:
        """Where clients connect to."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> FaultyProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.lift()
        self._stop_listening()
        self._reserved.close()

    def inject(self, fault: Fault) -> None:
        """From now on let `fault` happen to the requests it matches; of several that match, the first given is taken."""
        with self._lock:
            self._faults.append(fault)

    def lift(self) -> None:
        """No more faults, delayed requests pass, and connections are accepted."""
        with self._lock:
            self._faults.clear()
            self._lifted.set()
            self._lifted = threading.Event()
        self._listen()

    def go_down(self) -> None:
        """Refuse connections and reset those there are, until `lift`."""
        with self._lock:
            self.counts["unreachable"] += 1
        self._stop_listening()

    # -- connections

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = _bound(self.port)
            self._listener.listen(128)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _stop_listening(self) -> None:
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept
            self._listener.close()
            self._listener = None
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.abort()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                client = Connection(listener.accept()[0])
                with self._lock:
                    self._connections.add(client)
                if self._listener is not listener:  # down since it was accepted
                    client.abort()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: Connection) -> None:
        server: Connection | None = None
        try:
            server = Connection(socket.create_connection(self._target, 10))
            while self._pass_on(client, server):
                pass
            client.close()
        except (BrokenError, OSError, ValueError):  # ValueError: what came is no HTTP
            client.reset()
        finally:
            if server is not None:
                server.close()
            with self._lock:
                self._connections.discard(client)

    def _pass_on(self, client: Connection, server: Connection) -> bool:
        """One request and its answer; whether another may come on this connection."""
        head = client.head()
        if not head:
            return False
        fault = self._take(head.partition(b"\r\n")[0].decode("latin-1"))
        kind = fault.kind if fault else None
        if fault and kind == "delay":
            self._lifted.wait(fault.seconds)
        if kind == "drop":
            raise BrokenError
        if header(head, b"expect"):
            # We take the body in any case, so the server need not be asked first.
            head = re.sub(rb"(?i)\r\nexpect:[^\r]*", b"", head)
            client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = client.body(head, ends_with_connection=False)
        if fault and kind == "error":
            _discard(body)
            client.send(_error(fault.status, to_head=head.startswith(b"HEAD ")))
            return True
        server.send(head)
        if fault and kind == "break_upload":
            server.send_some(body, fault.after)
            server.reset()
            raise BrokenError
        server.send_some(body)
        return self._answer(client, server, fault, to_head=head.startswith(b"HEAD "))

    def _answer(self, client: Connection, server: Connection, fault: Fault | None, to_head: bool) -> bool:
        head = server.head()
        if not head:
            raise BrokenError
        bodiless = to_head or _NO_BODY.match(head)
        body = iter(()) if bodiless else server.body(head, ends_with_connection=True)
        if fault and fault.kind == "swallow":
            _discard(body)  # the server is done when its answer is
            raise BrokenError
        if fault and fault.kind == "cut_head":
            _discard(body)
            client.send(head[: min(fault.after, len(head) - 1)])
            return False
        client.send(head)
        if fault and fault.kind in ("reset", "truncate"):
            client.send_some(body, fault.after)
            if fault.kind == "reset":
                raise BrokenError
            return False
        client.send_some(body)
        has_end = bodiless or header(head, b"content-length") or header(head, b"transfer-encoding")
        return bool(head.startswith(b"HTTP/1.1") and has_end and header(head, b"connection").lower() != b"close")

    def _take(self, request_line: str) -> Fault | None:
        with self._lock:
            self.counts["request"] += 1
            for index, fault in enumerate(self._faults):
                if re.search(fault.matching, request_line):
                    self.counts[fault.kind] += 1
                    if fault.times == 1:
                        del self._faults[index]
                    elif fault.times is not None:
                        self._faults[index] = replace(fault, times=fault.times - 1)
                    return fault
        return None


def _bound(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    return made


def _discard(pieces: Iterator[bytes]) -> None:
    for _ in pieces:
        pass


def _error(status: int, to_head: bool) -> bytes:
    """An error as S3 servers put it."""
    code = _CODES.get(status, "InternalError")
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>injected</Message></Error>'
    head = f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head if to_head else head + body).encode()


def main() -> None:
    """Serve until standard input ends.

    The first line printed is the endpoint. Every line read is an order and gets one line of answer, the counts so far as JSON:
    a fault as JSON, such as `{"kind": "reset", "after": 1000, "times": 3}`, or `down`, `lift`, `count`.
    """
    parser = argparse.ArgumentParser(description="A proxy that injects faults before an S3 server.")
    parser.add_argument("target", help="HOST:PORT of the http server")
    with FaultyProxy(f"http://{parser.parse_args().target}") as proxy:
        print(proxy.endpoint, flush=True)
        orders = {"down": proxy.go_down, "lift": proxy.lift, "count": lambda: None}
        for line in map(str.strip, sys.stdin):
            if line in orders:
                orders[line]()
            else:
                fault = Fault(**json.loads(line))
                if fault.kind not in get_args(Kind):
                    sys.exit(f"unknown fault {fault.kind!r}: expected one of {', '.join(get_args(Kind))}")
                proxy.inject(fault)
            print(json.dumps(proxy.counts), flush=True)


if __name__ == "__main__":
    main()
