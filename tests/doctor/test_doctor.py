"""What a machine has, and what it lacks: told within a time, with a way to get it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from fod_bench.cli.app import app
from fod_bench.doctor import Finding, cluster, inputs, machine, results
from fod_bench.doctor.finding import within
from fod_bench.errors import DatasetError, StoreError
from fod_bench.job import load_job
from fod_bench.job.schema import Job
from fod_bench.methods.settings import BackboneSettings, FeatureNeed, MethodSettings, Needs, NetworkNeed
from fod_bench.records.names import record_name
from fod_bench.store import open_store
from tests.helpers.commands import DRAWN, TINY
from tests.helpers.dataset_builders import folder_category

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("FOD_DATA", raising=False)


def job(**changes: object) -> Job:
    content = {"name": "mine", "datasets": {"drawn": DRAWN}, "settings": TINY} | changes
    Path("mine.yaml").write_text(yaml.safe_dump(content))
    return load_job(Path("mine.yaml"), [])


def states(found: Iterator[Finding]) -> dict[str, str]:
    return {one.topic: one.state for one in found}


def test_a_job_that_can_run() -> None:
    job()
    result = RUNNER.invoke(app, ["doctor", "mine.yaml"])
    assert result.exit_code == 0, result.stdout
    for topic in ("Python", "packages", "machine", "torch", "Ray", "store", "weights", "data"):
        assert any(line.startswith(topic) for line in result.stdout.splitlines()), topic
    assert result.stderr == "mine can run\n" and not Path("results").exists()


def test_a_job_that_cannot_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "torch", lambda: iter([Finding("torch", "ok", "not asked")]))
    job(datasets={"mine": {"layout": "btad", "root": "none"}}, settings=TINY | {"weights": "pretrained"})
    result = RUNNER.invoke(app, ["doctor", "mine.yaml", "--json"])
    told = json.loads(result.stdout)
    assert result.exit_code == 1 and told["missing"] == ["data", "weights"]
    remedies = {one["topic"]: one["remedy"] for one in told["found"] if one["state"] == "missing"}
    assert "fod-bench data fetch btad" in remedies["data"] and "--set weights=FILE" in remedies["weights"]
    assert result.stderr == "missing: data, weights\n"


def test_without_a_job_nothing_is_missing_that_nobody_asked_for() -> None:
    found = [*inputs.weights(None), *inputs.data(None)]
    assert {one.state for one in found} == {"note"} and all(one.remedy for one in found)
    folder_category(Path("data/mvtec"), "bottle")
    mvtec = next(inputs.data(None))
    assert "has 1 of 15 categories" in mvtec.said


def test_every_part_on_one_folder_is_looked_at() -> None:
    folder_category(Path("mine"), "bolt")
    Path("mine/nut/OK").mkdir(parents=True)
    base = {"layout": "folder", "root": "mine"}
    parts = {
        "first": base | {"categories": ["bolt"]},
        "again": base | {"categories": ["bolt"], "limit": {"train": 1}},
        "second": base | {"categories": ["nut"]},
        "third": base | {"categories": ["bolt"], "good": ["OK"]},
    }
    found = list(inputs.data(job(datasets=parts)))
    assert [one.state for one in found] == ["ok", "missing", "missing"]
    assert found[1].said.startswith("second: ") and found[2].said.startswith("third: ")


def test_weights_are_what_the_methods_say_that_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what their keys are called."""

    class Own(MethodSettings):
        def needs(self) -> Needs:
            return Needs(
                features=(FeatureNeed("resnet18", "none.safetensors", 0, "float32", (8,)),),
                network=NetworkNeed("resnet50", "random", 0, (8,)),
            )

    class Idle(BackboneSettings):
        def needs(self) -> Needs:
            return Needs(images=True)

    given = job()
    monkeypatch.setattr(Job, "rows", lambda self: [("own", Own()), ("idle", Idle())])
    first, second = inputs.weights(given)
    assert first.state == "missing" and "none.safetensors" in first.said
    assert second.state == "ok" and second.said.startswith("resnet50: random")


def test_a_python_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    assert next(machine.python()).state == "ok"
    monkeypatch.setattr(metadata, "metadata", lambda name: {"Requires-Python": ">=99"})
    found = next(machine.python())
    assert (found.state, found.remedy) == ("missing", "Python >=99 is needed")


