"""Fetching a published data set: download, checksum, unpacking, and a folder that appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol

from fod_bench.datasets.fetch.download import Download, Progress, require_web, shown
from fod_bench.datasets.fetch.sources import Source
from fod_bench.datasets.fetch.unpack import Bounds, unpack
from fod_bench.datasets.walk import folders
from fod_bench.errors import DatasetError
from fod_bench.machine.system import require_file_locks, try_lock
from fod_bench.text import format_bytes

_MARK = ".fod-bench.json"
"""Left in an unpacked set: what it was made of. Hidden, so that no layout sees it."""
_LOCK = ".fod-bench-fetch.lock"
_PIECE = 1 << 20


@dataclass(frozen=True)
class Fetched:
    """What a fetch came to."""

    folder: Path
    archive: Path | None
    """The archive, which is no longer needed; None where the folder was there already."""


class Reporter(Protocol):
    """What is told while a set is fetched."""

    def doing(self, what: str) -> Progress:
        """Something long begins; the result is told how far it is, in bytes."""

    def note(self, text: str) -> None:
        """Something that a person should know."""


class Silent:
    """Tells nothing."""

    def doing(self, what: str) -> Progress:
        return lambda done, total: None

    def note(self, text: str) -> None:
        pass


def fetch(
    source: Source,
    to: Path,
    *,
    url: str | None = None,
    archive: Path | None = None,
    reporter: Reporter | None = None,
    sleep: Callable[[float], None] | None = None,
) -> Fetched:
    """Have the data set as `to/NAME`: from `archive`, or from the archive that lies in `to`, or downloaded from `url`.

    Whatever the archive comes from, its checksum is taken before it is opened. Does nothing where the folder was made by an
    earlier call of the very same archive.

    Raises DatasetError, one line: something else is in the folder's place, the download fails, the archive is another file or holds
    what must not be unpacked. An archive or a folder of somebody else's is never removed.
    """
    told = reporter or Silent()
    if url is not None:
        require_web(url)
    folder = to / source.name
    if _made_before(folder, source):
        return Fetched(folder, None)
    require_file_locks("a download")
    try:
        to.mkdir(parents=True, exist_ok=True)
        with (to / _LOCK).open("wb") as lock:
            if not try_lock(lock):
                raise DatasetError(f"another fetch is at work in {to}: wait for it, or give another folder by --to")
            if _made_before(folder, source):  # meanwhile
                return Fetched(folder, None)
            packed, origin = _archive(source, to, url, archive, told, sleep)
            _unpack(source, packed, folder, told, origin)
            return Fetched(folder, packed)
    except OSError as error:
        raise DatasetError(f"{error.filename or to} cannot be used: {error.strerror or error}") from error


def _made_before(folder: Path, source: Source) -> bool:
    """Whether the folder is there, by the very same archive. Raises DatasetError where something else is in its place."""
    try:
        made = json.loads((folder / _MARK).read_text(encoding="utf-8"))
        if made["checksum"] == source.checksum:
            return True
    except (OSError, ValueError, KeyError, TypeError):
        pass
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise DatasetError(
            f"{folder} is there already and is not of this archive: use it (`fod-bench data check {folder} --layout {source.name}` "
            "says what is in it), move it away, or give another folder by --to"
        )
    return False


def _archive(
    source: Source,
    to: Path,
    url: str | None,
    given: Path | None,
    told: Reporter,
    sleep: Callable[[float], None] | None,
) -> tuple[Path, str]:
    """The archive on this machine, its checksum compared, and where it is known to come from."""
    if given is not None:
        if not given.is_file():
            raise DatasetError(f"--archive: there is no file {given}; {_by_hand(source)}")
        _require_checksum(source, given, told)
        return given, "given by --archive"
    archive = to / source.file_name
    if archive.exists():
        told.note(f"{archive} is there already")
        _require_checksum(source, archive, told)
        return archive, "was there already"
    address = url or source.url
    download = Download(
        address, archive, source.magic, source.max_archive, told.doing(f"fetch {shown(address)}"), told.note
    )
    if sleep is not None:
        download.sleep = sleep
    try:
        download.run()
    except DatasetError as error:
        raise DatasetError(f"{error}; {_by_hand(source)}") from error
    try:
        _require_checksum(source, archive, told)
    except DatasetError:
        size = archive.stat().st_size
        archive.unlink()  # it was made here
        raise DatasetError(
            f"{shown(address)} sent another file ({format_bytes(size)}) than the archive with {source.algorithm} "
            f"{source.checksum}; nothing is kept of it; {_by_hand(source)}"
        ) from None
    return archive, f"downloaded from {shown(address)}"


def _by_hand(source: Source) -> str:
    return f"other ways: --url for a mirror, or get {source.file_name} from {source.page} by hand and give it by --archive FILE"


def _require_checksum(source: Source, archive: Path, told: Reporter) -> None:
    progress = told.doing(f"checksum of {archive}")
    digest, done, total = hashlib.new(source.algorithm, usedforsecurity=False), 0, archive.stat().st_size
    with archive.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            done += len(piece)
            progress(done, total)
    if digest.hexdigest() != source.checksum:
        raise DatasetError(
            f"{archive} ({format_bytes(total)}) is not the archive: its {source.algorithm} is {digest.hexdigest()}, not "
            f"{source.checksum}. It was cut off, or is another file: move it away, and the same command fetches it"
        )


def _unpack(source: Source, archive: Path, folder: Path, told: Reporter, origin: str) -> None:
    """Unpack beside the folder, look whether it is the set, and rename."""
    unfinished = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a call that died
    unfinished.mkdir(parents=True)
    try:
        unpack(archive, unfinished, Bounds(source.max_unpacked, source.max_files), told.doing(f"unpack {archive.name}"))
        top = _top(source, unfinished, archive)
        made = {
            "checksum": source.checksum,
            "algorithm": source.algorithm,
            "archive": archive.name,
            "origin": origin,
            "unpacked": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        (top / _MARK).write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
        if folder.exists():  # and empty, as was seen
            folder.rmdir()
        top.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _top(source: Source, unfinished: Path, archive: Path) -> Path:
    """The folder that holds the categories: the one unpacked to, or the only one in it. Raises DatasetError where some lack."""
    top = unfinished
    found = folders(top)
    if not set(source.categories) & set(found) and len(found) == 1:
        top = top / found[0]
        found = folders(top)
    missing = [name for name in source.categories if name not in found]
    if missing:
        raise DatasetError(f"{archive} does not hold the data set: {', '.join(missing)} are not in it")
    return top
