"""A store in a folder, for one machine or a shared file system.

    <root>/<name>               an object, as it was put
    <root>/.checksums/<name>    its SHA-256, in the form `sha256sum --check` reads
    <root>/.temporary/          files being written, each locked by its writer
    <root>/.lock                held by whoever changes objects

A value is first written to a temporary file, without the store's lock. Then, under the lock: (1) its digest is added to
those in the checksum file, (2) the value is moved into place, (3) the checksum file is cut down to the new digest. A
writer killed at any point leaves a value whose digest is among the recorded ones, and a temporary file nobody locks.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence, Set
from pathlib import Path
from typing import BinaryIO, TypeVar

from fod_bench.errors import BlockedObjectError, DamagedObjectError, StoreError
from fod_bench.machine import system
from fod_bench.store.base import ObjectInfo, ObjectMissingError, check_name, check_prefix, is_name
from fod_bench.store.folder import files, places
from fod_bench.store.folder.places import DELETE, NO_OBJECT, OddError
from fod_bench.store.traffic import traffic

_LOCK_SECONDS = 60.0
"""A change holds the lock for milliseconds; only a process that was stopped in it holds it for so long."""
_DIGEST = re.compile(r"[0-9a-f]{64}(?=  )")

_Value = TypeVar("_Value")


class LocalStore:
    """A `Store` in the folder `root`, which is made by the first write."""

    def __init__(self, root: Path, lock_seconds: float = _LOCK_SECONDS) -> None:
        """`lock_seconds`: how long to wait for another process's change. Raises `StoreError` when `root` is no folder."""
        system.require_file_locks("a store in a folder")
        self.root = root.absolute()
        self._checksums = self.root / ".checksums"
        self._temporary = self.root / ".temporary"
        self._lock_seconds = lock_seconds
        self._verified: dict[str, tuple[tuple[int, int, int], str]] = {}
        with self._reporting("open it"):
            if self.root.exists() and not self.root.is_dir():
                raise StoreError(f"store {self.root}: this is a file; a store is a folder")
        self._sweep()

    @property
    def uri(self) -> str:
        """Absolute path of the folder."""
        return str(self.root)

    def put(self, name: str, data: bytes | Path) -> None:
        """See `Store.put`."""
        self._write(name, data, replace=True)

    def create(self, name: str, data: bytes | Path) -> bool:
        """See `Store.create`."""
        return self.info(name) is None and self._write(name, data, replace=False)

    def get(self, name: str) -> bytes:
        """See `Store.get`."""

        def read(file: BinaryIO) -> tuple[bytes, str]:
            content = file.read()
            traffic.add(read=len(content))
            return content, hashlib.sha256(content).hexdigest()

        return self._read(name, read)

    def stream(self, name: str) -> Iterator[bytes]:
        """See `Store.stream`. The object is checked before its first piece."""
        with self.open(name) as file, self._reporting("read", name):
            yield from files.pieces(file)

    def open(self, name: str) -> BinaryIO:
        """The object's own file. One process checks it once, and again only after its size, time or inode changed."""

        def read(file: BinaryIO) -> tuple[BinaryIO, str]:
            # The one that is checked is the one handed out, whatever takes its name meanwhile.
            held = os.fdopen(os.dup(file.fileno()), "rb")
            signature = _signature(os.fstat(held.fileno()))
            known, digest = self._verified.get(name, (None, ""))
            if known != signature:
                digest = files.digest_of(file)
                traffic.add(read=signature[0])
                self._verified[name] = signature, digest
                held.seek(0)
            return held, digest

        return self._read(name, read)

    def info(self, name: str) -> ObjectInfo | None:
        """See `Store.info`."""
        with self._reporting("look for", name):
            try:
                return places.info(name, self._path(name))
            except NO_OBJECT:
                return None

    def infos(self, names: Sequence[str]) -> list[ObjectInfo | None]:
        """See `fod_bench.store.base.LooksAtOnce`."""
        found: list[ObjectInfo | None] = []
        for name in names:
            try:
                found.append(places.info_of(name, self._path(name).stat()))
            except OSError:  # as a rule because there is nothing
                found.append(self.info(name))
        return found

    def exists(self, name: str) -> bool:
        """See `Store.exists`."""
        return self.info(name) is not None

    def now(self) -> float:
        """Time of a file made for the purpose: on a shared file system the clock is the server's.

        In a folder that may only be read it is this machine's.
        """
        try:
            with self._scratch() as (_, file):
                return os.fstat(file.fileno()).st_mtime
        except OSError:
            return time.time()

    def delete(self, name: str) -> None:
        """See `Store.delete`."""
        if self.info(name) is None and not self._path(name).is_symlink():
            return
        with self._reporting("delete", name), self._lock(system.EXCLUSIVE):
            for top in (self.root, self._checksums):  # the value first: a checksum alone is no object
                files.remove(top / name, top)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See `Store.list`. An object that comes or goes meanwhile may be listed or not."""
        folder, slash, _ = check_prefix(prefix).rpartition("/")
        return self._walk(self.root / folder, folder + slash, prefix, ())

    def obstacle(self, name: str) -> str | None:
        """See `fod_bench.store.base.HasPlaces`."""
        check_name(name)
        return places.obstacle(self.root, name) or places.obstacle(self._checksums, name)

    def location(self, name: str) -> str:
        """Path of the object's file."""
        return str(self._path(name))

    # -- reading

    def _path(self, name: str) -> Path:
        return self.root / check_name(name)

    def _read(self, name: str, read: Callable[[BinaryIO], tuple[_Value, str]]) -> _Value:
        """The value that `read` makes of the object, if the digest it returns with it is a recorded one."""
        path = self._path(name)
        # Value and digest are two files, so a mismatch may be a change under way: only one seen under the lock counts.
        for guard in (contextlib.nullcontext(), self._lock(system.SHARED)):
            with self._reporting("read", name), guard:
                try:
                    with places.regular_file(path) as file:
                        value, digest = read(file)
                except NO_OBJECT:
                    if path.is_symlink():
                        link = "a link to a folder" if path.is_dir() else "a link that leads nowhere"
                        raise self._damaged(name, f"{link} stands in its place; {DELETE}") from None
                    raise ObjectMissingError(f"store {self.root}: there is no object {name}") from None
                except OddError as odd:
                    raise self._damaged(name, str(odd)) from None
                recorded = self._recorded(name)
                if digest in recorded:
                    return value
        fault = "its content does not match its checksum" if recorded else "it has no checksum"
        raise self._damaged(name, f"{fault}; {DELETE}")

    def _damaged(self, name: str, fault: str) -> DamagedObjectError:
        return DamagedObjectError(f"store {self.root}: object {name} is damaged: {fault}")

    def _recorded(self, name: str) -> Set[str]:
        """Digests in the checksum file: one, or during a change and after a crash in it also those of earlier values."""
        try:
            with places.regular_file(self._checksums / name) as file:
                return set(_DIGEST.findall(file.read().decode("utf-8", errors="replace")))
        except (*NO_OBJECT, OddError):
            return set()

    def _walk(self, folder: Path, inner: str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[ObjectInfo]:
        """Objects in `folder`, whose names begin with `inner`, and below it. `above`: the folders on the way to it."""
        with self._reporting(f"list {folder}"):
            try:
                status = folder.stat()
                here = (*above, (status.st_dev, status.st_ino))
                with os.scandir(folder) as entries:
                    # A folder sorts as the names in it do: 'a-b/x' stands before 'a/x'. Of millions names alone are kept.
                    found = sorted(entry.name + "/" * places.leads_down(entry, here) for entry in entries)
            except NO_OBJECT:
                return
            except OSError as error:
                if error.errno == errno.ELOOP:
                    return
                raise
        for ordered in found:
            path = folder / ordered
            name = inner + path.name
            if not name.startswith(prefix) or not is_name(name):
                continue
            if ordered.endswith("/"):
                yield from self._walk(path, name + "/", prefix, here)
            else:
                with contextlib.suppress(*NO_OBJECT), self._reporting("look for", name, NO_OBJECT):
                    yield places.info(name, path) or ObjectInfo(name, 0, path.stat().st_mtime)

    # -- writing

    def _write(self, name: str, data: bytes | Path, replace: bool) -> bool:
        """Whether the value was stored; False only without `replace`, when there is one already."""
        path = self._path(name)
        try:
            source = data.open("rb") if isinstance(data, Path) else io.BytesIO(data)
        except OSError as error:
            raise StoreError(f"cannot read {data!s}, to be stored as {name}: {error.strerror}") from error
        with source, self._reporting("write", name), self._scratch() as (scratch, file):
            digest = files.copy(source, file)
            traffic.add(written=file.tell())
            with self._lock(system.EXCLUSIVE):
                if (stands := self.obstacle(name)) is not None:
                    raise self._blocked("write", name, stands)
                if not replace and os.path.lexists(path):
                    return False
                earlier = self._recorded(name)
                if earlier != {digest}:
                    self._record(name, earlier | {digest})
                files.make_folder(path.parent)
                if replace:
                    files.move(scratch, path)
                elif not files.move_new(scratch, path):
                    return False
                if earlier - {digest}:
                    # The value stands and is covered: a disk that is full by now is no reason to call it failed.
                    with contextlib.suppress(OSError):
                        self._record(name, {digest})
                return True

    def _record(self, name: str, digests: Set[str]) -> None:
        lines = "".join(f"{digest}  {name}\n" for digest in sorted(digests))
        path = self._checksums / name
        files.make_folder(path.parent)
        with self._scratch() as (scratch, file):
            files.copy(io.BytesIO(lines.encode()), file)
            files.move(scratch, path)

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[tuple[Path, BinaryIO]]:
        """A new temporary file, locked while it is open, and gone afterwards if it was not moved away."""
        self._temporary.mkdir(parents=True, exist_ok=True)
        while True:
            path = self._temporary / secrets.token_hex(8)
            with path.open("xb") as file:
                try:
                    # Another process may have swept it before the lock was ours.
                    if system.try_lock(file) and os.fstat(file.fileno()).st_nlink:
                        yield path, file
                        return
                finally:
                    with contextlib.suppress(OSError):
                        path.unlink()

    def _sweep(self) -> None:
        """Remove what killed writers left: temporary files that nobody locks. A folder we may not write is left alone."""
        with contextlib.suppress(OSError):
            for path in self._temporary.iterdir():
                with contextlib.suppress(OSError), path.open("r+b") as file:
                    if system.try_lock(file):
                        path.unlink()

    @contextlib.contextmanager
    def _lock(self, kind: int) -> Iterator[None]:
        """Hold the store's lock, shared or exclusive. Raises `StoreError` when another process keeps it too long."""
        path = self.root / ".lock"
        try:
            # For reading the lock may be a file that we may not write, or none: then nothing was ever changed here.
            lock = (
                os.open(path, os.O_RDWR | os.O_CREAT, 0o666) if kind == system.EXCLUSIVE else os.open(path, os.O_RDONLY)
            )
        except FileNotFoundError:
            if kind == system.EXCLUSIVE:
                raise
            yield
            return
        try:
            give_up, pause = time.monotonic() + self._lock_seconds, 0.001
            while not system.try_lock(lock, kind):
                if time.monotonic() > give_up:
                    raise StoreError(
                        f"store {self.root}: another process has held {path} for {self._lock_seconds:g} s; "
                        f"it may be stopped (`fuser {path}` names it)"
                    )
                time.sleep(pause)
                pause = min(2 * pause, 0.05)
            yield
        finally:
            os.close(lock)

    @contextlib.contextmanager
    def _reporting(self, action: str, name: str = "", told: tuple[type[OSError], ...] = ()) -> Iterator[None]:
        """Turn an error of the operating system into a line for the reader, but for those that are `told` to the caller.

        `name`: of the object that the action is on.
        """
        try:
            yield
        except told:
            raise
        except OSError as error:
            if name and (stands := self.obstacle(name)) is not None:
                raise self._blocked(action, name, stands) from error
            what = f"{action} object {name}" if name else action
            raise StoreError(f"store {self.root}: cannot {what}: {error.strerror or error}") from error

    def _blocked(self, action: str, name: str, stands: str) -> BlockedObjectError:
        return BlockedObjectError(f"store {self.root}: cannot {action} object {name}: {stands}")


def _signature(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino
