"""Settings: what they default to, what they refuse and why, and what they answer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from fod_bench.features.weights import resolve_weights
from fod_bench.methods.mkd.method import make_cloner
from fod_bench.methods.mkd.network import Cloner, make_source
from fod_bench.methods.mkd.settings import MkdSettings
from fod_bench.methods.mkd.shapes import (
    cloner_parameters,
    cloner_products,
    cloner_values,
    cloner_widths,
    source_channels,
)
from fod_bench.records.record import Counts

COUNTS = Counts(train=200, test_good=20, test_defect=60)


def settings(**keys: Any) -> MkdSettings:
    return MkdSettings.complete(keys)


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_defaults_are_published_ones() -> None:
    training = settings().training()
    assert training == {
        "method": "mkd",
        "backbone": "tf_efficientnet_b6.aa_in1k",
        "image_size": 256,
        "levels": [4, 8, 16, 32],
        "score_levels": [8, 16, 32],
        "cloner": "small",
        "mse_weight": 0.5,
        "learning_rate": 1e-3,
        "batch_size": 64,
        "epochs": 600,
        "evaluate_every": 10,
        "input_normalisation": "imagenet",
        "localisation": "gradients",
        "map_normalisation": "image",
        "map_sigma": 8.0,
        "opening": True,
    }
    assert settings().score == "score@8+16+32"


def test_every_key_is_documented() -> None:
    assert all(field.description for field in MkdSettings.model_fields.values())


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"levels": [4, 8, 12]}, "no level of stride 12"),
        ({"backbone": "vgg16", "levels": [1, 2]}, "no level of stride 1; use some of 2, 4, 8, 16, 32"),
        ({"image_size": 240}, "not a multiple of level 32; 224 and 256 are"),
        ({"cloner": "equal"}, "known for vgg16 only, not tf_efficientnet_b6.aa_in1k; set `cloner: small`"),
        ({"backbone_precision": "bfloat16"}, "in float32; leave it out"),
        ({"score_levels": [2, 8]}, "level 2 is not among the trained levels 4, 8, 16, 32"),
        ({"score_levels": "some"}, "should be `all` or a list of levels"),
        ({"score_levels": [8], "measure": "cost"}, "is of all trained levels together; leave it out"),
        ({"localisation": "grad"}, "gradients"),
        ({"map_sigma": 0.0}, "greater than 0"),
        ({"mse_weight": -1.0}, "greater than or equal to 0"),
        ({"scoring": "rec"}, "score"),
    ],
)
def test_contradictions_are_refused_with_what_would_be_right(keys: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason.replace("(", r"\(")):
        settings(**keys)


def test_levels_that_are_scored() -> None:
    assert settings(levels=[8, 16]).scored_levels == (8, 16)
    assert settings(levels=[2, 4, 8, 16, 32]).scored_levels == (8, 16, 32)
    assert settings(score_levels="all").scored_levels == (4, 8, 16, 32)
    assert settings(score_levels=[32, 4]).scored_levels == (4, 32)
    assert settings(score_levels=[16, 8, 32]).training() == settings().training()
    assert settings(score_levels=[16]).training() != settings().training()


def test_what_has_no_effect_is_not_in_the_training() -> None:
    assert settings(smooth_grad_samples=3).training() == settings().training()
    assert settings(localisation="smooth_grad").training()["smooth_grad_samples"] == 50
    assert settings(map_sigma=8.0).training() == settings().training()
    assert settings(image_size=128).training()["map_sigma"] == 4
    assert settings(epochs=5).training() == settings(epochs=5, evaluate_every=7).training()
    cost = settings(measure="cost", epochs=5, mse_weight=0.1).training()
    assert cost == settings(measure="cost").training() and cost["measure"] == "cost"


def test_the_published_cloners_of_vgg_16() -> None:
    small, equal = (cloner_widths("vgg16", (4, 8, 16, 32), equal) for equal in (False, True))
    assert small == ((16, 16), (16, 128), (16, 16, 256), (16, 16, 512), (16, 16, 512))
    assert equal == ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)
    assert parameters(Cloner(small, (4, 8, 16, 32), linear=False)) == cloner_parameters(small) == 343_984
    assert parameters(Cloner(equal, (4, 8, 16, 32), linear=False)) == cloner_parameters(equal) == 14_715_968
    assert cloner_products(small, 128) / 1e9 == pytest.approx(0.227, abs=0.001)
    assert cloner_products(small, 256) / 1e9 == pytest.approx(0.909, abs=0.001)


@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_b0", "vgg16"])
@pytest.mark.parametrize("levels", [(4, 8, 16, 32), (8, 16)])
def test_the_cloner_gives_maps_of_the_sources_shapes(backbone: str, levels: tuple[int, ...]) -> None:
    made = settings(backbone=backbone, levels=levels, image_size=32, weights="random")
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    source = make_source(resolve_weights(backbone, "random", 0, download=False), levels, 32)
    with torch.no_grad():
        cloned, wanted = make_cloner(made.training()).eval()(images), source(images)
    shapes = {level: tuple(maps.shape) for level, maps in wanted.items()}
    assert {level: tuple(maps.shape) for level, maps in cloned.items()} == shapes
    assert all(shapes[level][1] == source_channels(backbone, level) for level in levels)
    assert min(float(maps.min()) for maps in cloned.values()) < 0 or backbone != "efficientnet_b0"


def test_values_kept_for_training_are_the_outputs_of_layers() -> None:
    widths, count = ((4, 5), (4, 4, 6)), 0
    cloner, values = Cloner(widths, (4,), linear=False), torch.zeros(1, 3, 16, 16)
    for layer in cloner.features:
        values = layer(values)
        count += 0 if isinstance(layer, torch.nn.ReLU) else values.numel()
    assert cloner_values(widths, 16) == count


def test_needs_and_estimates() -> None:
    needs = settings().needs()
    assert needs.images and not needs.features
    assert needs.network is not None and needs.network.levels == (4, 8, 16, 32)
    pooled = settings(backbone="vgg16").needs().network
    assert pooled is not None and pooled.levels == (2, 4, 8, 16)
    assert settings().steps(COUNTS) == 600 * 4
    assert settings(measure="cost").steps(COUNTS) == 0
    published = settings(backbone="vgg16", image_size=128, input_normalisation="none")
    work = published.work(COUNTS)
    training = 2 * 200 * 600 * 3 * 0.227e9
    assert work.operations == pytest.approx(training + 2 * 200 * 5.0e9 + 60 * 80 * 3 * 2 * 5.24e9, rel=0.01)
    cached = 200 * 237_568 * 4
    step = 64 * 177 * 128**2 * 4  # 177 numbers per pixel are kept for a step's gradients
    assert 2.5e9 > work.memory > cached + step
    noisy = settings(backbone="vgg16", image_size=128, localisation="smooth_grad").work(COUNTS)
    assert noisy.operations > 10 * work.operations - 10 * training
    assert settings(measure="cost").work(COUNTS).operations == 0
    assert settings().too_small(Counts(train=1, test_good=1, test_defect=1)) is None
