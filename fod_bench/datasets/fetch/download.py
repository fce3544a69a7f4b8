"""Downloading one large file: it goes on where it stopped, and nothing is taken for whole that is not."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit, urlunsplit

from fod_bench.errors import DatasetError
from fod_bench.text import escaped, format_bytes

Progress = Callable[[int, "int | None"], None]
"""Told of bytes done so far, and of how many there are in all where that is known."""

_TIMEOUT = 20.0, 60.0
"""Seconds to connect, and between two pieces of an answer."""
_FRUITLESS = 5
"""Attempts in a row that bring nothing new before it is given up."""
_ATTEMPTS = 200
"""Attempts in all: a server that always breaks off after a few bytes is given up too."""
_LATER = (408, 425, 429, 500, 502, 503, 504)
"""Statuses that may pass."""
_PIECE = 1 << 18


class _AgainError(Exception):
    """An attempt that failed in a way that may pass."""

    def __init__(self, text: str, wait: float = 0.0) -> None:
        super().__init__(text)
        self.wait = wait


@dataclass
class Download:
    """One file from one address. `magic` is what it begins with, `limit` its greatest size in bytes."""

    url: str
    target: Path
    magic: bytes
    limit: int
    progress: Progress = lambda done, total: None
    note: Callable[[str], None] = lambda text: None
    sleep: Callable[[float], None] = time.sleep

    @property
    def part(self) -> Path:
        """What there is so far; it becomes `target` when the server has sent all."""
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def _told(self) -> Path:
        """What the server told of the file that `part` is a beginning of."""
        return self.target.with_name(f"{self.target.name}.part.json")

    def run(self) -> None:
        """Fetch the file to `target`, from where an earlier attempt stopped.

        Raises DatasetError, one line, where it cannot be had. What was received stays for the next time, unless it is of another
        file.
        """
        fruitless, furthest = 0, 0
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self.part.open("ab") as file:
                    self._receive(file)
                self.part.rename(self.target)
                self._told.unlink(missing_ok=True)
                return
            except _AgainError as error:
                size = self.part.stat().st_size
                fruitless = 0 if size > furthest else fruitless + 1
                furthest = max(furthest, size)
                if fruitless >= _FRUITLESS or attempt == _ATTEMPTS:
                    kept = f"; {format_bytes(size)} are kept in {self.part}, and the same command goes on from there"
                    if not size:
                        self.discard()
                    raise DatasetError(
                        f"{shown(self.url)} cannot be downloaded: {error}{kept if size else ''}"
                    ) from None
                wait = max(error.wait, float(2 ** min(fruitless, 5)))
                self.note(f"{error}; {format_bytes(size)} received, goes on in {wait:.0f} s")
                self.sleep(wait)
            except OSError as error:
                raise DatasetError(
                    f"{self.part} cannot be written: {error.strerror or error}; what was received is kept, and the same command "
                    "goes on from there"
                ) from error

    def discard(self) -> None:
        """Forget what was received."""
        for path in (self.part, self._told):
            path.unlink(missing_ok=True)

    def _receive(self, file: BinaryIO) -> None:
        """One attempt. Raises _AgainError where another one may get further."""
        import requests
        import urllib3

        have = file.seek(0, 2)
        headers = {"Accept-Encoding": "identity", "User-Agent": "fod-bench"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if tag := self._tag():
                headers["If-Range"] = tag
        try:
            with requests.get(self.url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
                self._take(response, file, have)
        except (
            requests.exceptions.SSLError,
            requests.exceptions.TooManyRedirects,
            ValueError,  # an address that is none, here or where it leads to
        ) as error:
            raise DatasetError(f"{shown(self.url)} cannot be downloaded: {reason(error)}") from None
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _AgainError(reason(error)) from None

    def _take(self, response: Any, file: BinaryIO, have: int) -> None:
        """Write what the server answers behind the `have` bytes that are there, or in their place."""
        status = response.status_code
        told = re.fullmatch(r"bytes (\d+|\*)(?:-\d+)?/(\d+|\*)", response.headers.get("Content-Range", ""))
        if status == 416 and have:
            if told and told[2] == str(have):
                return  # it is all there
            self._begin_anew(file)
            raise _AgainError("the server has another file than when the download began")
        if status in _LATER:
            raise _AgainError(f"the server answers {status}", _retry_after(response))
        if status not in (200, 206):
            raise DatasetError(f"{shown(self.url)} cannot be downloaded: the server answers {status} {response.reason}")
        if status == 206 and (told is None or told[1] != str(have)):
            self._begin_anew(file)
            raise _AgainError("the server sends another part than was asked for")
        if status == 200 and have:
            self._begin_anew(file)
            have = 0
        total = _total(response, have, told)
        self._remember(response)
        self._require_room(total, have)
        for piece in response.raw.stream(_PIECE, decode_content=False):
            if not have and not piece.startswith(self.magic[: len(piece)]):
                what = response.headers.get("Content-Type", "something else")
                self._begin_anew(file)
                raise DatasetError(f"{shown(response.url)} is not the archive but {escaped(what)}")
            file.write(piece)
            have += len(piece)
            if have > self.limit:
                self._begin_anew(file)
                raise DatasetError(
                    f"{shown(self.url)} goes on beyond {format_bytes(self.limit)}: it is not the archive; nothing is kept of it"
                )
            self.progress(have, total)
        if total is not None and have != total:
            raise _AgainError(f"the server broke off after {have} of {total} bytes")

    def _require_room(self, total: int | None, have: int) -> None:
        if total is None:
            return
        if total > self.limit:
            raise DatasetError(
                f"{shown(self.url)} has {format_bytes(total)}, more than the {format_bytes(self.limit)} that the archive may "
                "have: it is another file"
            )
        free = shutil.disk_usage(self.part.parent).free
        if free < total - have:
            raise DatasetError(
                f"the disk of {self.part.parent} has {format_bytes(free)} left, and {format_bytes(total - have)} are still to "
                "come: make room, or give another folder by --to"
            )

    def _begin_anew(self, file: BinaryIO) -> None:
        file.truncate(0)
        self._told.unlink(missing_ok=True)

    def _remember(self, response: Any) -> None:
        """Keep the tag by which a server knows whether a file is still the one that was begun."""
        tag = response.headers.get("ETag", "")
        tag = tag if tag.startswith('"') else response.headers.get("Last-Modified", "")  # a weak tag does not do
        self._told.write_text(json.dumps({"tag": tag}), encoding="utf-8")

    def _tag(self) -> str:
        try:
            tag = json.loads(self._told.read_text(encoding="utf-8"))["tag"]
        except (OSError, ValueError, KeyError, TypeError):
            return ""
        return tag if isinstance(tag, str) and tag.isprintable() else ""


def require_web(url: str) -> None:
    """Raises DatasetError for what is no address of the web."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        sound = False
    if not sound:
        raise DatasetError(
            f"{shown(url)!r} is no http or https address; a file on this machine is named by --archive FILE"
        )


