"""Fitting PatchSVDD: going on to the bit, what is kept, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fod_bench.errors import TrialError
from fod_bench.methods.base import Batch, Context, Costed, Split
from fod_bench.methods.patchsvdd.method import PatchSvddMethod
from fod_bench.methods.patchsvdd.settings import PatchSvddSettings
from fod_bench.records.checkpoints import State
from fod_bench.records.record import Counts
from tests.helpers.fitting import CPU, fit, make, score_maps, steps

SIZE = 72
CONTEXT = Context(SIZE)
SETTINGS = PatchSvddSettings.complete(
    {"image_size": SIZE, "embedding": 8, "batch_size": 4, "repeats": 5, "epochs": 2, "learning_rate": 1e-3}
)
"""Two epochs of 15 samples, in steps of four: the last has three."""


def images(count: int, seed: int = 0, size: int = SIZE) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


TRAIN, TEST = Split(images=images(3)), Split(images=images(4, seed=1))


@pytest.fixture(scope="module")
def fitted() -> PatchSvddMethod:
    return fit(SETTINGS, TRAIN, CONTEXT)  # type: ignore[return-value]


def batch(number: slice = slice(None)) -> Batch:
    return TEST.batch(number, CPU)


def same(first: State, second: State) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def same_parts(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_protocol(fitted: PatchSvddMethod) -> None:
    assert (fitted.epochs, fitted.steps_per_epoch) == (2, 4) and SETTINGS.steps(
        Counts(train=3, test_good=2, test_defect=2)
    ) == 8
    assert isinstance(fitted, Costed) and fitted.countable() is fitted
    assert fitted.loss_names[0] == "total" and len(fitted.step(0, 0)) == len(fitted.loss_names)
    found = list(score_maps(fitted, SETTINGS, TEST, CONTEXT))
    assert [maps.score for maps in found] == list(SETTINGS.rules())
    assert fitted.primary_score == SETTINGS.score == found[-1].score
    for maps in found:
        assert maps.pixels.shape == (4, SIZE, SIZE) and maps.images.shape == (4,)
        assert maps.pixels.dtype == torch.float32 and maps.pixels.isfinite().all()


def test_a_measurement_of_cost_is_a_training_with_few_settings() -> None:
    settings = PatchSvddSettings.complete({"image_size": SIZE, "embedding": 8, "batch_size": 4, "measure": "cost"})
    method = make(settings, TRAIN, CONTEXT)
    assert method.step(0, 0).isfinite().all() and method.detector().parts(batch())


def test_evaluated_epochs() -> None:
    settings = SETTINGS.model_copy(update={"epochs": 7, "evaluate_every": 3})
    method = make(settings, TRAIN, CONTEXT)
    assert [epoch for epoch in range(1, 8) if method.evaluates_after(epoch)] == [3, 6, 7]


@pytest.mark.parametrize("stop", [0, 1, 3, 5])
def test_goes_on_to_the_bit(stop: int) -> None:
    """Also in the middle of an epoch, and whatever was asked of the method before."""
    whole = make(SETTINGS, TRAIN, CONTEXT, 7)
    all_steps = list(steps(whole))
    losses = [whole.step(*each) for each in all_steps]
    first = make(SETTINGS, TRAIN, CONTEXT, 7)
    for each in all_steps[:stop]:
        first.step(*each)
    first.detector().parts(batch())
    again = make(SETTINGS, TRAIN, CONTEXT, 7)
    for each in all_steps[:2]:
        again.step(*each)  # what it learned is to be forgotten
    again.load_state(first.state())
    torch.manual_seed(99)
    assert all(torch.equal(again.step(*each), losses[stop + at]) for at, each in enumerate(all_steps[stop:]))
    assert same(again.state(), whole.state())
    assert same(again.weights(), whole.weights())


def test_other_seeds_train_otherwise(fitted: PatchSvddMethod) -> None:
    other = fit(SETTINGS, TRAIN, CONTEXT, seed=1)
    assert not same(other.weights(), fitted.weights())


def test_a_detector_of_kept_weights_scores_the_same(fitted: PatchSvddMethod) -> None:
    weights = fitted.weights()
    loaded = PatchSvddMethod.load_detector(SETTINGS.training(), weights, CONTEXT, CPU)
    assert same_parts(loaded.parts(batch()), fitted.detector().parts(batch()))
    for array in weights.values():
        array.fill(0)  # the detector has its own
    assert same_parts(loaded.parts(batch()), fitted.detector().parts(batch()))


def test_an_image_is_scored_the_same_alone_and_among_others(fitted: PatchSvddMethod) -> None:
    together, alone = fitted.detector().parts(batch()), fitted.detector().parts(batch(slice(2, 3)))
    assert together["patch64"].shape == (4, 1, 1) and together["patch32"].shape == (4, 11, 11)
    assert all(torch.equal(alone[name], together[name][2:3]) for name in together)


def test_training_images_have_distance_zero(fitted: PatchSvddMethod) -> None:
    for distances in fitted.detector().parts(TRAIN.batch(slice(None), CPU)).values():
        assert (distances == 0).all()
    assert all((distances > 0).all() for distances in fitted.detector().parts(batch()).values())


def test_a_detector_scores_as_the_method_stands() -> None:
    method = make(SETTINGS, TRAIN, CONTEXT)
    detector = method.detector()
    before, start = detector.parts(batch()), method.state()
    method.step(0, 0)
    after = detector.parts(batch())
    assert not same_parts(before, after) and same_parts(after, method.detector().parts(batch()))
    for distances in detector.parts(TRAIN.batch(slice(None), CPU)).values():
        assert (distances == 0).all(), "the training images are embedded by the networks as they are now"
    method.load_state(start)
    assert same_parts(detector.parts(batch()), before)


def test_weights_are_gone_on_from(fitted: PatchSvddMethod) -> None:
    """With the networks as they were, and Adam anew."""
    method = make(SETTINGS, TRAIN, CONTEXT, seed=5)
    method.step(0, 0)
    method.load_state(fitted.weights())
    assert same(method.weights(), fitted.weights())
    assert not any(name.endswith("/step") for name in method.state())


def broken(state: State, how: str) -> State:
    changed = dict(state)
    first = "encoder.join.weight"
    if how == "missing":
        del changed[first]
    elif how == "more":
        changed["other"] = changed[first]
    elif how == "shape":
        changed[first] = changed[first][:-1]
    elif how == "kind":
        changed[first] = changed[first].astype(np.float64)
    return changed


@pytest.mark.parametrize("how", ["missing", "more", "shape", "kind"])
@pytest.mark.parametrize("part", ["state", "weights"])
def test_a_state_of_another_training_is_refused_and_changes_nothing(
    fitted: PatchSvddMethod, how: str, part: str
) -> None:
    before = fitted.state()
    given = broken(getattr(fitted, part)(), how)
    with pytest.raises(ValueError, match="the state is of another"):
        fitted.load_state(given)
    assert same(fitted.state(), before)
    if part == "weights":
        with pytest.raises(ValueError, match="the state is of another"):
            PatchSvddMethod.load_detector(SETTINGS.training(), given, CONTEXT, CPU)


def test_embeddings_that_do_not_fit_are_refused(fitted: PatchSvddMethod) -> None:
    weights = fitted.weights()
    for changed in (
        weights | {"bank32": weights["bank32"][:-1]},
        weights | {"bank64": weights["bank64"][:0]},
        {name: array for name, array in weights.items() if name != "mean"},
        fitted.state(),
        {},
    ):
        with pytest.raises(ValueError, match="the state is of another"):
            PatchSvddMethod.load_detector(SETTINGS.training(), changed, CONTEXT, CPU)
    with pytest.raises(ValueError, match="bank32"):
        PatchSvddMethod.load_detector(SETTINGS.training(), weights, Context(SIZE + 8), CPU)
    other = make(SETTINGS, Split(images=images(4)), CONTEXT)
    with pytest.raises(ValueError, match="bank"):
        other.load_state(weights)


def test_embeddings_that_have_collapsed_are_told(caplog: pytest.LogCaptureFixture) -> None:
    method = make(SETTINGS, TRAIN, CONTEXT)
    method.detector().parts(batch())
    assert not caplog.records, "embeddings of an untrained network lie close together, but are told apart"
    state = method.state()
    method.load_state(state | {"encoder.out.weight": 0 * state["encoder.out.weight"]})
    method.detector().parts(batch())
    assert [record.args[0] for record in caplog.records if isinstance(record.args, tuple)] == [64]
    assert "svdd_weight" in caplog.text


def test_too_few_images_are_refused_by_name() -> None:
    with pytest.raises(TrialError, match="at least 2 training images"):
        make(SETTINGS, Split(images=images(1)), CONTEXT)


def test_a_batch_without_images_is_refused(fitted: PatchSvddMethod) -> None:
    with pytest.raises(ValueError, match="images"):
        fitted.detector().parts(Batch(pooled={8: torch.zeros(1, 2, 2, 3)}))


def test_images_may_be_read_only() -> None:
    given = images(3)
    given.setflags(write=False)
    make(SETTINGS, Split(images=given), CONTEXT).step(0, 0)
