"""Whatever the bytes of a stored object are, with a right checksum, reading it gives what was asked for or one error of ours."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest

from fod_bench.features.feature_set import load_features
from fod_bench.machine.process import ProcessId
from fod_bench.methods.fod.references.stored import load_references
from fod_bench.records.claims import Entry, is_held, take
from fod_bench.records.curves import read_curves
from fod_bench.records.failures import kept_failure
from fod_bench.records.names import (
    curves_name,
    manifest_name,
    normal_name,
    plan_name,
    record_name,
    reference_name,
    state_name,
)
from fod_bench.records.normal import NormalScores, load_normal
from fod_bench.records.run import RunPlan
from fod_bench.records.run_reader import RunReader
from fod_bench.records.scores import LAST
from fod_bench.records.state import DriverState
from fod_bench.records.upkeep.content import check_content
from fod_bench.records.upkeep.parts import manifest_parts, plan_of, record_of
from fod_bench.report import render_report
from fod_bench.store.probe import MARK, check_store
from fod_bench.store.tensors import parse_tensors
from tests.helpers.report_builders import curves, record
from tests.helpers.store_builders import CLAIM, cell
from tests.helpers.strange import Reader, reads_any_json, reads_any_tensors, store_of, tensors

EPOCHS: list[tuple[float | None, float | None]] = [(0.9, 0.8), (0.8, None)]


RECORD = record("a1", cell("a1"), EPOCHS)
RECORD = RECORD.model_copy(update={"run": RECORD.run.model_copy(update={"claim": CLAIM})})
PLAN = RunPlan(run_id="r-1", job="j", created="2024", tables=[1], cells=[cell("a1")], features=["f"], references=["x"])
NORMAL = NormalScores(key="a1", scores=[0.5, 1.0], medians=[0.1, 0.1], maxima=[0.6, 1.0])
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


LEVEL = np.zeros((2, 4, 4, 3), np.float32)
TRAIN = tensors({"level_8": LEVEL}, key="f")
TEST = tensors({"level_8": LEVEL, "masks": np.zeros((2, 32, 32), np.uint8), "labels": np.zeros(2, np.uint8)}, key="f")
REFERENCE = tensors({"level_8/features": np.zeros((4, 4, 1, 3), np.float32)}, facts="{}")


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
READERS: dict[str, tuple[bytes, Reader]] = {
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
    "normal": (
        NORMAL.model_dump_json().encode(),
        lambda content: load_normal(store_of(**{normal_name("a1", CLAIM, LAST, "rec"): content}), RECORD, LAST, "rec"),
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
HEADERS: dict[str, tuple[bytes, Reader]] = {
    "tensors": (TRAIN, lambda content: parse_tensors("a", content)),
    "train": (TRAIN, lambda content: features_of(MANIFEST, train=content)),
    "test": (TEST, lambda content: features_of(MANIFEST, test=content)),
    "references": (REFERENCE, lambda content: load_references(store_of(**{reference_name("x"): content}), "x")),
    "weights": (TRAIN, lambda content: check_content(store_of(), f"trials/f/{CLAIM}/last.safetensors", content)),
}


@pytest.mark.parametrize("kind", READERS)
def test_no_json_is_too_strange(kind: str) -> None:
    reads_any_json(*READERS[kind])


@pytest.mark.parametrize("kind", HEADERS)
def test_no_tensor_file_is_too_strange(kind: str) -> None:
    reads_any_tensors(*HEADERS[kind])
