"""Settings of CFLOW-AD: what is refused, what changes a training, how a pass is cut."""

from __future__ import annotations

from itertools import chain

import pytest
from pydantic import ValidationError

from fod_bench.methods.cflow.fibers import cut
from fod_bench.methods.cflow.method import CflowMethod
from fod_bench.methods.cflow.settings import CflowSettings
from fod_bench.methods.registry import method_class, settings_class
from fod_bench.records.record import Counts

COUNTS = Counts(train=200, test_good=30, test_defect=80)


def settings(**keys: object) -> CflowSettings:
    return CflowSettings.complete({"method": "cflow", **keys})


def counts(train: int) -> Counts:
    return Counts(train=train, test_good=1, test_defect=1)


def test_it_is_registered() -> None:
    assert settings_class("cflow") is CflowSettings and method_class("cflow") is CflowMethod


def test_every_key_is_documented() -> None:
    assert settings().method == CflowSettings.complete({}).method == "cflow"
    assert all(field.description for field in CflowSettings.model_fields.values())


def test_defaults_are_the_published_ones() -> None:
    made = settings()
    assert (made.blocks, made.condition, made.clamp, made.fiber, made.batch_size) == (8, 128, 1.9, 256, 32)
    assert (made.learning_rate, made.decay, made.warm_epochs, made.epochs, made.sub_epochs) == (2e-4, 0.1, 2, 25, 8)


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (
            {"condition": 130},
            "130 is not a multiple of 4, which the 2-D sine/cosine position code needs; 128 or 132 is",
        ),
        ({"condition": 2}, "; 4 is"),
        ({"score_levels": [32]}, "level 32 is not among the trained levels 8, 16"),
        ({"levels": [8, 12]}, "has no level of stride 12"),
        ({"fiber": 0}, "fiber"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"scoring": "rec"}, "rec"),
        ({"meta_epochs": 25}, "meta_epochs"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(keys: dict[str, object], text: str) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(**keys)
    assert text in str(refused.value)


def test_the_training_is_what_changes_it_and_no_more() -> None:
    usual = settings().training()
    assert settings(weights="random", resize="crop", score_levels=[8]).training() == usual
    assert settings(evaluate_every=99).training() == settings(evaluate_every=25).training()
    changes = {
        **{"blocks": 4, "condition": 64, "clamp": 2.0, "fiber": 64, "batch_size": 8, "learning_rate": 1e-3},
        **{"decay": 0.2, "warm_epochs": 1, "epochs": 3, "sub_epochs": 1, "evaluate_every": 5},
        **{"zero_gradient_step": True, "levels": [8], "image_size": 320},
    }
    for key, value in changes.items():
        assert settings(**{key: value}).training() != usual, key
    one = settings(levels=[8])
    assert settings(levels=[8], zero_gradient_step=True).training() == one.training()


def test_what_changes_no_cost_is_no_part_of_a_measurement() -> None:
    usual = settings(measure="cost").training()
    assert settings(measure="cost", epochs=1, learning_rate=1.0, decay=1.0, warm_epochs=9).training() == usual
    assert settings(measure="cost", fiber=64).training() != usual
    assert settings(measure="cost").steps(COUNTS) == settings(measure="cost").work(COUNTS).operations == 0


def test_features_without_pooling_are_asked_for() -> None:
    [need] = settings().needs().features
    assert not need.pooled and need.levels == (8, 16)


def test_scores_are_named_by_levels() -> None:
    assert settings().score == "score@8+16" and settings(score_levels=[16]).score == "score@16"


class TestCut:
    def test_the_published_sizes(self) -> None:
        made = cut(200, {8: 1024, 16: 256}, 32, 256)
        assert (made.batch, made.batches, made.fibers) == (32, 6, {8: 128, 16: 32})
        assert settings().steps(COUNTS) == 25 * 8 * 6 * made.pieces

    def test_every_fiber_is_taken_once_and_every_level_in_every_step(self) -> None:
        for images, positions, batch, fiber in ((7, {8: 64, 16: 36}, 3, 4), (200, {8: 1024, 16: 256}, 32, 256)):
            made = cut(images, positions, batch, fiber)
            assert made.pieces > 1
            for level, count in made.fibers.items():
                shares = [list(made.share(level, piece)) for piece in range(made.pieces)]
                assert list(chain(*shares)) == list(range(count)) and all(shares)
                assert max(map(len, shares)) <= 16

    def test_a_level_of_few_fibers_is_in_every_step(self) -> None:
        made = cut(4, {4: 4096, 32: 64}, 4, 128)
        assert made.fibers == {4: 128, 32: 2} and made.pieces == 2

    def test_fewer_images_than_a_batch_are_a_batch(self) -> None:
        made = cut(5, {16: 256}, 32, 256)
        assert (made.batch, made.batches) == (5, 1)

    def test_in_order_a_batch_is_one_step(self) -> None:
        assert cut(200, {8: 1024, 16: 256}, 32, 256, in_order=True).pieces == 1
        whole = settings(zero_gradient_step=True)
        assert whole.steps(COUNTS) == 25 * 8 * 6
        alone = {"levels": [8], "zero_gradient_step": True}
        assert settings(**alone).steps(COUNTS) == settings(levels=[8]).steps(COUNTS)


def test_a_batch_of_fewer_rows_than_a_fiber_is_refused_by_level() -> None:
    made = settings(levels=[16, 32])
    assert made.too_small(counts(4)) is None
    assert made.too_small(counts(3)) == (
        "3 images have 192 rows of features at level 32, less than a fiber of 256; set `fiber` to at most 192, or have 4 images "
        "in a batch"
    )
    assert "1 image has 64 rows" in (made.too_small(counts(1)) or "")
    assert settings(levels=[32], batch_size=2).too_small(counts(100)) is not None
    assert settings(levels=[32], fiber=64).too_small(counts(1)) is None
    assert made.steps(counts(3)) == 0


def test_the_estimate_is_near_the_published_sizes() -> None:
    work = settings().work(COUNTS)
    assert work.operations == pytest.approx(270e12, rel=0.1)
    assert 1e8 < work.memory < 2e9
