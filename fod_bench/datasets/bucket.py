"""Data sets in a bucket: known by their manifest, fetched by a node when it reads the first image of a category, and then once.

What a layout makes of file names is asked of a folder with empty files of these names. The files that a category uses lie in
the node's cache one after the other, as one file: no file of another category is ever fetched.
"""

from __future__ import annotations

import collections
import hashlib
import mmap
import shlex
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fod_bench.datasets.base import Sample, SampleLimit
from fod_bench.datasets.files import FileCategory, open_files
from fod_bench.datasets.images import Content
from fod_bench.datasets.layout import Layout, Scan
from fod_bench.datasets.manifest import MANIFEST, MAX_BYTES, Listed, content_name, parse_manifest
from fod_bench.errors import DatasetError, StoreError
from fod_bench.store.address import S3Address, bucket_address
from fod_bench.store.base import ObjectMissingError

if TYPE_CHECKING:
    from fod_bench.store.s3.files import BucketFiles

REMEMBERED_SECONDS = 60.0
"""For so long a manifest that was read, or could not be, is not asked for again."""
_READERS, _AHEAD = 16, 32
"""Files that are fetched at once, and that may lie in memory before they are written."""
_WHAT = "data set"

Value = TypeVar("Value")


@dataclass(frozen=True)
class BucketRoot:
    """The root of a data set in a bucket."""

    address: S3Address
    listed: Mapping[str, Listed]
    """Posix path below the root to what is there."""
    names: Path
    """A folder with an empty file for each."""
    _holder: tempfile.TemporaryDirectory[str]
    """Removes it when nobody needs it any more."""

    @contextmanager
    def told(self) -> Iterator[None]:
        """While the folder of names is looked at: an error tells of the bucket instead."""
        with _told(self.names, self.address):
            yield


def bucket_root(uri: str) -> BucketRoot:
    """The data set at `uri`, an address as a store's. Raises `DatasetError` when its manifest cannot be had."""
    now = time.monotonic()
    kept = _known.get(uri)
    if kept is None or now - kept[0] > REMEMBERED_SECONDS:
        try:
            kept = now, _read_root(uri)
        except (DatasetError, StoreError) as error:
            kept = now, DatasetError(str(error))
        _known[uri] = kept
    if isinstance(kept[1], DatasetError):
        raise DatasetError(str(kept[1]))
    return kept[1]


_known: dict[str, tuple[float, BucketRoot | DatasetError]] = {}


def open_in_bucket(layout: Layout, uri: str, name: str, limit: SampleLimit | None) -> FileCategory:
    """The category `name` of the data set at `uri`; nothing is fetched but the manifest. Raises as `open_files`."""
    root = bucket_root(uri)
    with root.told():
        return open_files(layout, root.names, name, limit, partial(BucketCategory, root))


class BucketCategory(FileCategory):
    """A category whose files lie in a bucket. It knows them by the manifest, wherever it is sent."""

    def __init__(self, root: BucketRoot, layout: Layout, name: str, folder: Path, scan: Scan) -> None:
        super().__init__(layout, name, folder, scan)
        below = "" if folder == root.names else f"{folder.relative_to(root.names).as_posix()}/"
        self._address, self._top = root.address, root.names
        self._listed = {name: entry for name, entry in root.listed.items() if name.startswith(below)}
        self._here = _Here()

    def read_image(self, sample: Sample) -> Image.Image:
        with _told(self._top, self._address):
            return super().read_image(sample)

    def read_mask(self, sample: Sample) -> NDArray[np.uint8] | None:
        with _told(self._top, self._address):
            return super().read_mask(sample)

    def _file(self, path: Path) -> Content:
        name = self._name(path)
        return Content(self._content(name), f"{self._address.place}/{name}")

    def _digests_of(self, paths: Sequence[Path]) -> list[str]:
        return [self._listed[self._name(path)].digest for path in paths]

    def _digests_anew(self, paths: Sequence[Path]) -> tuple[list[str], list[Path]]:
        digests = [hashlib.sha256(self._content(self._name(path))).hexdigest() for path in paths]
        wrong = [path for path, digest in zip(paths, digests, strict=True) if digest != self._digests_of([path])[0]]
        return digests, wrong

    def _name(self, path: Path) -> str:
        return path.relative_to(self._top).as_posix()

    def _content(self, name: str) -> memoryview:
        """The content of a file in use; all of them are fetched with the first."""
        with self._here.lock:
            if self._here.fetched is None or not self._here.fetched.has(self._listed[name]):
                used = {self._name(path): self._listed[self._name(path)] for path in self._files().values()}
                self._here.fetched = _Fetched(self._address, used)
            return self._here.fetched.content(self._listed[name])


