"""What every method owes the program, whichever it is: built in, or offered by an installed package."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import yaml

from fod_bench.errors import TrialError
from fod_bench.job import load_job
from fod_bench.job.settings import setting_keys
from fod_bench.methods import registry
from fod_bench.methods.registry import BUILT_IN, method_class, settings_class
from fod_bench.plan import TrialJob, make_plan
from fod_bench.predict.find import FoundTrial
from fod_bench.predict.load import predictor_of
from fod_bench.predict.onnx import OPSET, TOLERANCE, export_onnx
from fod_bench.records.claims import Claim, take
from fod_bench.records.fit import curves_faults, key_faults
from fod_bench.records.names import record_name, weights_name
from fod_bench.records.normal import load_normal
from fod_bench.records.record import Record
from fod_bench.records.run import Cell, RunPlan
from fod_bench.records.scores import load_scores
from fod_bench.store import Store, open_store
from fod_bench.store.tensors import load_tensors
from fod_bench.trials.cost import measure_trial
from fod_bench.trials.data import TrialData
from fod_bench.trials.detect import stored_detector
from fod_bench.trials.prepare import Made, Order, Preparation
from fod_bench.trials.scores import TestImages, as_arrays, as_tensors, scorings
from tests.helpers.commands import DRAWN, TINY
from tests.helpers.trial_builders import Killed, Watcher, run_trial

CPU = torch.device("cpu")
PLUGIN = Path(__file__).parents[1] / "helpers" / "plugin"
RESNET: dict[str, Any] = {"backbone": "resnet18", "weights": "random", "image_size": 64}
SMALL: dict[str, dict[str, Any]] = {
    "fod": TINY,
    "patchcore": RESNET | {"coreset_ratio": 0.1},
    "padim": RESNET | {"channels": 20},
    "cflow": RESNET | {"blocks": 2, "condition": 16, "fiber": 32, "epochs": 2, "sub_epochs": 1},
    "draem": {"image_size": 64, "width": 4, "batch_size": 2, "epochs": 2, "evaluate_every": 1},
    "mkd": RESNET | {"batch_size": 3, "epochs": 2, "evaluate_every": 1},
    "patchsvdd": {"image_size": 64, "batch_size": 4, "repeats": 2, "epochs": 2, "evaluate_every": 1},
    "nearest_patch": RESNET,
}
"""Settings of a fitting that takes a moment."""


@pytest.fixture(scope="module", autouse=True)
def installed() -> Iterator[None]:
    """The package that offers `nearest_patch`."""
    cached = (registry._offered, settings_class, setting_keys)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGIN))
        for one in cached:
            one.cache_clear()
        yield
    for one in cached:
        one.cache_clear()
    for module in ("nearest_patch", "held_patch"):
        sys.modules.pop(module, None)


@pytest.fixture(scope="module", params=list(SMALL))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def planned(name: str, tmp_path_factory: pytest.TempPathFactory) -> TrialJob:
    """The training of the method on a small drawn category, from a job file."""
    return plan(name, tmp_path_factory.mktemp("job"))


def plan(name: str, folder: Path, **changes: Any) -> TrialJob:
    content = {"name": "small", "datasets": {"drawn": DRAWN}, "settings": SMALL[name] | {"method": name} | changes}
    (folder / "job.yaml").write_text(yaml.safe_dump(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        (trial,) = make_plan(load_job(folder / "job.yaml"), download=False).trials.values()
    return trial


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(str(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def data(planned: TrialJob, store: Store) -> TrialData:
    """What the method says it needs, made and read back by way of the store."""
    return data_of(planned, store)


def data_of(planned: TrialJob, store: Store) -> TrialData:
    assert planned.wanted is not None
    preparation, reference = Preparation(store, CPU), planned.settings.needs().reference
    for number, request in enumerate(planned.wanted.sets):
        wanted = [reference] if reference is not None and number == 0 else []
        if preparation.stored(request, wanted) is None:
            (made,) = preparation.make([Order(request, wanted, claim(store, request.key))])
            assert isinstance(made, Made) and not made.unmade, made
    return preparation.data(planned.trial(1e9), list(planned.wanted.keys().values()))


def claim(store: Store, key: str) -> Claim:
    claimed = take(store, key, attempt="test", previous="test", states=f"trials/{key}/checkpoints/")
    assert isinstance(claimed, Claim)
    return claimed


@pytest.fixture(scope="module")
def record(planned: TrialJob, store: Store, data: TrialData) -> Record:
    """Of a fitting that nothing disturbed."""
    return run_trial(planned.trial(1e9), data, claim(store, planned.key), Watcher())


def test_every_method_is_here() -> None:
    assert set(SMALL) == {*BUILT_IN, "nearest_patch"}


def test_a_training_is_told_by_plain_data_that_scoring_does_not_touch(name: str, planned: TrialJob) -> None:
    settings = planned.settings
    told = settings.training()
    assert json.loads(json.dumps(told)) == json.loads(
        json.dumps(settings_class(name).complete(settings.model_dump()).training())
    )
    assert told["method"] == name and told["image_size"] == 64
    for rule in settings.rules():
        other = settings_class(name).complete(settings.model_dump() | {"scoring": rule})
        assert other.training() == told and other.score.startswith(rule)


def test_it_leaves_a_record_that_answers_its_cells(planned: TrialJob, record: Record) -> None:
    assert record.primary_score == planned.settings.score and record.primary_score in record.selected
    for values in record.selected.values():
        best, _, last, _ = values["image_auroc"]
        assert best is not None and last is not None and best >= last
    assert record.run.claim and not record.undefined


def test_its_record_fits_its_key_and_its_curves_when_it_is_read_again(record: Record, store: Store) -> None:
    """A report takes one that does not for damaged, and a run trains it anew."""
    read = Record.model_validate_json(store.get(record_name(record.key)))
    assert key_faults(read) == curves_faults(store, read) == []
    altered = read.model_copy(update={"setting": read.setting | {"image_size": 65}})
    assert key_faults(altered) == ["its key is not that of its method, seed, setting and features"]


def test_killed_at_any_moment_it_goes_on_to_the_same_record(
    planned: TrialJob, record: Record, data: TrialData, tmp_path: Path
) -> None:
    store, asked = open_store(str(tmp_path / "store")), planned.trial(0.0)
    for steps in (1, 2, 1):
        with pytest.raises(Killed):
            run_trial(asked, data, claim(store, asked.key), Watcher(steps, "kill"))
            raise Killed  # it was over before
    again = run_trial(asked, data, claim(store, asked.key), Watcher())
    assert again.result_digest() == record.result_digest()
    assert planned.counts is not None
    assert again.run.resumed_after or planned.settings.steps(planned.counts) == 1, "it went on from a checkpoint"


def test_kept_weights_score_new_images_as_the_test_images_were(store: Store, data: TrialData, record: Record) -> None:
    """By a detector made without training and test images, one image at a time."""
    detector = stored_detector(store, record, CPU)
    kept = load_scores(store, record, "last")
    assert kept is not None
    for number in range(len(data.test)):
        alone = detector.parts(data.test.batch(slice(number, number + 1), CPU))
        assert alone.keys() == kept.keys()
        for part, values in alone.items():
            scale = np.abs(kept[part]).max() or 1.0
            np.testing.assert_allclose(values[0].numpy(), kept[part][number], atol=1e-4 * scale, rtol=1e-4)


def test_predicting_the_test_images_gives_what_evaluation_gave(
    planned: TrialJob, record: Record, store: Store, data: TrialData
) -> None:
    """To the bit in the trial's order; an image by itself, to rounding."""
    assert planned.wanted is not None
    category = planned.wanted.sets[0].category
    predictor = predictor_of(found_trial(planned, record, store), CPU)
    images = [category.read_image(sample) for sample in category.test]
    kept = load_scores(store, record, "last")
    assert kept is not None
    (evaluated,) = scorings(record, as_tensors(kept), predictor.score_name)
    predicted = list(predictor.predict(images, decide=False))
    assert [one.score for one in predicted] == evaluated.images.tolist()
    for one, image, pixels in zip(predicted, images, evaluated.pixels.float().numpy(), strict=True):
        np.testing.assert_array_equal(one.map, pixels)
        (alone,) = predictor.predict(image, decide=False)
        np.testing.assert_allclose(alone.map, pixels, rtol=1e-3, atol=1e-4 * np.abs(pixels).max())
        assert alone.score == pytest.approx(one.score, rel=1e-3)


