"""DRAEM as a method: it goes on where it was, its detector stands alone, and it refuses what does not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fod_bench.errors import TrialError
from fod_bench.methods.base import Context, Costed, Split
from fod_bench.methods.draem.method import DraemMethod
from fod_bench.methods.draem.settings import DraemSettings
from tests.helpers.fitting import CPU, fit, make, score_maps, steps

SIDE = 64
CONTEXT = Context(SIDE)


def settings(**values: Any) -> DraemSettings:
    small = {"image_size": SIDE, "width": 4, "batch_size": 2, "epochs": 5, "learning_rate": 1e-3}
    return DraemSettings.complete(small | values)


def images(count: int, side: int = SIDE, seed: int = 0) -> Split:
    return Split(images=np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


TRAIN, TEST = images(5), images(4, seed=1)


def equal(first: Any, second: Any) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def test_every_loss_is_told_and_the_networks_learn() -> None:
    method = make(settings(), TRAIN, CONTEXT)
    before = method.weights()
    losses = method.step(0, 0)
    assert list(method.loss_names) == ["total", "l2", "ssim", "focal"] and losses.shape == (4,)
    assert losses[0].item() == pytest.approx(losses[1:].sum().item(), rel=1e-6) and (losses > 0).all()
    moved = [name for name, array in method.weights().items() if not np.array_equal(array, before[name])]
    assert moved == list(before), "running statistics too"


@pytest.mark.parametrize("stopped", [(0, 1), (1, 0), (4, 2)])
def test_it_goes_on_to_the_bit_in_the_middle_of_an_epoch(stopped: tuple[int, int]) -> None:
    whole, first = fit(settings(), TRAIN, CONTEXT), make(settings(), TRAIN, CONTEXT)
    for epoch, step in steps(first):
        if (epoch, step) == stopped:
            break
        first.step(epoch, step)
    second = make(settings(), TRAIN, CONTEXT)
    second.step(0, 0)  # what it holds is replaced
    second.load_state(first.state())
    for epoch, step in steps(second):
        if (epoch, step) >= stopped:
            second.step(epoch, step)
    assert equal(second.state(), whole.state())
    assert not equal(fit(settings(), TRAIN, CONTEXT, seed=1).weights(), whole.weights())


def test_a_state_before_the_first_step_and_weights_alone_are_taken() -> None:
    begun, other = make(settings(), TRAIN, CONTEXT), fit(settings(epochs=1), TRAIN, CONTEXT)
    other.load_state(begun.state())
    assert equal(other.state(), begun.state())
    trained = fit(settings(epochs=1), TRAIN, CONTEXT)
    other.load_state(trained.weights())
    assert equal(other.weights(), trained.weights()) and equal(other.state(), other.weights())


def test_a_detector_of_kept_weights_gives_the_same_maps_and_leaves_the_training_alone() -> None:
    method = fit(settings(epochs=2), TRAIN, CONTEXT)
    before = method.state()
    batch = TEST.batch(slice(None), CPU)
    found = method.detector().parts(batch)
    loaded = DraemMethod.load_detector(settings().training(), method.weights(), CONTEXT, CPU).parts(batch)
    assert list(found) == ["map"] and found["map"].shape == (4, SIDE, SIDE)
    assert torch.equal(found["map"], loaded["map"]) and not found["map"].requires_grad
    assert found["map"].dtype == torch.float32 and 0 <= found["map"].min() <= found["map"].max() <= 1
    assert equal(method.state(), before)
    with torch.no_grad():
        again = make(settings(), TRAIN, CONTEXT)
        again.load_state(before)
    method.step(2, 0), again.step(2, 0)
    assert equal(method.state(), again.state()), "scoring in between changes no step"


def test_an_images_map_does_not_depend_on_the_others() -> None:
    detector = fit(settings(epochs=1), TRAIN, CONTEXT).detector()
    together = detector.parts(TEST.batch(slice(None), CPU))["map"]
    for number in range(4):
        alone = detector.parts(TEST.batch(slice(number, number + 1), CPU))["map"][0]
        torch.testing.assert_close(alone, together[number], rtol=0, atol=1e-5)


def test_the_scoring_is_the_one_that_is_shown_and_takes_one_image() -> None:
    method = make(settings(), TRAIN, CONTEXT)
    (found,) = score_maps(method, settings(), images(1), CONTEXT)
    assert found.score == method.primary_score == settings().score
    assert found.pixels.shape == (1, SIDE, SIDE) and found.images.shape == (1,)


def test_other_networks_states_are_refused_and_change_nothing() -> None:
    method, wider = fit(settings(epochs=1), TRAIN, CONTEXT), make(settings(width=8), TRAIN, CONTEXT)
    before = method.state()
    name = "rec/encoder.block1.0.weight"
    lacking = {key: array for key, array in before.items() if key != f"{name}/exp_avg"}
    bad = [
        wider.state(),
        lacking,
        before | {"more": np.zeros(1, np.float32)},
        before | {name: before[name].astype(np.int64)},
        {},
    ]
    for state in bad:
        with pytest.raises(ValueError, match=r"the state is of other networks: .* arrays differ, the first is"):
            method.load_state(state)
        assert equal(method.state(), before)
    with pytest.raises(ValueError, match="the state is of other networks"):
        DraemMethod.load_detector(settings(width=8).training(), method.weights(), CONTEXT, CPU)


def test_it_is_evaluated_every_so_many_epochs_and_at_the_end() -> None:
    method = make(settings(epochs=25, evaluate_every=10), TRAIN, CONTEXT)
    assert [epoch for epoch in range(1, 26) if method.evaluates_after(epoch)] == [10, 20, 25]
    assert method.epochs == 25 and method.steps_per_epoch == 3


def test_a_batch_of_one_image_works_but_for_32_pixels() -> None:
    fit(settings(epochs=1), images(1), CONTEXT)
    small = settings(image_size=32, epochs=1)
    fit(small, images(4, 32), Context(32))
    with pytest.raises(TrialError, match="a batch of one image"):
        make(small, images(5, 32), Context(32))


def test_a_precision_that_the_device_lacks_is_refused() -> None:
    with pytest.raises(TrialError, match="precision tf32"):
        make(settings(precision="tf32"), TRAIN, CONTEXT)


def test_its_cost_can_be_measured() -> None:
    method = make(settings(measure="cost"), TRAIN, CONTEXT)
    assert isinstance(method, Costed) and method.countable() is method
    assert sum(p.numel() for network in method.networks for p in network.parameters()) > 0
    method.step(0, 0)


def test_the_rate_falls_at_the_end() -> None:
    method = fit(settings(epochs=5), TRAIN, CONTEXT)
    assert isinstance(method, DraemMethod)
    (group,) = method._optimizer.param_groups
    assert group["lr"] == pytest.approx(1e-3 * 0.04)  # both milestones of five epochs are the fourth
