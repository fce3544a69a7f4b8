"""Curves of a page against scikit-learn's, and what is drawn of them."""

from __future__ import annotations

import itertools
import math
import re
from html import unescape

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve, roc_auc_score, roc_curve

from fod_bench.evaluation.ranking import rank_positives
from fod_bench.report.page.curves import POINTS, best_threshold, histogram, precision_recall, roc
from fod_bench.report.page.svg import WIDTH, Axis, Plot, Ticks


def drawn(seed: int, number: int, digits: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores, many of them tied where digits are few, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.random(number) < 0.4
    labels[:2] = False, True
    return np.round(rng.normal(size=number) + labels, digits), labels


@pytest.mark.parametrize(("seed", "number", "digits"), [(0, 12, 5), (1, 40, 0), (2, 60, 1), (3, 5000, 4)])
def test_a_roc_curve_runs_through_the_points_of_the_slow_one_and_has_its_area(
    seed: int, number: int, digits: int
) -> None:
    scores, labels = drawn(seed, number, digits)
    curve = roc(rank_positives(scores, labels))
    assert curve.area == pytest.approx(roc_auc_score(labels, scores))
    assert np.trapezoid(curve.y, curve.x) == pytest.approx(curve.area, abs=1e-9 if number < POINTS / 2 else 2e-3)
    assert len(curve.x) <= POINTS + 2 and (curve.x[0], curve.y[0], curve.x[-1], curve.y[-1]) == (0, 0, 1, 1)
    false, found, _ = roc_curve(labels, scores, drop_intermediate=False)
    if number < POINTS / 2:
        assert set(zip(false.round(9), found.round(9), strict=True)) >= set(curve_corners(curve.points()))


def curve_corners(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points at which a curve turns."""
    kept = []
    for before, at, after in zip(points, points[1:], points[2:], strict=False):
        turn = (at[0] - before[0]) * (after[1] - at[1]) - (at[1] - before[1]) * (after[0] - at[0])
        if abs(turn) > 1e-12:
            kept.append((round(at[0], 9), round(at[1], 9)))
    return kept


@pytest.mark.parametrize(("seed", "number", "digits"), [(0, 12, 5), (1, 40, 0), (2, 60, 1)])
def test_precision_and_recall_are_those_of_the_slow_curve(seed: int, number: int, digits: int) -> None:
    scores, labels = drawn(seed, number, digits)
    curve = precision_recall(rank_positives(scores, labels))
    assert curve.area == pytest.approx(average_precision_score(labels, scores))
    precision, recall, _ = precision_recall_curve(labels, scores)
    slow = set(zip(recall.round(9), precision.round(9), strict=True))
    assert {(round(x, 9), round(y, 9)) for x, y in curve.points() if x > 0} <= slow


@pytest.mark.parametrize("seed", range(4))
def test_the_threshold_begins_where_f1_is_highest(seed: int) -> None:
    scores, labels = drawn(seed, 50, 1)
    threshold = best_threshold(rank_positives(scores, labels))
    best = max(f1_score(labels, scores >= one) for one in np.unique(scores))
    assert f1_score(labels, scores >= threshold) == pytest.approx(best)


def test_a_histogram_has_shares_of_each_kind_and_counts_what_lies_beyond() -> None:
    found = histogram(np.array([0.0, 0.1, 5.0, -3.0]), np.array([False, False, True, False]), 0.0, 1.0)
    assert found.normal.sum() == pytest.approx(1) and found.defective.sum() == pytest.approx(1)
    assert found.defective[-1] == 1 and found.normal[0] == pytest.approx(2 / 3)
    assert histogram(np.ones(3), np.zeros(3, bool), 1.0, 1.0).normal.sum() == pytest.approx(1)


def test_numbers_of_points_cover_neither_points_nor_each_other() -> None:
    rng = np.random.default_rng(0)
    points = {number: (float(x), float(y)) for number, (x, y) in enumerate(rng.random((12, 2)) * 0.3, 1)}
    plot = Plot(Axis(0, 1, "x"), Axis(0, 1, "y"), "told")
    plot.numbered(points)
    svg = str(plot.drawn())
    placed = [tuple(map(float, found)) for found in re.findall(r'class="number" x="([\d.]+)" y="([\d.]+)"', svg)]
    dots = [tuple(map(float, found)) for found in re.findall(r'circle class="dot s0" cx="([\d.]+)" cy="([\d.]+)"', svg)]
    assert len(placed) == len(dots) == 12
    for (x, y), (other, height) in itertools.combinations(placed, 2):
        assert max(abs(x - other), abs(y - height)) > 12
    assert all(math.dist((x, y - 4), dot) > 8 for x, y in placed for dot in dots)


def test_texts_under_an_axis_do_not_touch_and_stay_within_the_plot() -> None:
    names = ["4×", "8×", "16×", "8× & 16×", "4× & 8× & 16×"]
    axis = Axis.around(range(5), "levels", marks=Ticks([0, 1, 2, 3, 4], names))
    svg = str(Plot(axis, Axis(0, 1, "y"), "told").drawn())
    found = re.findall(r'text-anchor="middle" x="([\d.]+)" y="([\d.]+)">([^<]+)</text>', svg)
    texts = [(float(x), y, unescape(text)) for x, y, text in found if unescape(text) in names]
    assert [text for *_, text in texts] == names
    for (x, y, text), (other, height, longer) in itertools.combinations(texts, 2):
        assert y != height or abs(x - other) > 3 * (len(text) + len(longer))
    assert all(x + 3 * len(text) <= WIDTH for x, _, text in texts)


def test_texts_in_a_plot_are_escaped_and_ticks_are_round() -> None:
    plot = Plot(Axis(0.0, 0.93, "<i>x</i>"), Axis(3.0, 3.0, "y"), 'told "<b>"')
    svg = str(plot.drawn())
    assert "<i>" not in svg and "<b>" not in svg and "&lt;i&gt;" in svg
    assert Axis(0.0, 0.93, "").ticks().texts == ["0", "0.2", "0.4", "0.6", "0.8"]
    assert Axis(0.01, 120.0, "", "log").ticks().texts == ["0.01", "0.1", "1", "10", "100"]