def test_a_threshold_comes_from_the_training_images(
    planned: TrialJob, record: Record, store: Store, data: TrialData
) -> None:
    predictor = predictor_of(found_trial(planned, record, store), CPU)
    threshold = predictor.threshold
    assert "training images" in predictor.threshold_from
    scores = load_normal(store, record, "last", predictor.score_name)
    assert scores is not None and len(scores.scores) == len(data.train)
    assert min(scores.scores) <= threshold <= max(scores.scores)


EXPORTED = ("fod", "patchcore", "padim", "cflow", "draem")
"""Methods that can be written as ONNX."""


def test_as_onnx_it_gives_what_torch_gives_or_is_refused(
    name: str, planned: TrialJob, record: Record, store: Store, data: TrialData, tmp_path: Path
) -> None:
    """The export itself compares them, and keeps no file that differs; here on noise, squares and of another size. One takes
    squares alone, which is shorter."""
    found, path, any_size = found_trial(planned, record, store), tmp_path / "model.onnx", name != "padim"
    if name not in EXPORTED:
        with pytest.raises(TrialError, match=f"method {name} cannot be written as ONNX"):
            export_onnx(found, path, any_size=any_size)
        assert not any(tmp_path.iterdir())
        return
    made = export_onnx(found, path, any_size=any_size)
    assert made.difference <= TOLERANCE and made.size == path.stat().st_size
    session = onnxruntime.InferenceSession(str(path))
    known = session.get_modelmeta().custom_metadata_map
    assert known["trial"] == found.name and float(known["threshold"]) and int(known["opset"]) == OPSET
    predictor = predictor_of(found, CPU)
    for side in [(64, 64), (90, 70)][: 1 + any_size]:
        pixels = np.random.default_rng(1).integers(0, 256, (3, *side, 3), np.uint8)
        scores, maps = session.run(["score", "map"], {"images": pixels})
        assert scores.shape == (3,) and maps.shape == (3, 64, 64)
        expected = list(predictor.predict(list(pixels), decide=False))
        within(scores, [one.score for one in expected])
        within(maps, [one.map for one in expected])


