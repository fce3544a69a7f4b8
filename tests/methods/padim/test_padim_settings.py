"""Settings of PaDiM: what is refused, what changes a training, and what is known of its cost before it runs."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from fod_bench.methods.padim.method import PadimMethod
from fod_bench.methods.padim.settings import PadimSettings
from fod_bench.methods.registry import method_class, settings_class
from fod_bench.records.record import Counts

COUNTS = Counts(train=200, test_good=30, test_defect=80)


def settings(**keys: object) -> PadimSettings:
    return PadimSettings.complete({"method": "padim", **keys})


def test_it_is_registered() -> None:
    assert settings_class("padim") is PadimSettings and method_class("padim") is PadimMethod


def test_every_key_is_documented() -> None:
    assert settings().method == PadimSettings.complete({}).method == "padim"
    assert all(field.description for field in PadimSettings.model_fields.values())


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"channels": 273}, "273 cannot be kept of the 272 that levels 8+16 of tf_efficientnet_b6.aa_in1k have"),
        ({"channels": 313, "levels": [4, 8, 16]}, "take at most 312, or `all`"),
        ({"channels": 0}, "channels"),
        ({"channels": "some"}, "channels"),
        ({"score_levels": [8]}, "one Gaussian of all levels together"),
        ({"levels": [8, 12], "image_size": 240}, "has no level of stride 12"),
        ({"scoring": "rec"}, "rec"),
        ({"ridge": 0.1}, "ridge"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(keys: dict[str, object], text: str) -> None:
    with pytest.raises(ValidationError, match=r".*") as refused:
        settings(**keys)
    assert text in str(refused.value)


def test_levels_that_are_no_multiples_of_the_finest_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("fod_bench.methods.settings", "fod_bench.methods.padim.settings"):
        monkeypatch.setattr(f"{module}.backbone_strides", lambda name: {8: 64, 12: 64, 16: 64})
    with pytest.raises(ValidationError, match="level 12 is no multiple of level 8"):
        settings(levels=[8, 12], image_size=240)


def test_as_many_channels_as_there_are_is_all_of_them() -> None:
    assert settings(channels=272).training() == settings(channels="all").training()
    assert settings(channels="all", channels_seed=5).training() == settings(channels="all").training()
    assert settings(channels=271).training() != settings(channels="all").training()


def test_the_training_is_what_changes_it_and_no_more() -> None:
    usual = settings().training()
    assert usual["channels"] == 100 and usual["channels_seed"] == 1024
    assert settings(weights="random", resize="crop").training() == usual
    for change in ({"channels": 90}, {"channels_seed": 1}, {"levels": [4, 8, 16]}, {"image_size": 320}):
        assert settings(**change).training() != usual
    assert "channels_seed" not in settings(measure="cost").training()


def test_features_without_pooling_are_asked_for() -> None:
    [need] = settings().needs().features
    assert not need.pooled and need.levels == (8, 16)


def test_the_score_has_no_levels() -> None:
    assert settings().score == PadimMethod.primary_score


def test_one_training_image_is_too_few() -> None:
    one, two = (Counts(train=train, test_good=1, test_defect=1) for train in (1, 2))
    assert "two" in (settings().too_small(one) or "") and settings().too_small(two) is None


def test_the_estimate_is_near_the_published_sizes() -> None:
    work = settings().work(COUNTS)
    assert 4e9 < work.operations - 110 * 4 * 256**3 < 8e9
    assert 3e8 < work.memory < 6e8
    assert settings(channels="all").work(COUNTS).memory > work.memory + 1024 * 4 * (272**2 - 100**2)
    assert settings(measure="cost").work(COUNTS).operations == settings(measure="cost").steps(COUNTS) == 0
