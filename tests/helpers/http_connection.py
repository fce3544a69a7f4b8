"""One end of an HTTP connection, read by HTTP's units and ended in every way a connection can end. For the faulty proxy."""

from __future__ import annotations

import contextlib
import math
import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_PIECE = 16 * 1024


class BrokenError(Exception):
    """One side ended the connection, or we are to end it."""


@dataclass(eq=False)
class Connection:
    """A socket that is read by HTTP's units."""

    socket: socket.socket
    _rest: bytes = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_some(self, pieces: Iterator[bytes], limit: float = math.inf) -> None:
        """Send `pieces`, but not more than `limit` bytes of them."""
        for piece in pieces:
            if len(piece) > limit:
                self.send(piece[: int(limit)])
                return
            self.send(piece)
            limit -= len(piece)

    def head(self) -> bytes:
        """Request or answer up to and with its empty line; empty when the other side has closed."""
        while b"\r\n\r\n" not in self._rest:
            if not self._receive():
                return b""
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def body(self, head: bytes, ends_with_connection: bool) -> Iterator[bytes]:
        """The body that follows `head`, in pieces as they go over the line."""
        if b"chunked" in header(head, b"transfer-encoding").lower():
            while True:
                size_line = self._until(b"\r\n")
                yield size_line
                size = int(size_line.partition(b";")[0], 16)
                if not size:
                    break
                yield from self._exactly(size + 2)
            while (trailer := self._until(b"\r\n")) != b"\r\n":
                yield trailer
            yield trailer
        elif length := header(head, b"content-length"):
            yield from self._exactly(int(length))
        elif ends_with_connection:
            while self._rest or self._receive():
                piece, self._rest = self._rest, b""
                yield piece

    def close(self) -> None:
        """End it as one who has said everything."""
        self.socket.close()

    def reset(self) -> None:
        """End it with a reset: what was not read yet is lost to the other side."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def abort(self) -> None:
        """From another thread: wake whoever reads or writes, who then ends it."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def _receive(self) -> bool:
        received = self.socket.recv(_PIECE)
        self._rest += received
        return bool(received)

    def _until(self, end: bytes) -> bytes:
        while end not in self._rest:
            if not self._receive():
                raise BrokenError
        line, _, self._rest = self._rest.partition(end)
        return line + end

    def _exactly(self, count: int) -> Iterator[bytes]:
        while count:
            if not self._rest and not self._receive():
                raise BrokenError
            piece, self._rest = self._rest[:count], self._rest[count:]
            count -= len(piece)
            yield piece


def header(head: bytes, name: bytes) -> bytes:
    """Value of a header, empty if there is none."""
    found = re.search(rb"(?i)\r\n" + name + rb":[ \t]*([^\r]*)", head)
    return found[1].strip() if found else b""
