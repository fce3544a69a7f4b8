"""The same as `test_stored` of what trainings work on and leave (images, truth, scores, checkpoints), and of the jobs of runs."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from fod_bench.errors import DamagedObjectError
from fod_bench.evaluation.evaluate import evaluate
from fod_bench.features.feature_set import load
from fod_bench.features.truth import TruthSet, load_truth, save_truth
from fod_bench.job import dump_job, parse_job
from fod_bench.job.stored import RunJobs
from fod_bench.methods.fod.references.stored import load_references
from fod_bench.records.curves import Curves
from fod_bench.records.index.append import refresh
from fod_bench.records.index.trials import Trials
from fod_bench.records.names import (
    FEATURES,
    GENERATIONS,
    IMAGES,
    KINDS,
    Kind,
    checkpoints_prefix,
    job_name,
    manifest_name,
    newest_name,
    record_name,
    reference_name,
    scores_name,
    set_file_name,
    truth_name,
)
from fod_bench.records.record import Record
from fod_bench.records.run import RunPlan
from fod_bench.records.scores import LAST, load_scores
from fod_bench.report.kept import computed
from fod_bench.runs.simulate.memory_store import MemoryStore
from fod_bench.store import open_store
from fod_bench.store.tensors import parse_tensors
from fod_bench.trials.progress import TrialProgress
from fod_bench.trials.scores import as_tensors, scorings
from fod_bench.trials.trial import Interrupted
from tests.helpers.store_builders import CLAIM
from tests.helpers.strange import Reader, reads_any_json, reads_any_tensors, store_of, tensors
from tests.helpers.trial_builders import CPU, Watcher, claim, run, trial, trial_data
from tests.store.test_stored import HEADERS, READERS

DATA = cache(trial_data)


@cache
def left() -> tuple[dict[str, bytes], Record, str]:
    """What a trial `a1` left beside its truth, its record, and the name of a checkpoint of `b2`, which was stopped in an epoch."""
    data = DATA()
    about = {
        "key": "t1",
        "category": "nut",
        "notes": ["so"],
        "images": [f"{n}.png" for n in range(len(data.truth.labels))],
    }
    about |= {"left_out": {"defects": 4, "wholly": ["3.png"], "partly": []}, "without_mask": []}
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(folder)
        save_truth(store, TruthSet("t1", data.truth, about))
        asked = trial().model_copy(update={"sets": {"pooled": "b2", "truth": "t1"}})
        record = run(store, asked, data)
        with pytest.raises(Interrupted):
            run(store, trial(key="b2"), data, Watcher(7))
        objects = {info.name: store.get(info.name) for info in store.list()}
    (checkpoint,) = (name for name in objects if name.startswith(checkpoints_prefix("b2")))
    return objects, record, checkpoint


def older(record: Record) -> Record:
    """The record without the metrics that are computed from scores."""
    lacking = {
        score: {metric: values for metric, values in found.items() if not metric.endswith("_ap")}
        for score, found in record.selected.items()
    }
    return record.model_copy(update={"selected": lacking})


def truth(content: bytes) -> None:
    found = load_truth(store_of(**{truth_name("t1"): content}), "t1")
    found.told()
    _, record, _ = left()
    kept = load_scores(store_of(**left()[0]), record, LAST)
    assert kept is not None
    if len(found.truth.labels) == record.counts.test_good + record.counts.test_defect and found.truth.masks.shape[
        1:
    ] == (32, 32):
        evaluate(scorings(record, as_tensors(kept)), found.truth)


def scores(content: bytes) -> None:
    objects, record, _ = left()
    name = scores_name(record.key, record.run.claim, LAST)
    store = store_of(**objects | {name: content})
    assert isinstance(computed(store, older(record), record.selected.keys()), dict), "a report goes on"
    load_scores(store, record, LAST)


def checkpoint(content: bytes) -> None:
    """A trial goes on from it or starts anew, which is made an error here."""
    objects, _, name = left()
    progress = TrialProgress(trial(key="b2"), DATA(), claim(store_of(**objects | {name: content}), "b2"), CPU)
    progress.resume()
    if not progress.resumed_after:
        raise DamagedObjectError("damaged: not used")
    progress.headline()
    while progress.step < progress.method.steps_per_epoch and progress.epoch < progress.method.epochs:
        progress.stepped(progress.method.step(progress.epoch, progress.step), 0.0, 1)
    if progress.epoch < progress.method.epochs:
        progress.finish_epoch()
    Curves.of("b2", progress.results).selected()
    assert progress.kept.keys() <= {"best_image", "best_pixel"}


def stored_job(content: bytes) -> None:
    """A job that cannot be read is as none: its run is shown without it."""
    jobs = RunJobs(store_of(**{job_name("r-1"): content}))
    plans = [RunPlan(run_id=run_id, job="x", created="2024", tables=[], cells=[]) for run_id in ("r-1", "r-2")]
    jobs.differences(plans)
    jobs.of_job(JOB, plans)
    assert "\n" not in jobs.not_run(JOB, "fod-bench run x.yaml", plans)
    if (read := jobs.job("r-1")) is not None:
        dump_job(read)


def metadata(whole: bytes, key: str, reader: Reader) -> tuple[bytes, Reader]:
    """A tensor file's metadatum `key`, which is JSON itself, and what reads the file with another in its place."""
    arrays, about = parse_tensors("whole", whole)

    def with_content(content: bytes) -> None:
        reader(tensors(arrays, **about | {key: content.decode("utf-8", "replace")}))

    return about[key].encode(), with_content


