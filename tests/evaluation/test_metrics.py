"""Each metric against a slow, obvious twin, against scikit-learn where it has it, and on the inputs that define none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn.metrics import precision_recall_curve, roc_auc_score

from fod_bench.evaluation.metric import METRICS
from fod_bench.evaluation.ranking import (
    NonFiniteScoresError,
    UndefinedMetricError,
    aupro,
    auroc,
    f1_max,
    image_metrics,
    pixel_metrics,
    region_weights,
)

PROPERTY = settings(max_examples=60, deadline=None, derandomize=True)


def auroc_by_pairs(scores: np.ndarray, labels: np.ndarray) -> float:
    """Every positive against every negative."""
    pairs = [(p, n) for p in scores[labels > 0].tolist() for n in scores[labels == 0].tolist()]
    return sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs) / len(pairs)


def f1_by_thresholds(scores: np.ndarray, labels: np.ndarray) -> float:
    """F1 of every prediction `score >= threshold`."""
    best = 0.0
    for threshold in np.unique(scores):
        found = scores >= threshold
        best = max(best, 2 * np.sum(found & (labels > 0)) / (np.sum(found) + np.sum(labels > 0)))
    return float(best)


def regions_by_flood(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """Pixels of each 8-connected region of one mask."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    regions = []
    while left:
        region, front = [], [left.pop()]
        while front:
            y, x = front.pop()
            region.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            front += near
        regions.append(region)
    return regions


def aupro_by_thresholds(scores: np.ndarray, masks: np.ndarray, limit: float) -> float:
    """The curve threshold by threshold, integrated by the trapezoidal rule, cut at the limit by interpolation."""
    regions = [
        [scores[i, y, x] for y, x in region] for i, mask in enumerate(masks) for region in regions_by_flood(mask)
    ]
    normal = scores[masks == 0]
    rates, overlaps = [0.0], [0.0]
    for threshold in np.unique(scores)[::-1]:
        rates.append(float(np.mean(normal >= threshold)))
        overlaps.append(float(np.mean([np.mean(np.array(region) >= threshold) for region in regions])))
    area = 0.0
    for i in range(1, len(rates)):
        (x0, y0), (x1, y1) = (rates[i - 1], overlaps[i - 1]), (rates[i], overlaps[i])
        if x1 > limit:
            if x0 >= limit:
                break
            x1, y1 = limit, y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


