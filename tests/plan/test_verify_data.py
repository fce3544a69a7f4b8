"""`fod-bench store verify --data`: images that are not those which the cache, or features and records in the store, name."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from fod_bench.cluster.worker import Worker
from fod_bench.datasets import digests
from fod_bench.features.feature_set import manifest_of
from fod_bench.features.weights import resolve_weights
from fod_bench.job import load_job
from fod_bench.plan import Plan, make_plan
from fod_bench.records.failures import Failure
from fod_bench.records.names import plan_name, record_name
from fod_bench.runs.messages import Attempt, SetTask
from fod_bench.store import Store, open_store
from tests.helpers.commands import TINY
from tests.helpers.dataset_builders import folder_category, image
from tests.helpers.report_builders import record
from tests.helpers.store_builders import call


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a job on two categories, a cache of its own, and files that count as written long ago."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "_SETTLED_NS", -(10**18))
    for name in ("nut", "ring"):
        folder_category(tmp_path / "parts", name)
    image(tmp_path / "parts/ring/train/good/000.png", value=99)
    Path("job.yaml").write_text(
        yaml.safe_dump(
            {"name": "tiny", "datasets": {"own": {"layout": "folder", "root": "parts"}}, "settings": TINY, "seeds": [1]}
        )
    )
    return tmp_path


def planned(*overrides: str) -> Plan:
    return make_plan(load_job("job.yaml", overrides), download=False)


def run(store: Store, *overrides: str) -> Plan:
    """What a run leaves in the store, as far as it says what it was made of."""
    plan = planned(*overrides)
    store.put(f"runs/{plan.run.run_id}/job.yaml", b"name: tiny\n")
    store.put(plan_name(plan.run.run_id), plan.run.model_dump_json().encode())
    for cell in plan.run.cells:
        assert cell.key is not None
        job = plan.trials[cell.key]
        assert job.wanted is not None and job.counts is not None
        category = job.wanted.sets[0].category
        about = {"layout": category.layout, "category": category.name, "fingerprint": job.wanted.sets[0].fingerprint}
        about |= {part: [sample.name for sample in getattr(category, part)] for part in ("train", "test")}
        store.put(manifest_of(job.wanted.sets[0]), json.dumps({**about, "files": {}}).encode())
        changes: dict[str, Any] = {
            "fingerprint": job.wanted.sets[0].fingerprint,
            "counts": job.counts,
            "layout": "folder",
        }
        made = record(cell.key, cell, [(0.9, 0.8)], **changes)
        store.put(record_name(cell.key), made.model_dump_json().encode())
    return plan


def of(plan: Plan, category: str) -> set[str]:
    """Store names of a category's features and record."""
    trial = next(trial for trial in plan.trials.values() if trial.category == category)
    assert trial.wanted is not None
    return {manifest_of(trial.wanted.sets[0]), record_name(trial.key)}


def verify(*arguments: str, code: int) -> dict[str, str]:
    """What is named, and what is said of it."""
    done = call("verify", "--data", "job.yaml", "--store", "store", *arguments, code=code)
    return dict(line.split(": ", 1) for line in done.stdout.splitlines())


def forge(path: Path, content: bytes) -> None:
    """Change a file so that the cache has no way to notice: as if everything that it looks at had stayed."""
    path.write_bytes(content)
    category = path.parents[2]
    place = hashlib.sha256(str(category.resolve()).encode()).hexdigest()[:24]
    cache = Path(f"cache/fod-bench/digests/{place}.json")
    known = json.loads(cache.read_text())
    status = path.stat()
    identity = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev]
    known["files"][path.relative_to(category).as_posix()][0] = identity
    cache.write_text(json.dumps(known))


def test_nothing_differs(folder: Path) -> None:
    run(open_store("store"))
    done = call("verify", "--data", "job.yaml", "--store", "store")
    assert not done.stdout
    assert "16 images in 2 categories read" in done.stderr and "4 feature sets and records of job tiny" in done.stderr
    assert "no difference found" in done.stderr


def test_a_change_that_nothing_shows_is_found_and_noticed_from_then_on(folder: Path) -> None:
    store = open_store("store")
    stale = of(run(store), "nut")
    image = folder / "parts/nut/test/good/000.png"
    forge(image, (folder / "parts/nut/test/good/001.png").read_bytes())
    assert of(planned(), "nut") == stale, "a plan takes the new image for the old one"

    named = verify(code=1)
    assert named.keys() == {"parts/nut/test/good/000.png", *stale}
    assert "is put right" in named["parts/nut/test/good/000.png"]
    assert all("made of other images or masks of category nut" in named[name] for name in stale)
    assert verify(code=1).keys() == stale, "the cache is right now"
    fresh = run(store)
    assert not of(fresh, "nut") & stale and verify(code=0) == {}