def scales(whole: bytes) -> tuple[bytes, Reader]:
    """As `metadata`; one part is scaled, as larger maps are."""
    first = next(iter(parse_tensors("whole", whole)[0]))
    return json.dumps({first: 0.5}).encode(), metadata(whole, "scales", scores)[1]


def in_set(form: str, root: str, whole: dict[str, bytes], part: str, content: bytes) -> None:
    """Read a set, one of whose objects has that content."""
    objects = {manifest_name("f", root) if name == "manifest" else set_file_name("f", CLAIM, name, root): data
               for name, data in (whole | {part: content}).items()}  # fmt: skip
    found = load(store_of(**objects), form, "f")
    assert found is None or found.nbytes() >= 0


def a_set(root: str, **arrays: np.ndarray) -> dict[str, bytes]:
    files = {part: set_file_name("f", CLAIM, part, root) for part in ("train", "test")}
    manifest = json.dumps(
        {"category": "x", "images": "uint8 RGB", "train": ["a"], "test": ["b"], "files": files}
    ).encode()
    return {"manifest": manifest, "train": tensors(arrays, key="f"), "test": tensors(arrays, key="f")}


SETS = {
    "images": (IMAGES, a_set(IMAGES, images=np.zeros((2, 8, 8, 3), np.uint8))),
    "pooled": (FEATURES, a_set(FEATURES, level_8=np.zeros((2, 4, 4, 3), np.float32))),
    "unpooled": (FEATURES, a_set(FEATURES, level_8=np.zeros((2, 4, 4, 3), np.float32))),
}
REFERENCE = tensors({"level_8/features": np.zeros((4, 4, 1, 3), np.float32)}, facts='{"codes": {"8": 3.0}}')
WRITTEN = (
    "{name: x, datasets: {own: {layout: folder, root: '${ROOT}/own', good: [OK]}}, seeds: [1, 2], grid: {lambda1: [0.1, 0.2]}, "
    "settings: {backbone: resnet18, weights: random, d_model: {8: 16, 16: 16}, heads: 2}, variants: {FOD: {}, P: {views: patch}}}"
)
JOB = parse_job(WRITTEN, "x")


def references(content: bytes) -> None:
    load_references(store_of(**{reference_name("x"): content}), "x")


@cache
def indexed() -> dict[str, bytes]:
    """The objects of an index of what was left."""
    store = MemoryStore()
    for name, content in left()[0].items():
        store.put(name, content)
    refresh(store)
    return {name: store.get(name) for name in store.objects}


def index_with(name: str, content: bytes) -> None:
    """Of an index that cannot be read nothing is used: the store is asked instead."""
    store = MemoryStore()
    for each, data in (indexed() | {name: content}).items():
        store.put(each, data)
    trials, key = Trials(store), left()[1].key
    assert record_name(key) in trials.names({key})
    told = dict(trials.records({key}))
    assert told.get(key, store.get(record_name(key))) == store.get(record_name(key))
    assert len(trials.timings().seconds) == 1


def about_a_generation() -> tuple[bytes, Reader]:
    """What a generation says of itself, which is JSON in the file's metadata, and what reads the index with another there."""
    (name,) = (name for name in indexed() if name.startswith(GENERATIONS))
    table = pq.read_table(io.BytesIO(indexed()[name]))

    def with_content(content: bytes) -> None:
        sink = io.BytesIO()
        pq.write_table(table.replace_schema_metadata({b"fod-bench": content}), sink)
        index_with(name, sink.getvalue())

    return table.schema.metadata[b"fod-bench"], with_content