class _Here:
    """What this process has of a category's files; not sent to others."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.fetched: _Fetched | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _Here, ()


class _Fetched:
    """Files in this node's cache, one after the other, mapped into memory."""

    def __init__(self, address: S3Address, used: Mapping[str, Listed]) -> None:
        """Fetch them unless they are there.

        Raises `DatasetError` for files that are not those of the manifest, `StoreError` when the server fails.
        """
        from fod_bench.store.cache import NodeCache
        from fod_bench.store.s3.files import BucketFiles

        unique = {entry.digest: (name, entry) for name, entry in sorted(used.items())}
        self._wanted = [unique[digest] for digest in sorted(unique)]
        self._starts: dict[str, int] = {}
        size = 0
        for _, entry in self._wanted:
            self._starts[entry.digest] = size
            size += entry.size
        name = content_name(entry for _, entry in self._wanted)
        files = BucketFiles(address, _WHAT)
        file = NodeCache.of_this_node().open(name, size, partial(self._pieces, files), self._is_whole)
        with file:
            self._mapped = memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else b"")

    def has(self, entry: Listed) -> bool:
        """Whether it is one of the files."""
        return entry.digest in self._starts

    def content(self, entry: Listed) -> memoryview:
        """The content of one of the files."""
        start = self._starts[entry.digest]
        return self._mapped[start : start + entry.size]

    def _pieces(self, files: BucketFiles) -> Iterator[bytes]:
        return _ahead(lambda wanted: _fetch(files, *wanted), self._wanted)

    def _is_whole(self, file: BinaryIO) -> bool:
        contents = ((entry.digest, file.read(entry.size)) for _, entry in self._wanted)
        return all(hashlib.sha256(content).hexdigest() == digest for digest, content in contents) and not file.read(1)


def _fetch(files: BucketFiles, name: str, entry: Listed) -> bytes:
    """A file as the manifest names it; asked for twice, since it may be damaged on its way. Raises `DatasetError`, `StoreError`."""
    place = files.location(name)
    for _ in range(2):
        try:
            content = files.read(name, entry.size)
        except ObjectMissingError:
            raise DatasetError(f"{place} is not there, though {MANIFEST} names it; {_AGAIN}") from None
        if content is not None and hashlib.sha256(content).hexdigest() == entry.digest:
            return content
    raise DatasetError(f"{place} is not the file that {MANIFEST} names: its content is another; {_AGAIN}")


_AGAIN = "have `fod-bench data push` write the data set again"


def _ahead(work: Callable[[Any], Value], wanted: Sequence[Any]) -> Iterator[Value]:
    """`work` of each, in order, by threads that are a bounded number of results ahead."""
    left = iter(wanted)
    pool = ThreadPoolExecutor(_READERS)
    try:
        pending: collections.deque[Future[Value]] = collections.deque(
            pool.submit(work, one) for one in islice(left, _AHEAD)
        )
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(work, one) for one in islice(left, 1))
            yield result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _read_root(uri: str) -> BucketRoot:
    from fod_bench.store.s3.files import BucketFiles

    address = bucket_address(uri, _WHAT)
    files = BucketFiles(address, _WHAT)
    place, written = files.location(MANIFEST), shlex.quote(address.uri)
    try:
        content = files.read(MANIFEST, MAX_BYTES)
    except ObjectMissingError:
        raise DatasetError(
            f"{address.place} has no {MANIFEST}, which names a data set's files: `fod-bench data push FOLDER {written}` "
            f"writes both, `fod-bench data manifest {written}` the manifest of files that are there"
        ) from None
    if content is None:
        raise DatasetError(f"{place} is larger than {MAX_BYTES >> 20} MiB, so it is no manifest")
    listed = parse_manifest(content, place)
    holder = tempfile.TemporaryDirectory(prefix="fod-bench-names-", ignore_cleanup_errors=True)
    # A data set of one category has its folder's name.
    names = Path(holder.name) / (address.prefix.rstrip("/").rpartition("/")[2] or address.bucket)
    try:
        names.mkdir()
        for folder in {parent for name in listed for parent in Path(name).parents}:
            (names / folder).mkdir(parents=True, exist_ok=True)
        for name in listed:
            (names / name).touch()
    except OSError as error:
        raise DatasetError(f"{names}: the names of {address.place} cannot be written: {error.strerror}") from error
    return BucketRoot(address, listed, names, holder)


@contextmanager
def _told(names: Path, address: S3Address) -> Iterator[None]:
    try:
        yield
    except DatasetError as error:
        raise DatasetError(str(error).replace(str(names), address.place)) from error
