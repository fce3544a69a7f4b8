"""What PatchSVDD's settings take, refuse and answer."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from fod_bench.methods.patchsvdd.settings import PatchSvddSettings
from fod_bench.methods.registry import settings_class
from fod_bench.methods.settings import Needs, Work
from fod_bench.records.record import Counts

COUNTS = Counts(train=200, test_good=30, test_defect=70)


def made(**keys: Any) -> PatchSvddSettings:
    return PatchSvddSettings.complete(keys)


def test_defaults_are_the_published_ones() -> None:
    assert settings_class("patchsvdd") is PatchSvddSettings
    assert made().training() == {
        "method": "patchsvdd",
        "image_size": 256,
        "embedding": 64,
        "svdd_weight": 1e-3,
        "learning_rate": 1e-4,
        "batch_size": 64,
        "repeats": 100,
        "epochs": 299,
        "evaluate_every": 10,
    }
    assert made().needs() == Needs(images=True)
    assert made().score == "mult"
    assert all(field.description for field in PatchSvddSettings.model_fields.values())


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"image_size": 63}, "at least 64"),
        ({"scoring": "product"}, "mult"),
        ({"svdd_weight": -1.0}, "svdd_weight"),
        ({"repeats": 0}, "repeats"),
        ({"embedding": 2.5}, "embedding"),
        ({"backbone": "resnet18"}, "backbone"),
        ({"measure": "cost", "scoring": "sum"}, "scoring"),
    ],
)
def test_bad_settings_are_refused_with_the_reason(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        made(**keys)


@pytest.mark.parametrize("scoring", ["patch32", "patch64", "sum", "mult"])
def test_scorings_share_a_training(scoring: str) -> None:
    assert made(scoring=scoring).score == scoring
    assert made(scoring=scoring).training() == made().training()


def test_evaluate_every_beyond_the_last_epoch_is_the_last() -> None:
    assert made(epochs=3).training() == made(epochs=3, evaluate_every=3).training()


def test_a_measurement_leaves_out_what_costs_nothing() -> None:
    measured = made(measure="cost", epochs=3, svdd_weight=1.0, learning_rate=1.0, evaluate_every=1)
    assert measured.training() == made(measure="cost").training()
    assert measured.training()["measure"] == "cost"
    assert measured.score == "cost"
    assert measured.steps(COUNTS) == 0 and measured.work(COUNTS) == Work(0.0, 0.0)


def test_one_training_image_is_too_few() -> None:
    assert made().too_small(COUNTS) is None
    refused = made().too_small(Counts(train=1, test_good=1, test_defect=1))
    assert refused is not None and "at least 2" in refused


def test_steps_and_work() -> None:
    assert made(epochs=3).steps(COUNTS) == 3 * 313
    one, more = made(epochs=1).work(COUNTS), made(epochs=10, evaluate_every=1).work(COUNTS)
    assert more.operations == pytest.approx(10 * one.operations)
    assert one.operations == pytest.approx(68e12 + 27e12 + 300 * 10.4e9, rel=0.02)
    assert one.memory > 64 * 7.6e6 + 2 * 200 * 0.87e6
    assert made(epochs=10).work(COUNTS).operations < more.operations, "one evaluation, not ten"


def test_settings_are_read_without_torch() -> None:
    code = "import sys; import fod_bench.methods.patchsvdd.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
