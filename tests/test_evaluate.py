"""From score maps to metrics: every scoring by itself, and what a test split leaves undefined."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from fod_bench.evaluate import Truth, evaluate, rank_on_device
from fod_bench.methods.base import ScoreMaps
from fod_bench.metrics import NonFiniteScoresError, aupro, f1_max, rank_positives
from fod_bench.record import METRICS

LABELS = np.array([0, 0, 1, 1, 1], np.uint8)
MASKS = np.zeros((5, 16, 16), np.uint8)
MASKS[2:, 4:9, 3:7] = 1


def scoring(name: str, seed: int, pictures: int = 5) -> ScoreMaps:
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(pictures, 16, 16)).astype(np.float32) + MASKS[:pictures]
    return ScoreMaps(name, torch.from_numpy(maps), torch.from_numpy(rng.normal(size=pictures).astype(np.float32)))


def test_every_scoring_gets_every_metric() -> None:
    given = [scoring("rec@8", 1), scoring("rec_div@8", 2)]
    found, undefined = evaluate(iter(given), Truth(LABELS, MASKS))
    assert list(found) == ["rec@8", "rec_div@8"] and undefined == {}
    for maps in given:
        values, images, pixels = found[maps.score], maps.images.numpy(), maps.pixels.numpy()
        assert tuple(values) == METRICS
        assert values["image_auroc"] == pytest.approx(roc_auc_score(LABELS, images))
        assert values["pixel_auroc"] == pytest.approx(roc_auc_score(MASKS.ravel(), pixels.ravel()))
        assert values["pixel_aupro"] == aupro(pixels, MASKS)
        assert values["image_f1_max"] == f1_max(images, LABELS)
        assert values["pixel_f1_max"] == f1_max(pixels, MASKS)


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
        evaluate([broken._replace(images=torch.tensor([0, 0, 0, 0, value]))], Truth(np.zeros(5, np.uint8), MASKS))


def test_nothing_to_score_gives_nothing() -> None:
    assert evaluate([], Truth(LABELS, MASKS)) == ({}, {})


@pytest.mark.parametrize("levels", [None, 7], ids=["no ties", "many ties"])
def test_ranking_on_a_device_is_that_of_numpy(levels: int | None) -> None:
    rng = np.random.default_rng(3)
    maps = rng.normal(size=(5, 16, 16)).astype(np.float32)
    if levels is not None:
        maps = np.round(maps * levels) / levels  # zeros of both signs among them
    expected = rank_positives(maps, MASKS, "pixel")
    found = rank_on_device(torch.from_numpy(maps), Truth(LABELS, MASKS).defective(torch.device("cpu")))
    assert found is not None and found.negatives == expected.negatives
    for part in ("scores", "lower", "lower_or_equal"):
        np.testing.assert_array_equal(getattr(found, part), getattr(expected, part))
    given = maps[MASKS > 0]
    np.testing.assert_array_equal(given[found.order], found.scores)
    assert found.auroc() == expected.auroc() and found.f1_max() == expected.f1_max()


def test_nothing_is_ranked_on_a_device_without_both_classes_or_with_a_score_that_is_not_finite() -> None:
    maps = torch.zeros(5, 16, 16)
    defective = Truth(LABELS, MASKS).defective(torch.device("cpu"))
    assert rank_on_device(maps, torch.zeros_like(defective)) is None
    assert rank_on_device(maps, torch.ones_like(defective)) is None
    maps[0, 0, 0] = torch.inf
    assert rank_on_device(maps, defective) is None
