"""Whatever the bytes of a stored object are, with a right checksum, reading it gives what was asked for or one error of ours."""

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
from fod_bench.features.feature_set import load_features
from fod_bench.machine.process import ProcessId
from fod_bench.methods.fod.references.stored import load_references
from fod_bench.records.claims import Entry, is_held, take
from fod_bench.records.curves import read_curves
from fod_bench.records.failures import kept_failure
from fod_bench.records.names import curves_name, manifest_name, plan_name, record_name, reference_name, state_name
from fod_bench.records.run import RunPlan
from fod_bench.records.run_reader import RunReader
from fod_bench.records.state import DriverState
from fod_bench.records.upkeep.content import check_content
from fod_bench.records.upkeep.parts import manifest_parts, plan_of, record_of
from fod_bench.report import render_report
from fod_bench.store.probe import MARK, check_store
from fod_bench.store.tensors import parse_tensors
from tests.helpers.report_builders import MemoryStore, curves, record
from tests.helpers.store_builders import CLAIM, cell

DEEP = "[" * 100_000 + "]" * 100_000
EPOCHS: list[tuple[float | None, float | None]] = [(0.9, 0.8), (0.8, None)]


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
        from fod_bench.store.base import check_name

        there = check_name(name) in self.objects
        self.objects.setdefault(name, data)
        return not there

    def delete(self, name: str) -> None:
        self.objects.pop(name, None)


RECORD = record("a1", cell("a1"), EPOCHS)
RECORD = RECORD.model_copy(update={"run": RECORD.run.model_copy(update={"claim": CLAIM})})
PLAN = RunPlan(run_id="r-1", job="j", created="2024", tables=[1], cells=[cell("a1")], features=["f"], references=["x"])
ENTRY = Entry(
    kind="claim", token="ab", attempt="d:1", process=ProcessId.own(), lease=60.0, states=("trials/k/checkpoints/x",)
)
STATE = DriverState(
    run_id="r-1",
    job="j",
    driver="d",
    process=ProcessId.own(),
    started="2024",
    updated="2024",
    total=1,
    done=0,
    reused=0,
    elsewhere=0,
)
FILES = {part: f"features/f/{CLAIM}/{part}.safetensors" for part in ("train", "test")}


def tensors(arrays: dict[str, np.ndarray], **about: str) -> bytes:
    return save(arrays, {"metadata": json.dumps(about)})


LEVEL = np.zeros((2, 4, 4, 3), np.float32)
TRAIN = tensors({"level_8": LEVEL}, key="f")
TEST = tensors({"level_8": LEVEL, "masks": np.zeros((2, 32, 32), np.uint8), "labels": np.zeros(2, np.uint8)}, key="f")
REFERENCE = tensors({"level_8/features": np.zeros((4, 4, 1, 3), np.float32)}, facts="{}")


def store_of(**objects: bytes) -> Any:
    """A store of objects, whose names are given with `__` for `/` and without what keyword arguments cannot have."""
    store = Bytes()
    store.objects = dict(objects)
    return store


def report(content: bytes) -> None:
    store = store_of(**{plan_name("r-1"): PLAN.model_dump_json().encode(), record_name("a1"): content})
    results = store.read()
    for form in ("markdown", "tidy"):
        with tempfile.TemporaryDirectory() as folder:
            render_report(results, ["1", "plain"], form, Path(folder))


def report_plan(content: bytes) -> None:
    render_report(
        store_of(**{plan_name("r-1"): content, record_name("a1"): RECORD.model_dump_json().encode()}).read(),
        None,
        "csv",
    )


def runs(content: bytes) -> None:
    RunReader(store_of(**{plan_name("r-1"): content, state_name("r-1", "d"): content})).read()


def claim(content: bytes) -> None:
    store = store_of(**{"claims/k/00000001.json": content, "trials/k/checkpoints/x": b""})
    is_held(store, "k")
    take(store, "k", attempt="e:1", states="trials/k/checkpoints/")
    assert all(name.split("/")[1] == "k" for name in store.objects), "nobody else's object is touched"


