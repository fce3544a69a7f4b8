"""The method from its settings to its scores: the source, training, resuming, detectors, and that it finds defects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional

from fod_bench.datasets import Resize, SyntheticSettings, open_category, preprocess_mask
from fod_bench.errors import TrialError
from fod_bench.evaluation.evaluate import Truth
from fod_bench.features.backbone import Backbone, frozen_network
from fod_bench.features.weights import Weights, resolve_weights
from fod_bench.methods.base import Context, Costed, Split
from fod_bench.methods.mkd.method import MkdMethod, make_cloner
from fod_bench.methods.mkd.network import make_source
from fod_bench.methods.mkd.settings import MkdSettings
from fod_bench.methods.mkd.shapes import ends_in_relu, timm_levels
from tests.helpers.fitting import CPU, fit, make, metrics, score_maps, steps

torch.set_num_threads(1)

SIDE = 32
IMAGES = 7
SMALL: dict[str, Any] = {
    "backbone": "resnet18",
    "weights": "random",
    "image_size": SIDE,
    "levels": [4, 8, 16],
    "batch_size": 3,
    "epochs": 3,
    "evaluate_every": 2,
}
"""Three steps per epoch, the last of one image."""


def settings(**changes: Any) -> MkdSettings:
    return MkdSettings.complete({**SMALL, **changes})


def random_weights(backbone: str = "resnet18") -> Weights:
    return resolve_weights(backbone, "random", 0, download=False)


def images(count: int = IMAGES, seed: int = 0) -> Split:
    return Split(images=np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8))


CONTEXT = Context(SIDE, network=random_weights())


def equal(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def parts_of(detector: Any, split: Split, chosen: slice = slice(None)) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = detector.parts(split.batch(chosen, CPU))
    return found


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenetv2_100", "swin_tiny_patch4_window7_224"])
def test_the_source_gives_the_backbones_maps(backbone: str) -> None:
    """Averaged as the features are, they are the features."""
    size = 64
    levels = (4, 8, 16)
    given = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    source = make_source(random_weights(backbone), levels, size)
    features = Backbone(random_weights(backbone), levels, image_size=size)(given)
    for (level, maps), expected in zip(source(given).items(), features, strict=True):
        assert maps.shape[-1] == size // level
        averaged = functional.avg_pool2d(maps, 3, 1, 1).permute(0, 2, 3, 1)
        torch.testing.assert_close(averaged, expected.clone(), rtol=1e-3, atol=1e-4)


def test_vgg_is_compared_after_its_pools(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = timm.create_model("vgg11", pretrained=False).eval()
    save_file({name: tensor.contiguous() for name, tensor in whole.state_dict().items()}, tmp_path / "vgg.safetensors")
    weights = Weights("vgg11", "sha256:0", tmp_path / "vgg.safetensors", None)
    given = values = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    pools = []
    with torch.no_grad():
        for layer in whole.features:
            values = layer(values)
            if isinstance(layer, torch.nn.MaxPool2d):
                pools.append(values)
        found = make_source(weights, (4, 8, 16, 32), 64)(given)
    assert list(found) == [4, 8, 16, 32]
    for maps, expected in zip(found.values(), pools[1:], strict=True):
        torch.testing.assert_close(maps, expected)


@pytest.mark.parametrize(
    "backbone",
    [
        *("resnet18", "resnet26d", "wide_resnet50_2", "seresnet18", "vgg11", "regnetx_002", "regnety_002", "repvgg_a0"),
        *("mobilenetv2_100", "mobilenetv3_small_050", "efficientnet_b0", "convnext_atto", "resnet32ts", "resnetv2_50"),
    ],
)
def test_the_family_says_whether_maps_are_negative(backbone: str) -> None:
    levels = (8, 16)
    network, _ = frozen_network(random_weights(backbone), timm_levels(backbone, levels), 64)
    with torch.no_grad():
        maps = network(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert ends_in_relu(f"{backbone}.some_tag") == ends_in_relu(backbone)
    assert ends_in_relu(backbone) == all(float(values.min()) >= 0 for values in maps)


def test_the_source_is_frozen_and_lets_gradients_through_wherever_it_was_made() -> None:
    with torch.inference_mode():
        source = make_source(random_weights(), (4, 8), SIDE)
    assert not any(parameter.requires_grad for parameter in source.parameters())
    assert not source.training
    given = torch.randn(1, 3, SIDE, SIDE).requires_grad_()
    source(given)[8].sum().backward()
    assert given.grad is not None and given.grad.abs().sum() > 0


@pytest.mark.parametrize("localisation", ["gradients", "smooth_grad", "gbp"])
def test_parts_are_of_each_image_in_any_mode_and_batch(localisation: str) -> None:
    changes = {"smooth_grad_samples": 2} if localisation == "smooth_grad" else {}
    method, test = fit(settings(localisation=localisation, epochs=1, **changes), images(), CONTEXT), images(4, seed=1)
    plain = parts_of(method.detector(), test)
    assert plain["map"].shape == (4, SIDE, SIDE) and plain["score"].shape == (4,)
    assert all(values.dtype == torch.float32 and not values.requires_grad for values in plain.values())
    assert plain["map"].min() >= 0 and plain["map"].max() <= 1
    with torch.no_grad():
        assert all(torch.equal(values, plain[name]) for name, values in parts_of(method.detector(), test).items())
    with torch.inference_mode():
        within = parts_of(method.detector(), test)
    assert all(torch.equal(values, plain[name]) for name, values in within.items())
    for number in (0, 3):
        alone = parts_of(method.detector(), test, slice(number, number + 1))
        torch.testing.assert_close(alone["score"][0], plain["score"][number], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(alone["map"][0], plain["map"][number], rtol=1e-3, atol=1e-4)


def test_scoring_changes_nothing_of_the_training() -> None:
    one, other = make(settings(), images(), CONTEXT), make(settings(), images(), CONTEXT)
    for epoch, step in steps(one):
        parts_of(other.detector(), images(2, seed=1))
        assert torch.equal(one.step(epoch, step), other.step(epoch, step))
    assert equal(one.state(), other.state())


def test_losses_fall_and_are_named() -> None:
    method = make(settings(epochs=6), images(), CONTEXT)
    losses = torch.stack([method.step(epoch, step) for epoch, step in steps(method)])
    assert losses.shape == (18, len(method.loss_names)) and not losses.requires_grad
    torch.testing.assert_close(losses[:, 0], losses[:, 1] + 0.5 * losses[:, 2])
    assert losses[-3:, 0].mean() < losses[:3, 0].mean() / 2


@pytest.mark.parametrize("stop", [1, 4, 6])
def test_a_resumed_training_goes_on_to_the_bit(stop: int) -> None:
    """Stopped in the middle of an epoch, and after one; the source's maps are then made in another order."""
    whole = make(settings(), images(), CONTEXT)
    order = list(steps(whole))
    losses = [whole.step(*each) for each in order]
    first = make(settings(), images(), CONTEXT)
    for each in order[:stop]:
        first.step(*each)
    state = first.state()
    second = make(settings(), images(), CONTEXT)
    second.load_state(state)
    first.step(*order[stop])  # the state is a copy
    assert equal(second.state(), state)
    assert all(torch.equal(second.step(*each), losses[stop + n]) for n, each in enumerate(order[stop:]))
    assert equal(second.state(), whole.state())


