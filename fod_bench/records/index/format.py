"""The two Parquet files of a generation: what there is of each trial, and the records, row by row the same.

The first says in its metadata which generations before it still count, with the number of their rows and a token of each: whoever
has the newest knows whether the others are all there, and are the ones that were meant.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from fod_bench.errors import DamagedObjectError, StoreError
from fod_bench.records.index.rows import STATES, TIMINGS, UNSURE, Row, State, Timing
from fod_bench.records.names import generation_name, indexed_name
from fod_bench.store import Store
from fod_bench.store.reading import Count, Part

VERSION = 1
"""Of what is in the files. An index of another version is not read, and made anew."""
_GROUP = 128
"""Rows whose records are read together: the least that is read for one of them."""
_ABOUT = b"fod-bench"

_WORDS = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        *(pa.field(name, pa.string()) for name in STATES),
        pa.field("kept", pa.bool_(), nullable=False),
        *(pa.field(name, _WORDS) for name in ("method", "setting", "counts")),
        pa.field("seconds", pa.float64()),
        pa.field("device", _WORDS),
        pa.field("threads", pa.int32()),
    ]
)
"""`kept`: whether the record's bytes are in the other file."""
_RECORDS = pa.schema([pa.field("content", pa.binary())])

_UNFIT = (pa.ArrowException, OSError, ValidationError, ValueError, KeyError, TypeError, OverflowError)


class Member(BaseModel):
    """A generation as later ones name it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: Count
    token: Part
    rows: Count


class About(BaseModel):
    """What a generation says of itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int
    number: Count
    token: Part
    earlier: tuple[Member, ...]
    """Those before it that count, oldest first; of what several say of a trial the last one counts."""
    complete: bool
    """Whether all of them, with it, tell of every trial that lay in the store."""


@dataclass(frozen=True)
class Generation:
    """A generation that was read."""

    about: About
    table: pa.Table
    """Of `SCHEMA`, or some of its columns."""

    @property
    def member(self) -> Member:
        """How later ones name it."""
        return Member(number=self.about.number, token=self.about.token, rows=len(self.table))

    def places(self, keys: pa.Array) -> pa.Array:
        """Numbers of the rows of `keys`, in the order of the rows."""
        return pc.indices_nonzero(pc.is_in(self.table["key"], value_set=keys))


class Writer:
    """Writes the rows of one generation, the records to a temporary file as they come. A context manager."""

    def __init__(self) -> None:
        """Raises `StoreError`, as all that writes does, when the temporary folder (`TMPDIR`) cannot be written."""
        with _writing():
            self._folder = tempfile.TemporaryDirectory(prefix="fod-bench-")
            self._path = Path(self._folder.name) / "records.parquet"
            self._file = pq.ParquetWriter(
                self._path, _RECORDS, compression="zstd", use_dictionary=False, write_statistics=False
            )
        self._columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
        self._contents: list[bytes | None] = []

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        self._folder.cleanup()

    def __len__(self) -> int:
        return len(self._columns["key"])

    def add(self, row: Row) -> None:
        """One more row."""
        timing = row.timing or Timing(*(None,) * len(TIMINGS))  # type: ignore[arg-type]
        values = (row.key, *row.state, row.content is not None, *(getattr(timing, name) for name in TIMINGS))
        for column, value in zip(self._columns.values(), values, strict=True):
            column.append(value)
        self._contents.append(row.content)
        if len(self._contents) == _GROUP:
            self._flush()

    def forget(self, keys: Collection[str]) -> None:
        """Of these trials it is not known what there is."""
        for place, key in enumerate(self._columns["key"] if keys else ()):
            if key in keys:
                for name, value in zip((*STATES, "kept"), (*UNSURE, False), strict=True):
                    self._columns[name][place] = value

    def close(self) -> Path:
        """The records' file, which is whole then."""
        self._flush()
        with _writing():
            self._file.close()
        return self._path

    def content(self, about: About) -> bytes:
        """Of the first file."""
        table = pa.table(
            [pa.array(self._columns[field.name], type=field.type) for field in SCHEMA], schema=SCHEMA
        ).replace_schema_metadata({_ABOUT: about.model_dump_json().encode()})
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd", use_dictionary=["method", "setting", "counts", "device"])
        return sink.getvalue()

    def _flush(self) -> None:
        if self._contents:
            with _writing():
                self._file.write_table(pa.table([pa.array(self._contents, type=pa.binary())], schema=_RECORDS))
        self._contents = []