def features_of(manifest: bytes, train: bytes = TRAIN, test: bytes = TEST) -> None:
    load_features(store_of(**{manifest_name("f"): manifest, FILES["train"]: train, FILES["test"]: test}), "f")


MANIFEST = json.dumps({"files": FILES, "category": "x"}).encode()
READERS: dict[str, tuple[bytes, Callable[[bytes], Any]]] = {
    "record": (RECORD.model_dump_json().encode(), lambda content: record_of(record_name("a1"), content)),
    "record in a report": (RECORD.model_dump_json().encode(), report),
    "record in verify": (
        RECORD.model_dump_json().encode(),
        lambda content: check_content(
            store_of(**{curves_name("a1", CLAIM): curves("a1", cell("a1"), EPOCHS).model_dump_json().encode()}),
            record_name("a1"),
            content,
        ),
    ),
    "plan": (PLAN.model_dump_json().encode(), lambda content: plan_of(plan_name("r-1"), content)),
    "plan in a report": (PLAN.model_dump_json().encode(), report_plan),
    "runs": (PLAN.model_dump_json().encode(), runs),
    "curves": (
        curves("a1", cell("a1"), EPOCHS).model_dump_json().encode(),
        lambda content: read_curves(store_of(**{curves_name("a1", CLAIM): content}), RECORD),
    ),
    "state": (STATE.model_dump_json().encode(), runs),
    "failure": (
        b'{"reason": "x", "kind": ""}',
        lambda content: kept_failure(store_of(**{"trials/k/failure.json": content}), "k"),
    ),
    "claim": (ENTRY.model_dump_json().encode(), claim),
    "commit": (
        ENTRY.model_copy(update={"kind": "commit", "result_name": "trials/k/record.json", "result": "x"})
        .model_dump_json()
        .encode(),
        claim,
    ),
    "manifest": (MANIFEST, lambda content: manifest_parts(manifest_name("f"), content)),
    "features": (MANIFEST, features_of),
    "mark": (b'{"format": 1}', lambda content: check_store(store_of(**{MARK: content}))),
    "probe": (
        ProcessId.own().model_dump_json().encode(),
        lambda content: check_store(store_of(**{MARK: b'{"format": 1}', "probe/x/owner.json": content})),
    ),
}
HEADERS: dict[str, tuple[bytes, Callable[[bytes], Any]]] = {
    "tensors": (TRAIN, lambda content: parse_tensors("a", content)),
    "train": (TRAIN, lambda content: features_of(MANIFEST, train=content)),
    "test": (TEST, lambda content: features_of(MANIFEST, test=content)),
    "references": (REFERENCE, lambda content: load_references(store_of(**{reference_name("x"): content}), "x")),
    "weights": (TRAIN, lambda content: check_content(store_of(), f"trials/f/{CLAIM}/last.safetensors", content)),
}

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
        *way, last = draw(st.sampled_from(places(value)[1:] or [(0,)]))
        inner = value
        for key in way:
            inner = inner[key]
        if draw(st.integers(0, 4)) == 0 and isinstance(inner, dict):
            del inner[last]
        else:
            inner[last] = copy.deepcopy(draw(STRANGE))
        if not isinstance(value, dict) or not value:
            break
    if kind == "deep":
        return json.dumps(value).replace("1", DEEP, 1).encode()
    return json.dumps(value).encode()


def read(reader: Callable[[bytes], Any], content: bytes) -> None:
    try:
        reader(content)
    except FodBenchError as error:
        assert "\n" not in str(error)


FUZZ = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("kind", READERS)
def test_no_json_is_too_strange(kind: str) -> None:
    whole, reader = READERS[kind]
    reader(whole)

    @FUZZ
    @given(altered(whole))
    def strange(content: bytes) -> None:
        read(reader, content)

    strange()
    for content in (DEEP.encode(), b'{"key":' + DEEP.encode() + b"}", b"", b"\xff\xfe", b"null", b"[]", b'"x"', b"7"):
        read(reader, content)


@pytest.mark.parametrize("kind", HEADERS)
def test_no_tensor_file_is_too_strange(kind: str) -> None:
    whole, reader = HEADERS[kind]
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