def test_seeds_make_trainings_and_global_state_does_not() -> None:
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(states))
        before = torch.get_rng_state()
        states.append(fit(settings(epochs=1), images(), CONTEXT, seed).state())
        assert torch.equal(before, torch.get_rng_state())
    assert equal(states[0], states[1]) and not equal(states[0], states[2])


def test_kept_weights_are_a_detector() -> None:
    method, test = fit(settings(), images(), CONTEXT), images(3, seed=1)
    expected = parts_of(method.detector(), test)
    weights = method.weights()
    assert set(weights) < set(method.state())
    with torch.inference_mode():
        loaded = MkdMethod.load_detector(settings().training(), weights, CONTEXT, CPU)
    found = parts_of(loaded, test)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    again = make(settings(), images(), CONTEXT)
    again.step(0, 0)
    again.load_state(weights)
    assert equal(again.state(), weights)
    assert all(torch.equal(values, expected[name]) for name, values in parts_of(again.detector(), test).items())
    weights["features.0.weight"][:] = 0  # copies
    assert all(torch.equal(values, expected[name]) for name, values in parts_of(method.detector(), test).items())


def test_states_of_another_network_are_refused_and_nothing_is_changed() -> None:
    method = make(settings(), images(), CONTEXT)
    method.step(0, 0)
    before = method.state()
    some = "features.0.weight"
    wrong: list[dict[str, Any]] = [
        {},
        {name: array for name, array in before.items() if name != some},
        {**before, "more": before[some]},
        {**before, some: before[some][:1]},
        {**before, some: before[some].astype(np.float64)},
        {name: array for name, array in before.items() if name != f"{some}/exp_avg"},
        make(settings(levels=[4, 8]), images(), CONTEXT).state(),
    ]
    for state in wrong:
        with pytest.raises(ValueError, match="the state is of another network"):
            method.load_state(state)
        assert equal(method.state(), before)
        with pytest.raises(ValueError, match="the state is of another network"):
            MkdMethod.load_detector(settings().training(), state, CONTEXT, CPU)


