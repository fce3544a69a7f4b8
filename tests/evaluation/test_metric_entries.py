"""One entry per metric: what it gives on the host, on a device and in a report; average precision against its slow twin."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from fod_bench.evaluation.measures import MEASURES
from fod_bench.evaluation.metric import METRICS, of_side
from fod_bench.evaluation.on_device import DeviceMasks, metrics_of_row, pixel_row
from fod_bench.evaluation.ranking import image_metrics, pixel_metrics, region_weights


def average_precision_by_thresholds(scores: np.ndarray, labels: np.ndarray) -> float:
    """Precision times gain in recall over every threshold, from the highest."""
    total, recall = 0.0, 0.0
    for threshold in np.unique(scores)[::-1]:
        found = scores >= threshold
        hits = np.sum(found & (labels > 0))
        total += (hits / np.sum(labels > 0) - recall) * hits / np.sum(found)
        recall = hits / np.sum(labels > 0)
    return float(total)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=30))
def test_average_precision_of_images(samples: list[tuple[int, bool]]) -> None:
    """Few distinct scores, so that most are tied."""
    scores, labels = np.array([s for s, _ in samples], float), np.array([d for _, d in samples], int)
    if 0 < labels.sum() < labels.size:
        found = image_metrics(scores, labels)["image_ap"]
        assert found == pytest.approx(average_precision_by_thresholds(scores, labels), abs=1e-12)
        assert found == pytest.approx(average_precision_score(labels, scores), abs=1e-12)


def test_average_precision_of_pixels() -> None:
    rng = np.random.default_rng(3)
    masks = (rng.random((2, 12, 11)) < 0.2).astype(np.uint8)
    maps = np.round(rng.normal(masks, 1.0), 1).astype(np.float32)
    found = pixel_metrics(maps, masks)["pixel_ap"]
    assert found == pytest.approx(average_precision_by_thresholds(maps.ravel(), masks.ravel()), abs=1e-12)


def test_every_pixel_metric_is_the_same_on_a_device() -> None:
    rng = np.random.default_rng(4)
    masks = (rng.random((3, 16, 16)) < 0.1).astype(np.uint8)
    maps = np.round(rng.normal(masks, 1.0), 1).astype(np.float32)
    there = DeviceMasks(masks, region_weights(masks), torch.device("cpu"))
    found = metrics_of_row(pixel_row(torch.from_numpy(maps), there).tolist())
    assert found == pytest.approx(pixel_metrics(maps, masks), abs=1e-12)
    assert list(found) == list(of_side("pixel"))


def test_an_entry_is_complete() -> None:
    for name, metric in METRICS.items():
        assert name.startswith(f"{metric.side}_")
        assert MEASURES[name].title == metric.title
        assert (metric.device is not None) == (metric.side == "pixel")