def test_wrong_calls_are_refused() -> None:
    assert RUNNER.invoke(app, ["doctor", "--set", "epochs=1"]).exit_code == 2
    missing = RUNNER.invoke(app, ["doctor", "none.yaml"])
    assert missing.exit_code == 1 and "none.yaml" in missing.stderr


def test_what_does_not_answer_is_not_waited_for() -> None:
    ended = threading.Event()

    def silent() -> Iterator[Finding]:
        ended.wait()
        yield Finding("store", "ok", "at last")

    (found,) = within(0.05, "store", silent)
    ended.set()
    assert found.state == "missing" and "no answer within" in found.said


@pytest.mark.parametrize("error", [DatasetError("no folder\n  1. make one"), RuntimeError("broken package")])
def test_faults_are_findings(error: Exception) -> None:
    def broken() -> Iterator[Finding]:
        yield Finding("data", "ok", "the first")
        raise error

    first, second = within(5, "data", broken)
    assert first.state == "ok" and second.state == "missing" and str(error).splitlines()[0] in second.said


def test_packages_that_are_missing_or_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    told = ["torch>=999", "no-such-package>=1", "numpy>=1", 'anomalib>=2; extra == "anomalib"']
    monkeypatch.setattr(metadata, "requires", lambda name: told)
    first = next(machine.packages())
    assert first.state == "missing" and "numpy" not in first.said
    assert "no-such-package is not there" in first.said and "needed is >=999" in first.said


def test_a_torch_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for body, said in (("exit 134", "ended with 134"), ("echo 'ImportError: libcuda' >&2; exit 1", "libcuda")):
        python = tmp_path / "python"
        python.write_text(f"#!/bin/sh\n{body}\n")
        python.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(python))
        (found,) = machine.torch()
        assert found.state == "missing" and said in found.said


def torch_that_says(tmp_path: Path, told: dict[str, object]) -> str:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(told)}\nEND\n")
    python.chmod(0o755)
    return str(python)


@pytest.mark.parametrize(
    ("cuda", "gpus", "driver", "state", "said"),
    [
        ("13.2", [["NVIDIA L4", 24 * 2**30]], True, "ok", "NVIDIA L4, 24.0 GiB"),
        (None, [], True, "note", "PyTorch is built without CUDA"),
        ("13.2", [], True, "note", "finds no GPU"),
        ("13.2", [], False, "note", "everything runs on the processor"),
    ],
)
def test_gpus(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cuda: str | None,
    gpus: list[object],
    driver: bool,
    state: str,
    said: str,
) -> None:
    told = {"version": "2.15.0", "cuda": cuda, "gpus": gpus}
    monkeypatch.setattr(sys, "executable", torch_that_says(tmp_path, told))
    _, gpu = machine.torch(driver=tmp_path if driver else tmp_path / "none")
    assert (gpu.topic, gpu.state) == ("GPU", state) and said in gpu.said


def test_stores(tmp_path: Path) -> None:
    assert states(results.store("results/store")) == {"store": "ok"}
    assert not Path("results").exists()
    (found,) = results.store(".")
    assert found.said.startswith("., no results yet; ")
    open_store(".").put(record_name("k1"), b"{}")
    (found,) = results.store(".")
    assert found.said.startswith("., with results in it; ")
    Path("file").write_text("x")
    (found,) = results.store("file/store")
    assert found.state == "missing" and "is no folder" in found.said
    with pytest.raises(StoreError):
        list(results.store("s3:bucket"))
    if os.geteuid():
        tmp_path.chmod(0o500)
        (found,) = results.store("results/store")
        tmp_path.chmod(0o700)
        assert found.state == "missing" and "may not be written" in found.said


def test_a_bucket_that_is_out_of_reach_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-value")
    monkeypatch.setattr(results, "_PATIENCE", 0.2)
    uri = "s3://bucket/prefix?endpoint=http://127.0.0.1:9&region=us-east-1&addressing=path"
    (found,) = within(60, "store", lambda: results.store(uri))
    assert found.state == "missing" and "secret-value" not in found.said


def test_ray_is_started_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    began = []

    @contextlib.contextmanager
    def start(note: Callable[[str], None]) -> Iterator[None]:
        began.append(True)
        note("a short path was taken")
        yield

    assert not began and states(cluster.ray()) == {"Ray": "ok"}
    found = [one for one in cluster.ray(start) if "/dev/shm" not in one.said]
    assert began and "started in" in found[0].said and found[1].said == "a short path was taken"