def read_generation(store: Store, number: int, columns: Sequence[str] | None = None) -> Generation:
    """The generation `number`, of its table the key, `kept` and some columns or all.

    Raises `DamagedObjectError` for what is none of this version, `ObjectMissingError` when it is gone.
    """
    name = generation_name(number)
    with store.open(name) as file, _reading(name):
        found = _opened(file)
        about = About.model_validate_json((found.schema_arrow.metadata or {})[_ABOUT])
        plain = found.schema_arrow.remove_metadata()
        if about.version != VERSION or about.number != number or not plain.equals(SCHEMA):
            raise ValueError(f"it is of version {about.version}, or of another number")
        wanted = None if columns is None else [*dict.fromkeys(("key", "kept", *columns))]
        return Generation(about, found.read(wanted, use_threads=False).unify_dictionaries().combine_chunks())


def read_contents(store: Store, generation: Generation, places: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """`(row, the record's bytes)` of these rows, which are `kept`, in their order.

    Raises `DamagedObjectError`, also after the first ones, `ObjectMissingError` when they are gone.
    """
    name = indexed_name(generation.about.token)
    with store.open(name) as file, _reading(name):
        found = _opened(file)
        if found.metadata.num_rows != len(generation.table) or not found.schema_arrow.equals(_RECORDS):
            raise ValueError("its records are not those of its generation")
        starts, position = _starts(found), 0
        wanted = list(places)
        for group, (start, end) in enumerate(starts):
            inside = position
            while position < len(wanted) and wanted[position] < end:
                position += 1
            if inside < position:
                column = found.read_row_group(group, use_threads=False).column(0)
                for place in wanted[inside:position]:
                    content = column[place - start].as_py()
                    if content is None:
                        raise ValueError(f"it lacks the record of row {place}")
                    yield place, content


def rows_of(store: Store, generation: Generation) -> Iterator[Row]:
    """All rows, with their records, of a generation that was read whole. Raises as `read_contents` does."""
    table = generation.table
    kept = pc.indices_nonzero(table["kept"]).to_pylist()
    contents = read_contents(store, generation, kept)
    for batch in table.to_batches():
        for values in batch.to_pylist():
            content = next(contents)[1] if values["kept"] else None
            state: State = (values["record"], values["mark"], values["log"])
            timing = Timing(*(values[name] for name in TIMINGS)) if values["method"] is not None else None
            yield Row(values["key"], state, content, timing)


def _opened(file: BinaryIO) -> pq.ParquetFile:
    """To be read with `use_threads=False`.

    Arrow's threads let go of what they have read a moment later. When Python is ending by then, they end the process by an abort
    (https://github.com/apache/arrow/issues/49942).
    """
    return pq.ParquetFile(pa.PythonFile(file, mode="r"), pre_buffer=False)  # to buffer takes threads, too


def _starts(file: pq.ParquetFile) -> list[tuple[int, int]]:
    """First row of each group, and the one after its last."""
    found, start = [], 0
    for group in range(file.num_row_groups):
        end = start + file.metadata.row_group(group).num_rows
        found.append((start, end))
        start = end
    return found


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """While a Parquet file is read: whatever strange content raises becomes a `DamagedObjectError`."""
    try:
        yield
    except _UNFIT as error:
        text = " ".join(str(error).split())[:200]
        raise DamagedObjectError(f"object {name} is damaged: no part of an index: {text}") from error


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """While the temporary file is written: an error of the disk is told."""
    try:
        yield
    except OSError as error:
        why = error.strerror or " ".join(str(error).split())
        raise StoreError(
            f"cannot make an index: temporary folder {tempfile.gettempdir()} (set by TMPDIR): {why}"
        ) from error
