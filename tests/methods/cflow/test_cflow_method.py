"""CFLOW-AD as a method: batches, fibers, states, and what it refuses. Random features of 8 channels, grids of a few positions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch

from fod_bench.errors import TrialError
from fod_bench.methods.base import Context, Costed, Split
from fod_bench.methods.cflow.method import CflowMethod
from fod_bench.methods.cflow.settings import CflowSettings
from fod_bench.records.checkpoints import State
from tests.helpers.fitting import CPU, fit, metrics, steps
from tests.helpers.unpooled_features import BACKBONE, synthetic_splits

CONTEXT = Context(32)
SETTING = {
    **{"levels": [8, 16], "blocks": 2, "condition": 4, "clamp": 1.9, "fiber": 4, "batch_size": 3},
    **{"learning_rate": 1e-2, "decay": 0.1, "warm_epochs": 1, "epochs": 2, "sub_epochs": 2, "evaluate_every": 2},
}
GRIDS = {8: (8, 6, 8), 16: (4, 3, 5)}
"""Not square; 36 and 9 fibers of 4 rows in a batch of three images, taken in three steps."""


def split(images: int = 7, seed: int = 0, grids: dict[int, tuple[int, int, int]] = GRIDS) -> Split:
    rng = np.random.default_rng(seed)
    return Split(unpooled={level: rng.normal(size=(images, *grid)).astype(np.float32) for level, grid in grids.items()})


def method(train: Split | None = None, seed: int = 0, **changes: Any) -> CflowMethod:
    return CflowMethod(SETTING | changes, train or split(), CONTEXT, seed, CPU)


def trained(made: CflowMethod, taken: Iterable[tuple[int, int]] | None = None) -> CflowMethod:
    for epoch, step in taken or steps(made):
        made.step(epoch, step)
    return made


def equal(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def likelihoods(made: CflowMethod, images: int = 3) -> dict[str, torch.Tensor]:
    return made.detector().parts(split(images, seed=1).batch(slice(None), CPU))


def taken_rows(made: CflowMethod, monkeypatch: pytest.MonkeyPatch) -> dict[int, list[tuple[int, int]]]:
    """Image and position of every row that each level is moved on, as they will be."""
    found: dict[int, list[tuple[int, int]]] = {level: [] for level in GRIDS}
    move = made._move

    def watched(level: int, fiber: torch.Tensor, rate: float) -> torch.Tensor:
        positions = GRIDS[level][0] * GRIDS[level][1]
        found[level] += [divmod(row, positions) for row in fiber.tolist()]
        return move(level, fiber, rate)

    monkeypatch.setattr(made, "_move", watched)
    return found


def test_a_pass_takes_whole_batches_and_every_row_of_them_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = method()
    assert made.steps_per_epoch == 2 * 2 * 3
    found = taken_rows(made, monkeypatch)
    trained(made, [(0, step) for step in range(made.steps_per_epoch // 2)])
    for level, (height, width, _) in GRIDS.items():
        images = {image for image, _ in found[level]}
        assert len(images) == 6 and len(found[level]) == 6 * height * width == len(set(found[level]))
        batches = [set(found[level][half * 3 * height * width :][: 3 * height * width]) for half in range(2)]
        assert [len({image for image, _ in batch}) for batch in batches] == [3, 3]
    assert {image for image, _ in found[8]} == {image for image, _ in found[16]}
    first = found[8][:4]
    assert len({image for image, _ in found[8][:24]}) > 1, f"rows of several images mix: {first}"


def test_rows_and_positions_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    train = split()
    made = method(train)
    found = taken_rows(made, monkeypatch)
    seen: dict[int, list[tuple[torch.Tensor, torch.Tensor]]] = {level: [] for level in GRIDS}
    for level, trainer in made._trainers.items():
        monkeypatch.setattr(
            trainer,
            "step",
            lambda rows, condition, rate, level=level: seen[level].append((rows, condition)) or torch.zeros(()),
        )
    made.step(0, 0)
    for level in GRIDS:
        rows, conditions = (torch.cat(parts) for parts in zip(*seen[level], strict=True))
        for (image, position), row, condition in zip(found[level], rows, conditions, strict=True):
            assert np.array_equal(row, train.unpooled[level][image].reshape(-1, row.shape[0])[position])
            assert torch.equal(condition, made._codes[level][position])


def test_the_order_follows_from_seed_and_pass_alone() -> None:
    made, again, other = method(), method(), method(seed=1)
    again.step(1, 5)
    for passed in (0, 3):
        assert torch.equal(made._order(passed), again._order(passed))
        assert torch.equal(made._shuffle(passed, 1, 8), again._shuffle(passed, 1, 8))
    assert not torch.equal(made._order(0), made._order(1)) and not torch.equal(made._order(0), other._order(0))
    shuffles = [made._shuffle(*given) for given in ((0, 0, 8), (0, 1, 8), (1, 0, 8))] + [other._shuffle(0, 0, 8)]
    assert len({tuple(shuffle.tolist()) for shuffle in shuffles}) == 4


def test_levels_train_as_if_alone() -> None:
    both = trained(method()).weights()
    alone = trained(method(levels=[16])).weights()
    # the same fibers in the same order, in one step each batch
    assert alone and all(np.array_equal(both[name], array) for name, array in alone.items())


def test_steps_are_no_part_of_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = trained(method())
    monkeypatch.setattr("fod_bench.methods.cflow.fibers._FIBERS_OF_A_STEP", 1000)
    whole = trained(method())
    assert whole.steps_per_epoch < usual.steps_per_epoch and equal(whole.state(), usual.state())


def test_zero_gradient_steps_change_what_is_trained_and_count_as_steps() -> None:
    usual, made = trained(method()).state(), trained(method(zero_gradient_step=True))
    state = made.state()
    assert made.steps_per_epoch == 4
    assert not np.array_equal(usual["8/blocks.0.offset"], state["8/blocks.0.offset"])
    fibers = {8: 8 * 36, 16: 8 * 9}  # of eight batches
    assert all(usual[f"{level}/blocks.0.offset/step"] == count for level, count in fibers.items())
    # the first batch's fibers of the finer level find no moments of the other
    assert state["8/blocks.0.offset/step"] == 8 * 45 and state["16/blocks.0.offset/step"] == 8 * 45 - 36


def test_losses_are_of_each_level_and_their_mean() -> None:
    made = method()
    first = made.step(0, 0)
    assert list(made.loss_names) == ["loss", "8/loss", "16/loss"] and first.shape == (3,)
    assert float(first[0]) == pytest.approx(float(first[1:].mean()))
    for epoch, step in list(steps(made))[1:]:
        last = made.step(epoch, step)
    assert bool((last < first).all())


@pytest.mark.parametrize("stop", [1, 5, 13])
def test_a_training_goes_on_to_the_bit_from_any_step(stop: int) -> None:
    whole, first, second = trained(method()), method(), method()
    every = list(steps(whole))
    trained(first, every[:stop])
    given = first.state()
    second.load_state(given)
    trained(second, every[stop:])
    assert equal(whole.state(), second.state())
    assert equal(given, first.state()), "what was given is not written to"


def test_a_state_from_before_the_first_step_is_one() -> None:
    made, other = method(), method(seed=3)
    other.load_state(made.state())
    assert equal(made.state(), other.state()) and equal(made.state(), made.weights())


def test_weights_forget_what_was_trained_with() -> None:
    made = trained(method())
    before = made.weights()
    made.load_state(before)
    assert equal(made.state(), before)


def test_a_state_is_a_copy() -> None:
    made = method()
    made.step(0, 0)
    state = made.state()
    kept = {name: array.copy() for name, array in state.items()}
    made.step(0, 1)
    assert equal(state, kept) and not equal(state, made.state())


def test_kept_weights_score_as_the_method_does() -> None:
    made = trained(method())
    kept = CflowMethod.load_detector(SETTING, made.weights(), CONTEXT, CPU)
    found = kept.parts(split(3, seed=1).batch(slice(None), CPU))
    expected = likelihoods(made)
    assert found.keys() == expected.keys() == {"8/likelihood", "16/likelihood"}
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("case", ["missing", "more", "blocks", "condition", "type", "empty", "moments"])
def test_other_states_are_refused_and_change_nothing(case: str) -> None:
    made = trained(method(), [(0, 0)])
    before, state = made.state(), made.state()
    if case == "missing":
        del state["16/blocks.1.rotation"]
    elif case == "more":
        state["other"] = np.zeros(1, np.float32)
    elif case == "blocks":
        state = method(blocks=3).state()
    elif case == "condition":
        state = method(condition=8).state()
    elif case == "type":
        state["8/blocks.0.scale"] = state["8/blocks.0.scale"].astype(np.float64)
    elif case == "moments":
        del state["8/blocks.0.scale/exp_avg"]
    else:
        state = {}
    with pytest.raises(ValueError, match="other flows"):
        made.load_state(state)
    assert equal(made.state(), before)
    with pytest.raises(ValueError, match="other flows"):
        CflowMethod.load_detector(SETTING, state, CONTEXT, CPU)


def test_moments_are_no_weights() -> None:
    with pytest.raises(ValueError, match="other flows"):
        CflowMethod.load_detector(SETTING, trained(method(), [(0, 0)]).state(), CONTEXT, CPU)


def test_an_image_is_scored_by_itself() -> None:
    made = trained(method())
    together = likelihoods(made)
    detector = made.detector()
    for number in range(3):
        alone = detector.parts(split(3, seed=1).batch(slice(number, number + 1), CPU))
        for name, part in alone.items():
            torch.testing.assert_close(part, together[name][number : number + 1], rtol=1e-5, atol=1e-6)


def test_every_subset_of_levels_is_scored_and_one_image_too() -> None:
    made = trained(method())
    for images in (1, 3):
        scorings = list(CflowMethod.scorings(SETTING, likelihoods(made, images), 32))
        assert [scoring.score for scoring in scorings] == ["score@8", "score@16", "score@8+16"]
        assert scorings[-1].score == made.primary_score
        for scoring in scorings:
            assert scoring.pixels.shape == (images, 32, 32) and float(scoring.pixels.min()) == 0
            assert torch.equal(scoring.images, scoring.pixels.amax((1, 2)))


def test_scores_come_after_the_epochs_asked_for() -> None:
    made = method(epochs=5)
    assert [epoch for epoch in range(1, 6) if made.evaluates_after(epoch)] == [2, 4, 5]


def test_fewer_images_than_a_batch_train() -> None:
    made = method(split(2), batch_size=32)
    assert made.batch_size <= 2
    trained(made, [(0, 0)])


def test_fewer_rows_than_a_fiber_are_refused() -> None:
    with pytest.raises(TrialError, match="3 images have 36 rows of features at level 16, less than a fiber of 40"):
        method(fiber=40)


def test_its_cost_can_be_measured() -> None:
    keys = ("learning_rate", "decay", "warm_epochs", "epochs", "evaluate_every")
    setting = {key: value for key, value in SETTING.items() if key not in keys} | {"measure": "cost"}
    made = CflowMethod(setting, split(), CONTEXT, 0, CPU)
    assert isinstance(made, Costed) and made.batch_size == 1 and len(made.networks) == 2
    assert made.countable() is made
    for number in range(2 * made.steps_per_epoch):  # a measurement goes on as long as it likes
        made.step(*divmod(number, made.steps_per_epoch))


@pytest.mark.parametrize(
    ("category", "fiber", "epochs", "learning_rate"), [("weave", 128, 4, 2e-3), ("board", 64, 8, 5e-3)]
)
def test_local_defects_are_found(category: str, fiber: int, epochs: int, learning_rate: float) -> None:
    """24 images of 64 pixels, a MobileNetV2 with random weights; 4 blocks, a condition of 32 numbers, batches of 8 images."""
    train, test, truth = synthetic_splits(category, 64, 24, 8, 4)
    keys = {"method": "cflow", "backbone": BACKBONE, "weights": "random", "image_size": 64, "blocks": 4}
    keys |= {"condition": 32, "batch_size": 8, "fiber": fiber, "epochs": epochs, "learning_rate": learning_rate}
    settings = CflowSettings.complete(keys)
    found = metrics(fit(settings, train, Context(64)), settings, test, Context(64), truth)
    assert found["image_auroc"] is not None and found["image_auroc"] >= 0.95
    assert found["pixel_auroc"] is not None and found["pixel_auroc"] >= 0.8
