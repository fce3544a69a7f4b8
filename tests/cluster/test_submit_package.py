"""What of a job a cluster elsewhere would not see, what is sent, and what the first step on the cluster refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from fod_bench import __version__
from fod_bench.cluster.submit import start
from fod_bench.cluster.submit.own_paths import own_paths, unseen
from fod_bench.cluster.submit.package import packaged, versions
from fod_bench.cluster.versions import difference, own_versions
from fod_bench.errors import JobError
from fod_bench.job import load_job, parse_job
from tests.helpers.commands import DRAWN, TINY

BUCKET = "s3://bucket/store"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("FOD_DATA", "FOD_STORE", "EPOCHS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def written(name: str = "sent", **keys: Any) -> str:
    content = {"name": name, "store": BUCKET, "datasets": {"drawn": DRAWN}, "settings": TINY} | keys
    Path(f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return f"{name}.yaml"


def faults(on_nodes: bool = False, **keys: Any) -> list[str]:
    found = unseen(load_job(written(**keys), keep_unset=True), "clusters/aws.yaml", on_nodes)
    assert all("\n" not in fault and "clusters/aws.yaml" in fault for fault in found)
    return found


def own(root: str) -> dict[str, Any]:
    return {"parts": {"layout": "folder", "root": root}}


@pytest.mark.parametrize("root", ["data/parts", "./data/parts", "~/parts", "/home/me/parts"])
def test_data_of_this_machine_are_named_with_what_would_be_right(root: str) -> None:
    (fault,) = faults(datasets=own(root))
    assert fault.startswith("datasets.parts.root: ")
    for said in ("fod-bench data push", "s3://BUCKET/parts", "${FOD_DATA}/parts"):
        assert said in fault
    assert ("--paths-on-nodes" in fault) == root.startswith(("/", "~"))
    assert bool(faults(on_nodes=True, datasets=own(root))) != root.startswith(("/", "~"))


@pytest.mark.parametrize("root", ["s3://bucket/parts", "${FOD_DATA}/parts", "${FOD_DATA:-data}/parts"])
def test_data_that_the_cluster_finds_are_not(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert faults(datasets=own(root)) == []
    monkeypatch.setenv("FOD_DATA", "/home/me/data")  # which is this machine's, and is not sent
    assert faults(datasets=own(root)) == []


@pytest.mark.parametrize(
    "store", ["results/store", "/home/me/store", "${FOD_STORE:-results/store}", "file:///home/me/store"]
)
def test_a_store_that_the_cluster_would_not_share_is_named(store: str) -> None:
    (fault,) = faults(store=store)
    assert fault.startswith("store: ") and "--store s3://BUCKET/PREFIX" in fault


def test_a_store_of_the_clusters_is_not() -> None:
    assert faults(store="${FOD_STORE}") == faults(store="s3://bucket") == []
    assert faults(on_nodes=True, store="/shared/store") == []


def test_weights_and_parts_of_a_job_count_too() -> None:
    written("inner", datasets=own("inner/data"), settings=TINY | {"weights": "w/inner.safetensors"})
    found = faults(
        include=["inner.yaml"],
        settings=TINY | {"weights": "w/all.safetensors"},
        variants={"A": {"weights": "/w/a.safetensors"}, "B": {"weights": "random"}, "C": {"weights": "pretrained"}},
    )
    keys = [fault.partition(":")[0] for fault in found]
    assert keys == ["settings.weights", "variants.A.weights", "datasets.parts.root", "settings.weights"]
    grid = faults(
        grid={"weights": ["random", "w/b.safetensors"]}, settings={k: v for k, v in TINY.items() if k != "weights"}
    )
    assert [fault.partition(":")[0] for fault in grid] == ["grid.weights"]


def test_the_package_is_the_job_in_one_file_and_what_the_first_step_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOD_DATA", "/secret/place")
    (folder / ".git").mkdir()
    (folder / "data.png").write_bytes(b"image")
    written("inner", datasets=own("${FOD_DATA}/parts"))
    job = load_job(written(include=["inner.yaml"], description="${FOD_DATA}"), ["settings.epochs=7"], keep_unset=True)
    with packaged(job, "clusters/x.yaml", False, "sent.yaml --set settings.epochs=7", ["--only", "FOD/*"]) as package:
        files = {path.name: path.read_text() for path in package.rglob("*")}
        assert sorted(files) == ["job.yaml", "start.py", "submission.json"]
        assert "/secret/place" not in "".join(files.values()) and "${FOD_DATA}/parts" in files["job.yaml"]
        sent = parse_job(files["job.yaml"], "job.yaml", fill=True)
        assert sent == job and [part.settings["epochs"] for part in sent.parts()] == [7, 7]
        about = json.loads(files["submission.json"])
        assert about["arguments"] == ["--only", "FOD/*", "--address", "auto"]
        assert about["versions"] == versions() and "witness" not in about
    assert not package.exists()


def test_variables_that_only_the_cluster_has_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(datasets=own("${FOD_DATA}/parts"), store="${FOD_STORE:-s3://bucket/here}")
    with pytest.raises(JobError, match="FOD_DATA is not set"):
        load_job(path)
    job = load_job(path, keep_unset=True)
    with packaged(job, "x", False, path, []) as package:
        text = (package / "job.yaml").read_text()
    monkeypatch.setenv("FOD_DATA", "/data")
    monkeypatch.setenv("FOD_STORE", "s3://bucket/there")
    there = parse_job(text, "job.yaml", fill=True)
    assert there.datasets["parts"].root == "/data/parts" and there.store == "s3://bucket/there"
    monkeypatch.delenv("FOD_STORE")
    assert parse_job(text, "job.yaml", fill=True).store == "s3://bucket/here"
    with pytest.raises(JobError, match=r"settings.epochs.*EPOCHS"):
        load_job(written(settings=TINY | {"epochs": "${EPOCHS}"}), keep_unset=True)


def test_a_cluster_that_is_to_be_this_machine_is_asked_for_a_file_of_it(folder: Path) -> None:
    job = load_job(written(datasets=own("data/parts")))
    with packaged(job, "local.yaml", True, "sent.yaml", []) as package:
        about = json.loads((package / "submission.json").read_text())
        assert about["folder"] == str(folder) and Path(about["witness"]).stat().st_mode & 0o777 == 0o600
        assert list(start.faults(about)) == []
    (fault,) = start.faults(about)
    assert "local.yaml is not the machine that submits" in fault and "datasets.parts.root (data/parts)" in fault
    assert own_paths(load_job(written())) == []
    with packaged(load_job(written()), "local.yaml", True, "sent.yaml", []) as package:
        assert "witness" not in json.loads((package / "submission.json").read_text()), (
            "nothing of this machine is needed"
        )


@pytest.mark.parametrize(("name", "there"), [("Python", "3.8"), ("Ray", "1.0.0"), ("fod-bench", "0.0.9")])
def test_a_head_with_another_version_is_refused(name: str, there: str) -> None:
    about = {"cluster": "aws.yaml", "versions": versions() | {name: there}}
    (fault,) = start.faults(about)
    assert fault.startswith(f"the head of aws.yaml has {name} {versions()[name]}, this machine {there}; ")


def test_a_head_without_the_program_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "_versions", lambda: versions() | {"fod-bench": None})
    (fault,) = start.faults({"cluster": "aws.yaml", "versions": versions()})
    assert "has no fod-bench for" in fault


def test_a_node_with_other_versions_is_named() -> None:
    here = own_versions()
    assert here["fod-bench"] == __version__ and {"Python", "ray", "torch", "timm"} <= here.keys()
    assert difference("10.0.0.7", here, here | {"more": "1"}) is None
    for name in here:
        said = difference("10.0.0.7", here, here | {name: "0.1"})
        assert said is not None and said.startswith(f"node 10.0.0.7 has {name} 0.1, the run has {here[name]}; ")
        assert f"has no {name}," in str(difference("10.0.0.7", here, here | {name: None}))