def within(values: Any, expected: list[Any]) -> None:
    """As near as an export is checked to be, by a share of the largest value."""
    np.testing.assert_allclose(values, np.stack(expected), rtol=0, atol=TOLERANCE * np.abs(expected).max())


def found_trial(planned: TrialJob, record: Record, store: Store) -> FoundTrial:
    """The record as a run would have asked for it."""
    told = {name: getattr(record, name) for name in ("method", "dataset", "layout", "category", "seed", "key")}
    cell = Cell(row="row", score=planned.settings.score, **told)
    plan = RunPlan(run_id="small", job="small", created="", tables=[], cells=[cell])
    return FoundTrial(store, plan, cell, record, None)


def test_what_is_kept_scores_again_to_the_same_numbers(
    planned: TrialJob, record: Record, store: Store, data: TrialData
) -> None:
    trained = method_class(record.method)(record.setting, data.train, data.context, record.seed, CPU)
    weights, _ = load_tensors(store, weights_name(record.key, record.run.claim, "last"))
    trained.load_state(weights)
    found = as_arrays(TestImages(data.test, CPU).parts(trained.detector()))
    kept = load_scores(store, record, "last")
    assert kept is not None
    for part, values in found.items():
        np.testing.assert_allclose(kept[part], values, rtol=1e-3, atol=1e-6 * (np.abs(values).max() or 1.0))


def test_a_state_of_something_else_is_refused_and_changes_nothing(planned: TrialJob, data: TrialData) -> None:
    made = method_class(planned.settings.method)(
        planned.settings.training(), data.train, data.context, planned.seed, CPU
    )
    if made.steps_per_epoch:
        made.step(0, 0)
    before = made.state()
    with pytest.raises(ValueError, match=r"state|weights"):
        made.load_state({"nonsense": np.zeros(3, np.float32)})
    after = made.state()
    assert before.keys() == after.keys() and all(np.array_equal(before[key], after[key]) for key in before)


def test_what_a_trial_takes_and_leaves_is_told_from_counts_alone(
    name: str, planned: TrialJob, store: Store, record: Record
) -> None:
    if name not in BUILT_IN:
        return
    assert planned.counts is not None
    work = planned.settings.work(planned.counts)
    assert work.operations > 0 and work.memory > 0 and planned.settings.steps(planned.counts) > 0
    for kind, told in (("", work.weights), ("scores-", work.scores)):
        info = store.info(f"trials/{record.key}/{record.run.claim}/{kind}last.safetensors")
        assert info is not None and 0.8 * told < info.size < 1.25 * told + 20_000, (info.size, told)


def test_its_cost_is_measured_where_it_says_so(
    name: str, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not settings_class(name).costed:
        return
    for constant, brief in (("ROUNDS", (1, 1)), ("SECONDS", 0.0), ("ROUND_SECONDS", 0.0)):
        monkeypatch.setattr(f"fod_bench.trials.cost.{constant}", brief)
    scoring = {"reference": "mean"} if name == "fod" else {}
    asked = plan(name, tmp_path, measure="cost", **scoring)
    found = measure_trial(asked.trial(1e9), data_of(asked, store), claim(store, asked.key), Watcher(), CPU)
    assert found.costs["gflops_all"] >= found.costs["gflops"] >= 0 and found.costs["gflops_all"] > 0
    assert found.costs["inference_fps"] > 0 and found.costs["train_s_per_epoch"] > 0
