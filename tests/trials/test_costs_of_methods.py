"""Operations that a measurement counts, of every method beside FOD, against the methods' own formulas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fod_bench.features.backbone import Backbone
from fod_bench.features.offered import backbone_strides
from fod_bench.features.weights import Weights
from fod_bench.methods.base import Context, Split
from fod_bench.methods.cflow.settings import row_operations
from fod_bench.methods.draem.cost import forward_flops
from fod_bench.methods.patchsvdd.cost import image_flops
from fod_bench.methods.registry import method_class, settings_class
from fod_bench.methods.settings import MethodSettings
from fod_bench.trials.cost import Inference, count_flops
from tests.helpers.trial_builders import CPU, trial

SIZE, BACKBONE = 64, "resnet18"
WEIGHTS = Weights(BACKBONE, "random:0", None, 0)


def counted(name: str, **keys: Any) -> tuple[Any, int, int]:
    """The method, made of two random images and fitted where nothing is trained; its layers' operations, and all."""
    backbone = {} if name in ("draem", "patchsvdd") else {"backbone": BACKBONE, "weights": "random"}
    settings = settings_class(name).complete({"measure": "cost", "image_size": SIZE, **backbone, **keys})
    train, test = split(settings), split(settings)
    network = WEIGHTS if settings.needs().network else None
    method: Any = method_class(name)(settings.training(), train, Context(SIZE, None, network), 0, CPU)
    for step in range(0 if method.networks else method.steps_per_epoch):
        method.step(0, step)
    features = {"backbone": BACKBONE, "levels": list(getattr(settings, "levels", ())), "image_size": SIZE}
    asked = trial().model_copy(update={"method": name, "setting": settings.training(), "features": features})
    inference = Inference(asked, test, CPU, 1)
    inference.parts(method.countable())
    return method, *count_flops(inference, method.countable())


def split(settings: MethodSettings) -> Split:
    rng = np.random.default_rng(0)
    forms: dict[bool, dict[int, np.ndarray]] = {True: {}, False: {}}
    for need in settings.needs().features:
        for level in need.levels:
            side = SIZE // level
            values = rng.normal(size=(2, side, side, backbone_strides(BACKBONE)[level]))
            forms[need.pooled][level] = values.astype(np.float32)
    images = rng.integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8) if settings.needs().images else None
    return Split(forms[True], forms[False], images)


def of_backbone(levels: tuple[int, ...] = (8, 16)) -> int:
    """Operations of the backbone's convolutions, from the shapes that go in and out."""
    backbone, found = Backbone(WEIGHTS, levels, image_size=SIZE), []

    def convolution(layer: nn.Module, given: Any, out: Any) -> None:
        found.append(2 * out.numel() * layer.weight[0].numel())

    for layer in backbone.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(convolution)
    backbone.maps_of(torch.zeros(1, 3, SIZE, SIZE))
    return sum(found)


@pytest.mark.parametrize(
    ("name", "keys", "expected"),
    [
        ("draem", {"width": 4}, lambda: forward_flops(4, SIZE)),
        ("patchsvdd", {}, lambda: image_flops(SIZE, 64)),
        (
            "cflow",
            {"fiber": 16},
            lambda: of_backbone() + sum((SIZE // s) ** 2 * row_operations(c, 128, 8) for s, c in ((8, 128), (16, 256))),
        ),
        ("patchcore", {"embedding": "official", "coreset_ratio": 0.1}, of_backbone),
        ("padim", {"channels": 20}, of_backbone),
    ],
)
def test_layers_are_those_of_the_methods_own_formula(
    name: str, keys: dict[str, Any], expected: Callable[[], int]
) -> None:
    _, layers, everything = counted(name, **keys)
    assert layers == expected() <= everything


def test_a_frozen_network_that_a_method_runs_is_counted_and_the_gradient_is_not() -> None:
    method, layers, everything = counted("mkd")
    with FlopCounterMode(display=False) as cloner:
        method.cloner(torch.zeros(1, 3, SIZE, SIZE))
    assert layers == of_backbone((4, 8, 16, 32)) + cloner.get_total_flops()
    assert everything > 1.5 * layers, "backwards through both"