def test_masks_exchanged_with_one_another_are_found(folder: Path) -> None:
    stale = of(run(open_store("store")), "ring")
    masks = folder / "parts/ring/ground_truth/crack"
    (masks / "000_mask.png").write_bytes((masks / "001_mask.png").read_bytes() + b"?")
    assert verify(code=1).keys() == stale


def test_the_run_of_a_job_set_otherwise_stands_for_it_where_the_selection_is_the_same(folder: Path) -> None:
    store = open_store("store")
    few, other = run(store, "limit_train=2"), run(store, "epochs=1")
    image(folder / "parts/nut/train/good/000.png", value=200)
    assert verify(code=1).keys() == of(other, "nut")
    assert verify("--set", "limit_train=2", code=1).keys() == of(few, "nut")
    assert verify("--set", "limit_train=1", code=0) == {}


def test_categories_of_one_content_are_told_apart(folder: Path) -> None:
    image(folder / "parts/ring/train/good/000.png", value=60)
    plan = run(open_store("store"))
    assert len(plan.trials) == 1, "they are one training"
    image(folder / "parts/ring/train/good/000.png", value=99)
    (record,) = (record_name(key) for key in plan.trials)
    named = verify(code=1)
    assert named.keys() == {record} and "category ring" in named[record]


def test_what_cannot_be_read_is_named(folder: Path) -> None:
    run(open_store("store"))
    (folder / "parts/nut/ground_truth/dent/000_mask.png").unlink()
    named = verify(code=1)
    assert list(named) == ["own/nut"] and "has no mask" in named["own/nut"]
    (gone,) = verify("--set", "datasets.own.root=nowhere", code=1)
    assert gone == "datasets.own"


def test_options_that_do_not_go_together(folder: Path) -> None:
    assert "not both" in call("verify", "trials/", "--data", "job.yaml", code=2).stderr
    assert "--data" in call("verify", "--set", "epochs=1", code=2).stderr


def test_a_worker_keeps_no_features_of_images_that_changed_since_the_plan(folder: Path) -> None:
    trial = next(iter(planned().trials.values()))
    assert trial.wanted is not None
    worker = Worker("store", 1, gpu=False)
    forge(folder / "parts/nut/test/good/000.png", (folder / "parts/nut/test/good/001.png").read_bytes())
    (failure,) = worker.prepare([SetTask(trial.wanted.sets[0], [], Attempt("d:1", None, 60))])
    assert isinstance(failure, Failure) and failure.kind == "data"
    assert "nut are not those that the run was planned with" in failure.reason
    assert not list(open_store("store").list("features/"))


def test_nor_of_weights_that_did(folder: Path) -> None:
    (folder / "w.safetensors").write_bytes(b"some weights")
    trial = next(iter(planned().trials.values()))
    assert trial.wanted is not None
    request = replace(trial.wanted.sets[0], weights=resolve_weights("resnet18", "w.safetensors", 0, download=False))
    (folder / "w.safetensors").write_bytes(b"more weights")
    (failure,) = Worker("store", 1, gpu=False).prepare([SetTask(request, [], Attempt("d:1", None, 60))])
    assert isinstance(failure, Failure) and failure.kind == "data" and "is not the file that" in failure.reason


def test_images_of_folders_of_ones_own_names_are_compared_too(folder: Path) -> None:
    """For a method that works on images; the folders are `ok` and `nok`."""
    for name in ("nut", "ring"):
        (folder / f"parts/{name}/train/good").rename(folder / f"parts/{name}/train/ok")
        (folder / f"parts/{name}/test/good").rename(folder / f"parts/{name}/test/ok")
    own = {"layout": "folder", "root": "parts", "good": ["ok"]}
    settings = {"method": "draem", "image_size": 64, "width": 4}
    Path("job.yaml").write_text(yaml.safe_dump({"name": "tiny", "datasets": {"own": own}, "settings": settings}))
    plan = run(open_store("store"))
    assert verify(code=0) == {}
    forge(folder / "parts/nut/test/ok/000.png", (folder / "parts/ring/train/ok/000.png").read_bytes())
    assert of(plan, "nut") <= verify(code=1).keys() and not of(plan, "ring") & verify(code=1).keys()
