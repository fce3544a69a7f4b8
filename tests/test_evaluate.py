"""From score maps to metrics: every scoring by itself, and what a test split leaves undefined."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fod_bench.evaluate import Truth, evaluate
from fod_bench.methods.base import ScoreMaps
from fod_bench.metrics import NonFiniteScoresError, aupro, f1_max
from fod_bench.record import METRICS

LABELS = np.array([0, 0, 1, 1, 1], np.uint8)
MASKS = np.zeros((5, 16, 16), np.uint8)
MASKS[2:, 4:9, 3:7] = 1


def scoring(name: str, seed: int, pictures: int = 5) -> ScoreMaps:
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(pictures, 16, 16)).astype(np.float32) + MASKS[:pictures]
    return ScoreMaps(name, maps, rng.normal(size=pictures).astype(np.float32))


def test_every_scoring_gets_every_metric() -> None:
    given = [scoring("rec@8", 1), scoring("rec_div@8", 2)]
    found, undefined = evaluate(iter(given), Truth(LABELS, MASKS))
    assert list(found) == ["rec@8", "rec_div@8"] and undefined == {}
    for maps in given:
        values = found[maps.score]
        assert tuple(values) == METRICS
        assert values["image_auroc"] == pytest.approx(roc_auc_score(LABELS, maps.images))
        assert values["pixel_auroc"] == pytest.approx(roc_auc_score(MASKS.ravel(), maps.pixels.ravel()))
        assert values["pixel_aupro"] == aupro(maps.pixels, MASKS)
        assert values["image_f1_max"] == f1_max(maps.images, LABELS)
        assert values["pixel_f1_max"] == f1_max(maps.pixels, MASKS)


@pytest.mark.parametrize(
    ("chosen", "reasons"),
    [
        (
            slice(0, 2),
            {"image": "no defect in the test split: no picture", "pixel": "no defect in the test split: no pixel"},
        ),
        (slice(2, 5), {"image": "no normal picture in the test split"}),
    ],
    ids=["no defect", "no good picture"],
)
def test_a_class_that_is_missing_leaves_its_metrics_undefined(chosen: slice, reasons: dict[str, str]) -> None:
    labels, masks = LABELS[chosen], MASKS[chosen]
    found, undefined = evaluate(
        [scoring("rec@8", 1, len(labels)), scoring("div@8", 2, len(labels))], Truth(labels, masks)
    )
    for name in METRICS:
        reason = reasons.get(name.split("_")[0])
        assert (name in undefined) == (reason is not None)
        if reason is not None:
            assert undefined[name].startswith(reason)
        assert all((values[name] is None) == (reason is not None) for values in found.values())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_an_error_even_where_nothing_is_defined(value: float) -> None:
    broken = scoring("rec@8", 1)
    broken.pixels[1, 2, 3] = value
    with pytest.raises(NonFiniteScoresError, match="1 of 1280 pixel scores are not finite"):
        evaluate([broken], Truth(LABELS, MASKS))
    with pytest.raises(NonFiniteScoresError, match="1 of 5 picture scores are not finite"):
        evaluate(
            [broken._replace(images=np.array([0, 0, 0, 0, value], np.float32))], Truth(np.zeros(5, np.uint8), MASKS)
        )


def test_nothing_to_score_gives_nothing() -> None:
    assert evaluate([], Truth(LABELS, MASKS)) == ({}, {})