def jsons() -> dict[str, Callable[[], tuple[bytes, Reader]]]:
    """What is read as JSON, by kind; made when it is its turn."""
    objects, record, name = (lambda: left()[0]), (lambda: left()[1]), (lambda: left()[2])
    found: dict[str, Callable[[], tuple[bytes, Reader]]] = {
        f"manifest of {form}": lambda form=form, root=root, whole=whole: (  # type: ignore[misc]
            whole["manifest"],
            partial(in_set, form, root, whole, "manifest"),
        )
        for form, (root, whole) in SETS.items()
    }
    return found | {
        "about a truth": lambda: metadata(objects()[truth_name("t1")], "about", truth),
        "scales of scores": lambda: scales(objects()[scores_name("a1", record().run.claim, LAST)]),
        "progress of a checkpoint": lambda: metadata(objects()[name()], "progress", checkpoint),
        "facts of references": lambda: metadata(REFERENCE, "facts", references),
        "newest of an index": lambda: (indexed()[newest_name()], partial(index_with, newest_name())),
        "about a generation": about_a_generation,
        "job": lambda: (json.dumps(yaml.safe_load(WRITTEN)).encode(), stored_job),
    }


def files() -> dict[str, Callable[[], tuple[bytes, Reader]]]:
    """What is read as a tensor file."""
    found: dict[str, Callable[[], tuple[bytes, Reader]]] = {
        f"{part} {form}": lambda form=form, root=root, whole=whole, part=part: (  # type: ignore[misc]
            whole[part],
            partial(in_set, form, root, whole, part),
        )
        for form, (root, whole) in SETS.items()
        for part in ("train", "test")
    }
    return found | {
        "truth": lambda: (left()[0][truth_name("t1")], truth),
        "scores": lambda: (left()[0][scores_name("a1", left()[1].run.claim, LAST)], scores),
        "checkpoint": lambda: (left()[0][left()[2]], checkpoint),
    }


@pytest.mark.parametrize("kind", jsons())
def test_no_json_is_too_strange(kind: str) -> None:
    reads_any_json(*jsons()[kind]())


@pytest.mark.parametrize("kind", files())
def test_no_tensor_file_is_too_strange(kind: str) -> None:
    reads_any_tensors(*files()[kind]())


@pytest.mark.parametrize(
    "text", ["a: [1", "a: &a [*a]", "\t", "!!python/object:os.system {}", "name: ${", "- " * 30_000, "? a"]
)
def test_no_job_is_too_strange(text: str) -> None:
    stored_job(text.encode())


def test_every_kind_of_object_has_a_reader_here_or_beside() -> None:
    read: dict[Kind, tuple[str, ...]] = {
        "features": ("features", "train", "test", "manifest of pooled", "train unpooled"),
        "images": ("manifest of images", "train images", "test images"),
        "truth": ("truth", "about a truth"),
        "references": ("references", "facts of references"),
        "records": ("record", "record in a report", "record in verify"),
        "weights": ("weights",),
        "scores": ("scores", "scales of scores"),
        "curves": ("curves",),
        "normal": ("normal",),
        "checkpoints": ("checkpoint", "progress of a checkpoint"),
        "failures": ("failure",),
        "claims": ("claim", "commit"),
        "index": ("newest of an index", "about a generation"),
        "runs": ("plan", "plan in a report", "job"),
        "states": ("state",),
        "probe": ("probe",),
        "mark": ("mark",),
    }
    readers = {*READERS, *HEADERS, *jsons(), *files()}
    assert set(read) == set(KINDS) and readers >= {name for names in read.values() for name in names}


ABOUT: dict[str, object] = {
    "left out": {"left_out": {"defects": 4, "wholly": 3, "partly": []}},
    "notes": {"notes": [3]},
    "names": {"images": list(range(7))},
    "category": {"category": ["nut"]},
}


@pytest.mark.parametrize("change", ABOUT)
def test_a_truth_that_could_not_be_told_is_damaged(change: str) -> None:
    whole, reader = metadata(left()[0][truth_name("t1")], "about", truth)
    with pytest.raises(DamagedObjectError, match="no truth of a category"):
        reader(json.dumps({**json.loads(whole), **ABOUT[change]}).encode())  # type: ignore[dict-item]


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), 1e300, "0.5", [1.0]])
def test_scores_of_a_scale_that_cannot_be_are_damaged(scale: object) -> None:
    whole, reader = scales(left()[0][scores_name("a1", left()[1].run.claim, LAST)])
    with pytest.raises(DamagedObjectError, match="no scores of a trial"):
        reader(json.dumps(dict.fromkeys(json.loads(whole), scale)).encode())


@pytest.mark.parametrize(
    "change",
    [{"epoch": 7}, {"losses": {"other": 1.0}}, {"losses": {}}, {"losses": {"reconstruction": float("nan")}}],
    ids=["epoch", "names", "none", "not finite"],
)
def test_a_checkpoint_whose_epochs_are_of_something_else_is_not_gone_on_from(change: dict[str, object]) -> None:
    """Its record could not be made in the end."""
    objects, _, name = left()
    whole, reader = metadata(objects[name], "progress", checkpoint)
    progress = json.loads(whole)
    progress["results"][-1] |= change
    with pytest.raises(DamagedObjectError, match="not used"):
        reader(json.dumps(progress).encode())