def shown(url: str) -> str:
    """An address without what may be a secret in it: name, password, query."""
    try:
        parts = urlsplit(url)
    except ValueError:  # such as half of an IPv6 address
        return "the address"
    host = parts.netloc.rpartition("@")[2]
    return escaped(urlunsplit((parts.scheme, host, parts.path, "", "")))


def _total(response: Any, have: int, told: re.Match[str] | None) -> int | None:
    """Bytes of the whole file, by what the server says."""
    if told and told[2].isdigit():
        return int(told[2])
    length = response.headers.get("Content-Length", "")
    return have + int(length) if length.isdigit() else None


def _retry_after(response: Any) -> float:
    told = response.headers.get("Retry-After", "")
    return min(float(told), 60.0) if told.isdigit() else 0.0


def reason(error: Exception) -> str:
    """What went wrong in a few words: the innermost cause, never an address, which may have a secret in it."""
    text = str(error)
    for known, words in (
        ("Name or service not known", "its name cannot be looked up; is there a network?"),
        ("Temporary failure in name resolution", "its name cannot be looked up; is there a network?"),
        ("Failed to resolve", "its name cannot be looked up; is there a network?"),
        ("Network is unreachable", "the network cannot be reached"),
        ("Connection refused", "the server refuses the connection"),
        ("timed out", "the server does not answer"),
        ("IncompleteRead", "the server broke off"),
        ("Connection broken", "the server broke off"),
        ("closed connection", "the server broke off"),
        ("aborted", "the server broke off"),
        ("CERTIFICATE_VERIFY_FAILED", "its certificate cannot be verified"),
        ("redirects", "it is redirected in a circle"),
    ):
        if known in text:
            return words
    inner = _innermost(error)
    if isinstance(inner, ValueError) and not isinstance(inner, ssl.SSLError):  # a strange address, which it quotes
        return "it leads to what is no http or https address"
    text = str(getattr(inner, "strerror", None) or inner).partition("\n")[0]
    if not text or re.search(r"[/?@]|url", text, re.IGNORECASE):  # addresses have secrets in them
        return type(inner).__name__
    return f"{type(inner).__name__}: {escaped(text)[:200]}"


def _innermost(error: BaseException) -> BaseException:
    """What an error was raised for, as requests and urllib3 tell it: as a reason, as an argument or as Python's own cause."""
    while True:
        told = (getattr(error, "reason", None), *reversed(error.args), error.__cause__)
        inner = next((each for each in told if isinstance(each, BaseException)), None)
        if inner is None:
            return error
        error = inner
