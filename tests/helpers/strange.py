"""Strange content for what reads stored objects: JSON and tensor files that are nearly right, or not at all."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from fod_bench.errors import DamagedObjectError, FodBenchError
from fod_bench.store.base import check_name
from tests.helpers.report_builders import MemoryStore

DEEP = "[" * 100_000 + "]" * 100_000
Reader = Callable[[bytes], Any]


class Bytes(MemoryStore):
    """The memory store with the rest of what readers ask for."""

    def open(self, name: str) -> BinaryIO:
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.get(name))
            file.flush()
            return Path(file.name).open("rb")

    def info(self, name: str) -> Any:
        return next((info for info in self.list(name) if info.name == name), None)

    def now(self) -> float:
        return 1.0

    def create(self, name: str, data: bytes) -> bool:
        there = check_name(name) in self.objects
        self.objects.setdefault(name, data)
        return not there

    def delete(self, name: str) -> None:
        self.objects.pop(name, None)


def store_of(**objects: bytes) -> Any:
    """A store of objects, whose names are given with `__` for `/` and without what keyword arguments cannot have."""
    store = Bytes()
    store.objects = dict(objects)
    return store


def tensors(arrays: dict[str, np.ndarray], **about: str) -> bytes:
    return save(arrays, {"metadata": json.dumps(about)})


STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 5, 2**31, 2**63, 2**64, 10**30, float("nan"), float("inf"), -0.5, 1e300]),
    st.sampled_from(["", "../../x", "/etc/passwd", "a/b", "\x00", "é" * 300, "x" * 5000, "\ud800", "NaN"]),
    st.recursive(
        st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
)


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every part of plain data."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way, *(place for key, part in inner for place in places(part, (*way, key)))]


@st.composite
def altered(draw: Any, whole: bytes) -> bytes:
    """JSON like `whole`, with strange values in some places, without others, or not JSON at all."""
    kind = draw(st.sampled_from(["values", "values", "values", "deep", "cut", "bytes"]))
    if kind == "bytes":
        return draw(st.binary(max_size=40))
    if kind == "cut":
        return whole[: draw(st.integers(0, len(whole) - 1))]
    value = json.loads(whole)
    for _ in range(draw(st.integers(1, 3))):
        if not places(value)[1:]:
            break
        *way, last = draw(st.sampled_from(places(value)[1:]))
        inner = value
        for key in way:
            inner = inner[key]
        if draw(st.integers(0, 4)) == 0 and isinstance(inner, dict):
            del inner[last]
        else:
            inner[last] = copy.deepcopy(draw(STRANGE))
    if kind == "deep":
        return json.dumps(value).replace("1", DEEP, 1).encode()
    return json.dumps(value).encode()


def read(reader: Callable[[bytes], Any], content: bytes) -> None:
    try:
        reader(content)
    except FodBenchError as error:
        assert "\n" not in str(error)


FUZZ = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def reads_any_json(whole: bytes, reader: Reader) -> None:
    """`reader` reads `whole`, and of anything like it, or quite unlike, it takes what it can or raises one error of ours."""
    reader(whole)

    @FUZZ
    @given(altered(whole))
    def strange(content: bytes) -> None:
        read(reader, content)

    strange()
    for content in (DEEP.encode(), b'{"key":' + DEEP.encode() + b"}", b"", b"\xff\xfe", b"null", b"[]", b'"x"', b"7"):
        read(reader, content)


def reads_any_tensors(whole: bytes, reader: Reader) -> None:
    """The same of a tensor file. What is no such file at all has to be called damaged."""
    reader(whole)
    start = 8 + int.from_bytes(whole[:8], "little")

    def file(header: bytes) -> bytes:
        return len(header).to_bytes(8, "little") + header + whole[start:]

    @FUZZ
    @given(altered(whole[8:start]))
    def strange(header: bytes) -> None:
        read(reader, file(header))

    strange()
    huge = json.loads(whole[8:start])
    first = next(name for name in huge if name != "__metadata__")
    for shape, offsets in (
        ([2**62, 2**62], [0, 4 * 2**124]),
        ([2**61], [0, 2**63]),
        ([0, 2**62], [0, 0]),
        ([1.0], [0, 4.0]),
        ([1] * 100, [0, 4]),
        ([-1, -1], [0, 4]),
        ([True], [0, 4]),
    ):
        header = huge | {first: {"dtype": "F32", "shape": shape, "data_offsets": offsets}}
        read(reader, file(json.dumps(header).encode()))
    deep = huge | {"__metadata__": {"metadata": DEEP}}
    for content in (file(DEEP.encode()), file(json.dumps(deep).encode()), b"", whole[:7], whole[:start], b"\xff" * 8):
        with pytest.raises(DamagedObjectError, match="damaged: "):
            reader(content)
