"""Numpy arrays in a store, as safetensors files: saved through a temporary file, loaded as a memory map."""

from __future__ import annotations

import json
import math
import mmap
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from fod_bench.errors import StoreError
from fod_bench.store.base import Store
from fod_bench.store.reading import reading

_TYPES: dict[str, np.dtype[Any]] = {
    code: np.dtype(name)
    for code, name in {
        "BOOL": "?",
        "U8": "u1",
        "I8": "i1",
        "U16": "<u2",
        "I16": "<i2",
        "U32": "<u4",
        "I32": "<i4",
        "U64": "<u8",
        "I64": "<i8",
        "F16": "<f2",
        "F32": "<f4",
        "F64": "<f8",
    }.items()
}
_FORM = "safetensors file as fod-bench writes them"
_METADATA_KEY = "metadata"
"""All metadata stand as JSON under one key: safetensors writes several in changing order, and equal tensors should give
equal bytes."""


def save_tensors(
    store: Store,
    name: str,
    tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
    *,
    new: bool = False,
) -> bool:
    """Store `tensors` and `metadata` as object `name`; the same input gives the same bytes.

    With `new` an object of that name is left as it is, and the answer is False: see `Store.create`.

    The file is written to the system's temporary folder (`TMPDIR`) on its way. Raises `ValueError` for a tensor of a type
    that cannot be stored or metadata that are not text, `StoreError` when writing fails.
    """
    for key, tensor in tensors.items():
        if tensor.dtype.newbyteorder("<") not in _TYPES.values():
            raise ValueError(f"{name}: tensor {key!r} has type {tensor.dtype}; real numbers and booleans can be stored")
    for key, value in (metadata or {}).items():
        if not isinstance(value, str):
            raise ValueError(f"{name}: metadata {key!r} is {value!r}; metadata are text")
    # safetensors takes the memory as it lies, so arrays must be contiguous; `asarray` copies only those that are not.
    contiguous = {
        key: np.asarray(tensor, dtype=tensor.dtype.newbyteorder("<"), order="C") for key, tensor in tensors.items()
    }
    try:
        folder = tempfile.TemporaryDirectory(prefix="fod-bench-")
    except OSError as error:
        raise StoreError(f"cannot write {name}: no temporary folder (set by TMPDIR): {error}") from error
    with folder:
        path = Path(folder.name) / "tensors.safetensors"
        try:
            save_file(contiguous, path, metadata={_METADATA_KEY: json.dumps(dict(metadata or {}), sort_keys=True)})
        except (OSError, SafetensorError) as error:
            raise StoreError(f"cannot write {name}: temporary folder {folder.name} (set by TMPDIR): {error}") from error
        if new:
            return store.create(name, path)
        store.put(name, path)
        return True


def load_tensors(store: Store, name: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Tensors and metadata of object `name`.

    The arrays are read-only views of a memory map: a page is read when it is touched, and shared between processes. They
    stay whole when the object is replaced or deleted. Raises `ObjectMissingError`, and `DamagedObjectError` for an object
    that is damaged or was not made by `save_tensors`.
    """
    try:
        with store.open(name) as file, reading(name, _FORM, store.location(name)):
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return parse_tensors(name, mapped, store.location(name))
    except OSError as error:
        raise StoreError(f"cannot read {store.location(name)}: {error.strerror}") from error


def parse_tensors(
    name: str, content: bytes | mmap.mmap, place: str = ""
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Tensors, as views, and metadata of the content of object `name`. Raises `DamagedObjectError`."""
    with reading(name, _FORM, place):
        return _read(content)


def _read(mapped: bytes | mmap.mmap) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Views of the tensors in a safetensors file: 8 bytes of header length, a JSON header, the tensors' bytes.

    The library itself copies every array when it reads for numpy, hence the few lines.
    """
    start = 8 + int.from_bytes(mapped[:8], "little")
    header: dict[str, Any] = json.loads(mapped[8:start])
    metadata = json.loads(header.pop("__metadata__")[_METADATA_KEY])
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("the metadata are no mapping of texts")
    tensors = {}
    for key, entry in header.items():
        dtype, shape, (begin, end) = _TYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
        if not all(type(size) is int for size in (*shape, begin, end)):
            raise ValueError(f"the place of tensor {key!r} is not of whole numbers")
        count = math.prod(shape)
        if min(shape, default=0) < 0 or begin < 0 or end - begin != count * dtype.itemsize:
            raise ValueError(f"the place of tensor {key!r} does not fit its shape")
        tensors[key] = np.frombuffer(mapped, dtype, count, start + begin).reshape(shape)
    return tensors, metadata
