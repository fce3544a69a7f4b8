"""PaDiM as a method: its equations one position at a time, blocks, states, and what it refuses. Random features, 32 pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fod_bench.errors import TrialError
from fod_bench.methods.base import Context, Costed, Method, Split
from fod_bench.methods.padim import method as module
from fod_bench.methods.padim.gaussian import packed, unpacked
from fod_bench.methods.padim.method import PadimMethod
from fod_bench.methods.padim.settings import PadimSettings, positions_per_step
from fod_bench.records.record import Counts
from tests.helpers.fitting import CPU, fit, metrics, steps
from tests.helpers.unpooled_features import BACKBONE, synthetic_splits

SIZE = 32
CONTEXT = Context(SIZE)
SETTING = {"levels": [8, 16], "channels": 7, "channels_seed": 3}


GRIDS = {8: (4, 4, 6), 16: (2, 2, 8)}


def split(images: int = 5, grids: dict[int, tuple[int, int, int]] = GRIDS, seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    return Split(unpooled={level: rng.normal(size=(images, *grid)).astype(np.float32) for level, grid in grids.items()})


def method(train: Split | None = None, **changes: Any) -> PadimMethod:
    return PadimMethod(SETTING | changes, train or split(), CONTEXT, 0, CPU)


def fitted(train: Split | None = None, **changes: Any) -> PadimMethod:
    made = method(train, **changes)
    for epoch, step in steps(made):
        assert made.step(epoch, step).shape == (0,)
    return made


def distance(made: Method, test: Split) -> np.ndarray:
    return made.detector().parts(test.batch(slice(None), CPU))["distance"].numpy()


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "positions_per_step", lambda images, kept: 5)


@pytest.mark.parametrize("grids", [GRIDS, {8: (4, 6, 5), 16: (2, 3, 4), 32: (1, 1, 3)}, {8: (3, 5, 9)}])
def test_distances_are_those_of_the_equations_position_by_position(grids: dict[int, tuple[int, int, int]]) -> None:
    train, test = split(6, grids), split(2, grids, seed=1)
    made = fitted(train, levels=list(grids))
    chosen = made.weights()["channels"]
    found = distance(made, test)
    height, width, _ = grids[8]

    def vector(which: Split, image: int, y: int, x: int) -> np.ndarray:
        taken = []
        for array in which.unpooled.values():
            down, across = height // array.shape[1], width // array.shape[2]
            taken.append(array[image, y // down, x // across])
        return np.concatenate(taken)[chosen].astype(np.float64)

    for y in range(height):
        for x in range(width):
            rows = np.stack([vector(train, image, y, x) for image in range(6)])
            covariance = np.cov(rows, rowvar=False) + 0.01 * np.eye(7)
            for image in range(2):
                offset = vector(test, image, y, x) - rows.mean(0)
                expected = np.sqrt(offset @ np.linalg.inv(covariance) @ offset)
                assert found[image, y, x] == pytest.approx(expected, rel=1e-4)


def test_the_order_of_channels_changes_no_distance() -> None:
    def reordered(which: Split) -> Split:
        return Split(unpooled={level: array[..., ::-1].copy() for level, array in which.unpooled.items()})

    one, other = (fitted(train, channels="all") for train in (split(), reordered(split())))
    assert one.weights()["channels"].tolist() == list(range(14))
    found = distance(one, split(seed=1))
    np.testing.assert_allclose(distance(other, reordered(split(seed=1))), found, rtol=1e-4)


def test_an_image_is_scored_by_itself() -> None:
    made, test = fitted(), split(4, seed=1)
    detector = made.detector()
    alone = [detector.parts(test.batch(slice(i, i + 1), CPU))["distance"] for i in range(4)]
    assert all(part.shape == (1, 4, 4) for part in alone)
    np.testing.assert_allclose(torch.cat(alone), distance(made, test), rtol=1e-5)
    [scores] = PadimMethod.scorings(SETTING, {"distance": alone[0]}, SIZE)
    assert scores.pixels.shape == (1, SIZE, SIZE) and torch.equal(scores.images, scores.pixels.amax((1, 2)))


def test_blocks_are_no_part_of_the_result(small_blocks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = method()
    assert blocks.steps_per_epoch == 4
    one, other = fitted(), None
    monkeypatch.setattr(module, "positions_per_step", lambda images, kept: 1000)
    other = fitted()
    assert other.steps_per_epoch == 1
    np.testing.assert_allclose(distance(one, split(seed=1)), distance(other, split(seed=1)), rtol=1e-5)


def test_steps_are_as_many_as_the_settings_say() -> None:
    settings = PadimSettings.complete({"method": "padim", "channels": "all", "image_size": 512})
    block = positions_per_step(200, 272)
    assert settings.steps(Counts(train=200, test_good=1, test_defect=1)) == -(-(64 * 64) // block) > 1


def test_a_fit_goes_on_to_the_bit_from_its_middle(small_blocks: None) -> None:
    whole, first, second = fitted(), method(), method()
    for step in range(2):
        first.step(0, step)
    second.load_state({name: array.copy() for name, array in first.state().items()})
    for step in range(2, 4):
        second.step(0, step)
    assert whole.state().keys() == second.state().keys()
    assert all(np.array_equal(array, second.state()[name]) for name, array in whole.state().items())


def test_kept_weights_score_as_the_method_does() -> None:
    made = fitted()
    test = split(3, seed=1).batch(slice(None), CPU)
    kept = PadimMethod.load_detector(SETTING, made.weights(), CONTEXT, CPU)
    assert torch.equal(kept.parts(test)["distance"], made.detector().parts(test)["distance"])
    again = method()
    again.load_state(made.weights())
    assert torch.equal(again.detector().parts(test)["distance"], made.detector().parts(test)["distance"])


def test_a_state_is_a_copy(small_blocks: None) -> None:
    made = method()
    state = made.state()
    made.step(0, 0)
    assert not state["mean"].any() and made.state()["mean"].any()


def test_packing_loses_nothing() -> None:
    factor = torch.randn(3, 5, 5, generator=torch.Generator().manual_seed(0)).tril()
    assert packed(factor).shape == (3, 15) and torch.equal(unpacked(packed(factor), 5), factor)


@pytest.mark.parametrize("case", ["missing", "more", "channels", "choice", "type", "empty"])
def test_other_states_are_refused_and_change_nothing(case: str) -> None:
    made = fitted()
    before, state = made.state(), made.state()
    if case == "missing":
        del state["factor"]
    elif case == "more":
        state["other"] = np.zeros(1)
    elif case == "channels":
        state = fitted(channels=8).state()
    elif case == "choice":
        state["channels"] = state["channels"][::-1].copy()
    elif case == "type":
        state["mean"] = state["mean"].astype(np.float64)
    else:
        state = {}
    with pytest.raises(ValueError, match="state is of"):
        made.load_state(state)
    assert all(np.array_equal(array, made.state()[name]) for name, array in before.items())
    if case != "choice":  # which only a method knows
        with pytest.raises(ValueError, match="state is of"):
            PadimMethod.load_detector(SETTING, state, CONTEXT, CPU)


def test_images_of_another_grid_are_refused() -> None:
    with pytest.raises(ValueError, match="2×4 positions; the Gaussians are of 16"):
        distance(fitted(), split(grids={8: (2, 4, 6), 16: (1, 2, 8)}))


@pytest.mark.parametrize(
    ("train", "changes", "text"),
    [
        (split(1), {}, "needs two of them"),
        (split(), {"channels": 15}, "15 cannot be kept of 14"),
        (split(grids={8: (4, 4, 6), 16: (3, 2, 8)}), {}, "3×2 positions cannot be laid over the finest of 4×4"),
    ],
)
def test_data_that_do_not_do_are_refused(train: Split, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(TrialError, match=text):
        method(train, **changes)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e12])
def test_features_without_a_gaussian_are_named_by_their_place(value: float) -> None:
    train = split()
    train.unpooled[8][0, 2, 3] = value
    made = method(train, channels="all")
    with pytest.raises(TrialError, match="row 2, column 3 of the grid"):
        for epoch, step in steps(made):
            made.step(epoch, step)


def test_equal_images_have_the_ridge_alone() -> None:
    train = Split(unpooled={level: array[:1].repeat(4, 0) for level, array in split().unpooled.items()})
    made = fitted(train)
    assert not distance(made, train).any()
    shifted = Split(unpooled={level: array + np.float32(1) for level, array in train.unpooled.items()})
    np.testing.assert_allclose(distance(made, shifted), np.sqrt(7 / 0.01), rtol=1e-4)


def test_its_cost_can_be_measured() -> None:
    made = method()
    assert isinstance(made, Costed) and made.batch_size == 5 and not made.networks
    assert made.countable() is made
    assert made.evaluates_after(1) and made.epochs == 1 and not made.loss_names


@pytest.mark.parametrize("category", ["weave", "board"])
def test_local_defects_are_found(category: str) -> None:
    """24 images of 64 pixels, a MobileNetV2 with random weights, 60 of its 128 channels."""
    train, test, truth = synthetic_splits(category, 64, 24, 8, 4)
    keys = {"method": "padim", "backbone": BACKBONE, "weights": "random", "image_size": 64, "channels": 60}
    settings = PadimSettings.complete(keys)
    found = metrics(fit(settings, train, Context(64)), settings, test, Context(64), truth)
    assert found["image_auroc"] is not None and found["image_auroc"] >= 0.98
    assert found["pixel_auroc"] is not None and found["pixel_auroc"] >= 0.8
