"""Medians of ranges, beside the median of each range by itself."""

from __future__ import annotations

import statistics

import numpy as np
import pytest

from fod_bench.plan.medians import range_medians


@pytest.mark.parametrize("seed", range(20))
def test_each_is_the_median_of_its_range(seed: int) -> None:
    draw = np.random.default_rng(seed)
    values = draw.choice([draw.random(60), draw.integers(0, 4, 60).astype(float)][seed % 2], draw.integers(1, 60))
    bounds = np.sort(draw.integers(0, len(values) + 1, (40, 2)), axis=1)
    found = range_medians(values, bounds[:, 0], bounds[:, 1])
    for (start, stop), median in zip(bounds.tolist(), found.tolist(), strict=True):
        assert np.isnan(median) if start == stop else median == statistics.median(values[start:stop].tolist())


def test_of_nothing() -> None:
    none = np.zeros(0, np.int64)
    assert len(range_medians(np.zeros(0), none, none)) == 0
    assert np.isnan(range_medians(np.zeros(0), np.array([0]), np.array([0]))).all()
