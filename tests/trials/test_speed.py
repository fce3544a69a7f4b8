"""How fast methods are, measured for moments: numbers that can be."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fod_bench.errors import TrialError
from fod_bench.methods.registry import BUILT_IN, method_class, settings_class
from fod_bench.methods.settings import MethodSettings
from fod_bench.records.record import Counts
from fod_bench.trials.speed import _median_seconds, few_images, measure_speed, random_data
from tests.helpers.commands import TINY

CPU = torch.device("cpu")
COUNTS = Counts(train=6, test_good=3, test_defect=2)
RESNET: dict[str, Any] = {"backbone": "resnet18", "weights": "random", "image_size": 64}
SMALL: dict[str, dict[str, Any]] = {
    "fod": TINY | {"epochs": 5, "evaluate_every": 2},
    "patchcore": RESNET | {"coreset_ratio": 0.1},
    "draem": {"image_size": 64, "width": 4, "batch_size": 2, "epochs": 2, "evaluate_every": 1},
    "mkd": RESNET | {"batch_size": 3, "epochs": 2, "evaluate_every": 1},
    "padim": RESNET | {"channels": 20},
    "cflow": RESNET | {"blocks": 2, "condition": 16, "fiber": 32, "epochs": 2, "sub_epochs": 1},
    "patchsvdd": {"image_size": 64, "batch_size": 4, "repeats": 2, "epochs": 2, "evaluate_every": 1},
}


def settings(name: str, **changes: Any) -> MethodSettings:
    return settings_class(name).complete(SMALL[name] | {"method": name} | changes)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.parametrize("name", SMALL)
def test_a_methods_speed_is_of_its_steps_and_evaluations(name: str) -> None:
    step, image, evaluations = measure_speed(settings(name), COUNTS, 1, 0.01, CPU)
    assert 0 < step < 60 and 0 < image < 60
    assert math.isfinite(step) and math.isfinite(image)
    assert evaluations == {"fod": 3, "patchcore": 1, "draem": 2, "mkd": 2, "padim": 1, "cflow": 2, "patchsvdd": 2}[name]


def test_all_built_in_methods_are_measured() -> None:
    assert set(SMALL) == set(BUILT_IN)


def test_networks_that_take_long_are_not_trained_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    kind = method_class("mkd")
    step = kind.step

    def counted(self: Any, *place: int) -> torch.Tensor:
        taken.append(place)
        return step(self, *place)

    monkeypatch.setattr(kind, "step", counted)
    monkeypatch.setattr(kind, "networks", (), raising=False)  # as of a method that tells none
    measure_speed(settings("mkd", epochs=10_000, evaluate_every=1000), COUNTS, 1, 0.01, CPU)
    assert len(taken) < 1000


def test_a_packs_step_is_one_of_all_its_members() -> None:
    one, _, _ = measure_speed(settings("fod"), COUNTS, 1, 0.01, CPU)
    four, _, _ = measure_speed(settings("fod"), COUNTS, 4, 0.01, CPU)
    assert 0 < four < 100 * one


def test_what_the_method_refuses_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOD_BENCH_CORRELATION", "none such")
    with pytest.raises(TrialError, match="none such"):
        measure_speed(settings("fod"), COUNTS, 1, 0.01, CPU)


def test_images_are_few_but_fill_a_batch() -> None:
    many = Counts(train=300, test_good=3, test_defect=2)
    assert few_images(settings("fod"), many) == 4
    assert few_images(settings("fod", batch_size=20), many) == 32
    assert few_images(settings("fod", batch_size=20), COUNTS) == 6, "no more than there are"
    assert few_images(settings("patchcore"), many) == 64, "it has no batches"
    assert few_images(settings("fod", reference={"kind": "coreset", "per_position": 10}), many) == 16


def test_random_data_have_the_forms_that_a_method_needs() -> None:
    drawn = random_data(settings("fod"), COUNTS, CPU)
    assert {level: array.shape for level, array in drawn.train.pooled.items()} == {
        8: (4, 8, 8, 128),
        16: (4, 4, 4, 256),
    }
    assert drawn.context.reference is not None and not drawn.train.unpooled
    drawn = random_data(settings("fod", reference="nearest"), COUNTS, CPU)
    assert drawn.train.reference_rows[8].shape == (4, 8, 8)
    drawn = random_data(settings("mkd"), COUNTS, CPU)
    assert drawn.train.images is not None and drawn.train.images.shape == (4, 64, 64, 3)
    assert drawn.context.network is not None and drawn.context.network.backbone == "resnet18"
    assert np.isin(drawn.truth.masks, (0, 1)).all() and drawn.truth.both_classes


def test_what_takes_long_is_called_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("fod_bench.trials.timing.time.perf_counter", lambda: clock[0])
    calls = []

    def call(seconds: float) -> None:
        calls.append(seconds)
        clock[0] += seconds

    assert _median_seconds(lambda: call(30.0), 0.4, CPU) == 30.0 and len(calls) == 1
    calls.clear()
    assert _median_seconds(lambda: call(0.01), 0.4, CPU) == pytest.approx(0.01)
    assert 40 < len(calls) < 60