def some_samples(scores: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    """Up to 30 scores with labels of both classes."""
    pairs = st.lists(st.tuples(scores, st.booleans()), min_size=2, max_size=30)
    both = pairs.filter(lambda found: len({label for _, label in found}) == 2)
    return both.map(lambda found: (np.array([s for s, _ in found]), np.array([label for _, label in found])))


few_integers = some_samples(st.integers(-3, 3))
floats = some_samples(st.floats(-1e6, 1e6, width=32))


@st.composite
def some_maps(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Small score maps with many ties, and masks of both classes."""
    shape = draw(array_shapes(min_dims=3, max_dims=3, max_side=6).filter(lambda sides: np.prod(sides) > 1))
    masks = draw(arrays(np.uint8, shape, elements=st.integers(0, 1)).filter(lambda m: m.min() < m.max()))
    return draw(arrays(np.float32, shape, elements=st.integers(0, 9).map(float))), masks


@PROPERTY
@given(few_integers | floats)
def test_auroc_is_the_share_of_pairs_in_order(samples: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = samples
    assert auroc(scores, labels) == pytest.approx(auroc_by_pairs(scores, labels), abs=1e-12)
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@PROPERTY
@given(few_integers | floats)
def test_f1_max_is_the_best_threshold(samples: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = samples
    precision, recall, _ = precision_recall_curve(labels, scores)
    with np.errstate(invalid="ignore"):
        from_curve = np.nanmax(2 * precision * recall / (precision + recall))
    assert f1_max(scores, labels) == pytest.approx(f1_by_thresholds(scores, labels), abs=1e-12)
    assert f1_max(scores, labels) == pytest.approx(from_curve, abs=1e-12)


@PROPERTY
@given(some_maps(), st.sampled_from([0.05, 0.3, 1.0]))
def test_aupro_is_the_area_under_the_curve(maps: tuple[np.ndarray, np.ndarray], limit: float) -> None:
    scores, masks = maps
    assert aupro(scores, masks, limit) == pytest.approx(aupro_by_thresholds(scores, masks, limit), abs=1e-12)


@PROPERTY
@given(few_integers)
def test_only_the_order_of_scores_counts(samples: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = samples
    for metric in (auroc, f1_max):
        assert metric(np.exp(scores * 1.5) - 40.0, labels) == metric(scores, labels)
    assert auroc(-scores, labels) == pytest.approx(1 - auroc(scores, labels), abs=1e-12)


def test_pixel_metrics_are_those_of_the_single_functions() -> None:
    rng = np.random.default_rng(0)
    masks = (rng.random((3, 20, 21)) < 0.1).astype(np.uint8)
    scores = rng.normal(masks, 1.0).astype(np.float32)
    alone = {
        "pixel_auroc": auroc(scores, masks),
        "pixel_aupro": aupro(scores, masks),
        "pixel_f1_max": f1_max(scores, masks),
    }
    assert pixel_metrics(scores, masks).items() >= alone.items()
    assert aupro(scores, masks) == pytest.approx(aupro_by_thresholds(scores, masks, 0.3), abs=1e-12)
    assert auroc(scores, masks) == pytest.approx(roc_auc_score(masks.ravel(), scores.ravel()), abs=1e-12)


def test_names_are_those_of_the_record() -> None:
    masks = np.zeros((1, 2, 2), dtype=bool)
    masks[0, 0, 0] = True
    named = {**image_metrics(np.array([0.0, 1.0]), np.array([0, 1])), **pixel_metrics(masks.astype(float), masks)}
    assert sorted(named) == sorted(METRICS)
    assert set(named.values()) == {1.0}


def test_constant_scores_tell_nothing() -> None:
    scores, labels = np.full(8, 0.25, dtype=np.float32), np.array([1, 1, 0, 0, 0, 0, 0, 0])
    assert auroc(scores, labels) == 0.5
    assert f1_max(scores, labels) == pytest.approx(2 * 2 / (8 + 2))  # everything is called defective
    assert aupro(scores.reshape(2, 2, 2), labels.reshape(2, 2, 2)) == pytest.approx(0.15)  # the diagonal up to 0.3


def test_neighbouring_floats_and_large_offsets_stay_apart() -> None:
    scores = np.array([1.0, np.nextafter(np.float32(1), np.float32(2))], dtype=np.float32)
    assert auroc(scores, np.array([0, 1])) == 1.0
    assert auroc(np.array([2**53, 2**53 + 1]), np.array([0, 1])) == 1.0  # integers are not rounded to floats


def test_every_region_weighs_the_same_whatever_its_size() -> None:
    masks = np.zeros((2, 6, 6), dtype=np.uint8)
    masks[0, :2, :2] = 255  # four pixels
    masks[0, 2, 2] = 255  # touches them at a corner: the same region
    masks[0, 5, 5] = 255  # one pixel
    masks[1, 5, 5] = 255  # the same place in another image
    weights = region_weights(masks)
    np.testing.assert_allclose(weights, [1 / 15] * 5 + [1 / 3] * 2)
    scores = np.zeros(masks.shape)
    scores[1, 5, 5] = 1.0  # found before any normal pixel; the rest is tied with all of them
    assert aupro(scores, masks) == pytest.approx(1 / 3 + 2 / 3 * 0.15)


def test_arguments_are_left_as_they_were() -> None:
    scores, masks = np.array([[[3.0, 1.0], [2.0, 0.0]]]), np.array([[[0, 1], [0, 1]]])
    before = scores.copy(), masks.copy()
    pixel_metrics(scores, masks)
    np.testing.assert_array_equal(scores, before[0])
    np.testing.assert_array_equal(masks, before[1])


ALL: list[tuple[Callable[..., Any], tuple[int, ...]]] = [
    (auroc, (4,)),
    (f1_max, (4,)),
    (image_metrics, (4,)),
    (aupro, (1, 2, 2)),
    (pixel_metrics, (1, 2, 2)),
]


@pytest.mark.parametrize(("metric", "shape"), ALL)
class TestRefused:
    def test_no_defect(self, metric: Callable[..., Any], shape: tuple[int, ...]) -> None:
        with pytest.raises(UndefinedMetricError, match="no defect in the test split"):
            metric(np.arange(4.0).reshape(shape), np.zeros(shape, dtype=np.uint8))

    def test_nothing_normal(self, metric: Callable[..., Any], shape: tuple[int, ...]) -> None:
        with pytest.raises(UndefinedMetricError, match=r"no normal (sample|image|pixel) in the test split"):
            metric(np.arange(4.0).reshape(shape), np.ones(shape, dtype=bool))

    def test_empty(self, metric: Callable[..., Any], shape: tuple[int, ...]) -> None:
        empty = (0, *shape[1:])
        with pytest.raises(UndefinedMetricError, match="empty"):
            metric(np.zeros(empty), np.zeros(empty, dtype=bool))

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_not_finite(self, metric: Callable[..., Any], shape: tuple[int, ...], bad: float) -> None:
        scores = np.array([0.0, bad, 2.0, bad]).reshape(shape)
        with pytest.raises(NonFiniteScoresError, match="2 of 4"):
            metric(scores, np.array([0, 1, 0, 1]).reshape(shape))

    def test_shapes_and_types(self, metric: Callable[..., Any], shape: tuple[int, ...]) -> None:
        scores, labels = np.arange(4.0).reshape(shape), np.array([0, 1, 0, 1]).reshape(shape)
        with pytest.raises(ValueError, match="shape"):
            metric(scores, labels[..., :-1])
        with pytest.raises(ValueError, match="labels have type float64"):
            metric(scores, labels.astype(float))
        with pytest.raises(ValueError, match="scores have type complex128"):
            metric(scores.astype(complex), labels)


def test_maps_and_images_are_not_mixed_up() -> None:
    with pytest.raises(ValueError, match="images, rows, columns"):
        pixel_metrics(np.zeros((4, 4)), np.zeros((4, 4), dtype=bool))
    with pytest.raises(ValueError, match="one score per image"):
        image_metrics(np.zeros((4, 1)), np.zeros((4, 1), dtype=bool))
    with pytest.raises(ValueError, match="max_false_positive_rate"):
        aupro(np.zeros((1, 2, 2)), np.zeros((1, 2, 2), dtype=bool), max_false_positive_rate=0.0)
