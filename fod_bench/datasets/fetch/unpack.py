"""Unpacking an archive that nobody is trusted with: regular files and folders below one folder, and no more of them than may be."""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, cast

from fod_bench.errors import DatasetError
from fod_bench.text import escaped, format_bytes, has_control

_PIECE = 1 << 20
_LARGEST_READ = 1 << 26
"""Bytes that the tar reader may ask for at once: a header that says it is longer is an attack on the memory."""
_HEADERS = 1 << 12
"""Bytes of headers and padding for each file that a tar may hold, beside its files."""


@dataclass(frozen=True)
class Bounds:
    """What unpacking may write at most."""

    bytes: int
    files: int


@dataclass
class _Member:
    """One entry of an archive. `refused` says why it may not be unpacked, where its kind tells."""

    name: str
    folder: bool
    size: int
    open: Callable[[], IO[bytes]]
    refused: str = ""


def unpack(
    archive: Path, target: Path, bounds: Bounds, progress: Callable[[int, int | None], None] = lambda done, total: None
) -> None:
    """Unpack a .tar.xz, or else a zip file, into `target`, an empty folder, which after an error holds a part of it.

    Links, devices and pipes, names that lead out of the folder or come twice, and more than `bounds` allows are refused.
    `progress` is told how much of the archive has been read.

    Raises DatasetError naming the archive and what is wrong with it.
    """
    try:
        with archive.open("rb") as raw:
            total = archive.stat().st_size
            with _members(archive, raw, bounds) as members:
                written = 0
                for number, member in enumerate(members, 1):
                    if number > bounds.files:
                        raise DatasetError(f"{archive} holds more than {bounds.files} files: it is not unpacked")
                    place = target / _sound_name(archive, member)
                    if written + member.size > bounds.bytes:
                        raise _too_large(archive, bounds)
                    if member.folder:
                        place.mkdir(parents=True, exist_ok=True)
                        continue
                    place.parent.mkdir(parents=True, exist_ok=True)
                    with closing(member.open()) as source, place.open("xb") as file:
                        while piece := source.read(_PIECE):
                            written += len(piece)
                            if written > bounds.bytes:
                                raise _too_large(archive, bounds)
                            file.write(piece)
                            progress(min(raw.tell(), total), total)
                    if place.stat().st_size != member.size:
                        raise DatasetError(f"{archive} is damaged: {escaped(member.name)} ends before its end")
    except (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, NotImplementedError) as error:
        raise DatasetError(f"{archive} is damaged: {escaped(str(error)) or type(error).__name__}") from error
    except FileExistsError as error:
        name = Path(str(error.filename)).relative_to(target)
        raise DatasetError(f"{archive} holds {escaped(str(name))} twice: it is not unpacked") from error
    except OSError as error:
        raise DatasetError(f"{archive} cannot be unpacked to {target}: {error.strerror or error}") from error


def _too_large(archive: Path, bounds: Bounds) -> DatasetError:
    return DatasetError(f"{archive} unpacks to more than {format_bytes(bounds.bytes)}: it is not unpacked")


def _sound_name(archive: Path, member: _Member) -> PurePosixPath:
    """Where below the target it goes. Raises DatasetError for what must not be unpacked."""
    path = PurePosixPath(member.name)
    refused = member.refused
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or member.name[1:2] == ":":
        refused = "leads out of the folder"
    elif has_control(member.name):
        refused = "has control characters in its name"
    if refused:
        raise DatasetError(f"{archive} is not unpacked: {escaped(member.name)} {refused}")
    return path


@contextmanager
def _members(archive: Path, raw: BinaryIO, bounds: Bounds) -> Iterator[Iterator[_Member]]:
    if zipfile.is_zipfile(archive) and not archive.name.endswith(".tar.xz"):
        with zipfile.ZipFile(raw) as packed:
            yield _zip_members(packed)
    else:
        with lzma.open(raw) as plain:
            bounded = cast(IO[bytes], _Bounded(plain, bounds.bytes + _HEADERS * bounds.files))
            with tarfile.open(fileobj=bounded, mode="r:") as tape:
                yield _tar_members(tape, bounded)


def _zip_members(packed: zipfile.ZipFile) -> Iterator[_Member]:
    for info in packed.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        name = info.orig_filename if "\0" in info.orig_filename or "\\" in info.orig_filename else info.filename
        refused = ""
        if kind == stat.S_IFLNK:
            refused = "is a link"
        elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            refused = "is no file but a pipe, a socket or a device"
        elif info.flag_bits & 1:
            refused = "is encrypted"

        def opened(info: zipfile.ZipInfo = info) -> IO[bytes]:
            return packed.open(info)

        yield _Member(name, info.is_dir(), info.file_size, opened, refused)


def _tar_members(tape: tarfile.TarFile, stream: IO[bytes]) -> Iterator[_Member]:
    for info in tape:
        refused = ""
        if info.issym() or info.islnk():
            refused = "is a link"
        elif not (info.isreg() or info.isdir()):
            refused = "is no file but a pipe, a socket or a device"

        def opened(info: tarfile.TarInfo = info) -> IO[bytes]:
            file = tape.extractfile(info)
            assert file is not None, "a regular file has content"
            return file

        yield _Member(info.name, info.isdir(), 0 if info.isdir() else info.size, opened, refused)
    while rest := stream.read(_PIECE):  # a tar ends with zeros; what cannot be read ends one as well, without an error
        if rest.strip(b"\0"):
            raise tarfile.ReadError("what follows its last file is none")


class _Bounded:
    """A stream that is read from its beginning to its end, and fails where more is read than may be, in all or at once."""

    def __init__(self, stream: Any, limit: int) -> None:
        self._stream, self._limit, self._position = stream, limit, 0

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > _LARGEST_READ:
            raise tarfile.ReadError("a header in it is too long")
        piece: bytes = self._stream.read(size)
        self._position += len(piece)
        if self._position > self._limit:
            raise tarfile.ReadError("it unpacks to more than it may")
        return piece

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        if position < self._position:
            raise tarfile.ReadError("its parts are not in order")
        while self._position < position and self.read(min(_PIECE, position - self._position)):
            pass
        return self._position