def test_missing_images_or_network_are_named() -> None:
    for split, context in ((Split(), CONTEXT), (images(), Context(SIDE))):
        with pytest.raises(TrialError, match="images themselves and a frozen network"):
            MkdMethod(settings().training(), split, context, 0, CPU)


def test_one_training_image_and_one_test_image_will_do() -> None:
    method = fit(settings(epochs=2), images(1), CONTEXT)
    (scored,) = score_maps(method, settings(), images(1, seed=1), CONTEXT)
    assert scored.score == method.primary_score == settings().score == "score@4+8+16"
    assert scored.pixels.shape == (1, SIDE, SIDE) and torch.isfinite(scored.images).all()


def test_epochs_after_which_it_is_evaluated() -> None:
    method = make(settings(epochs=5), images(), CONTEXT)
    assert [epoch for epoch in range(1, 6) if method.evaluates_after(epoch)] == [2, 4, 5]
    assert (method.epochs, method.steps_per_epoch) == (5, 3)


def test_its_cost_can_be_measured() -> None:
    measured = settings(measure="cost", epochs=1, evaluate_every=1)
    method = make(measured, images(), CONTEXT)
    assert isinstance(method, Costed)
    assert method.batch_size == 3 and list(method.networks) == [method.countable().cloner]
    method.step(0, 0)
    assert parts_of(method.detector(), images(1))["map"].shape == (1, SIDE, SIDE)
    assert measured.score == "cost"


def test_all_of_the_source_maps_are_made_once() -> None:
    method = make(settings(), images(), CONTEXT)
    source, seen = method.detector().source, []
    source.register_forward_hook(lambda *given: seen.append(len(given[1][0])))
    for each in steps(method):
        method.step(*each)
    assert seen == [1] * IMAGES


def synthetic(name: str, size: int) -> tuple[Split, Split, Truth]:
    counts = SyntheticSettings(train=32, test_good=12, test_defect_per_type=3, size=size)
    category, resize = open_category("synthetic", None, name, synthetic=counts), Resize(size)

    def read(samples: list[Any]) -> Split:
        return Split(images=np.stack([np.asarray(resize.image(category.read_image(sample))) for sample in samples]))

    masks = np.zeros((len(category.test), size, size), np.uint8)
    for mask, sample in zip(masks, category.test, strict=True):
        drawn = category.read_mask(sample)
        if drawn is not None:
            mask[:] = preprocess_mask(drawn, resize)
    labels = np.array([sample.label for sample in category.test], np.uint8)
    return read(category.train), read(category.test), Truth(labels, masks)


@pytest.mark.parametrize(("localisation", "least"), [("gradients", 0.8), ("gbp", 0.65)])
def test_it_finds_defects(localisation: str, least: float) -> None:
    """A random source's maps are enough on a regular texture, after 30 epochs of two steps; guided backpropagation shows less
    of where."""
    size = 64
    chosen = MkdSettings.complete(
        {
            "backbone": "resnet18",
            "weights": "random",
            "image_size": size,
            "batch_size": 16,
            "epochs": 30,
            "localisation": localisation,
        }
    )
    train, test, truth = synthetic("weave", size)
    context = Context(size, network=random_weights())
    found = metrics(fit(chosen, train, context), chosen, test, context, truth)
    print(found)
    assert found["image_auroc"] is not None and found["image_auroc"] >= 0.95
    assert found["pixel_auroc"] is not None and found["pixel_auroc"] >= least


def test_the_cloner_is_seeded_by_xavier() -> None:
    weight = make_cloner(settings().training(), seed=3).features[0].weight
    bound = (6 / (9 * (3 + 16))) ** 0.5
    assert weight.abs().max() <= bound and weight.abs().max() > 0.9 * bound
