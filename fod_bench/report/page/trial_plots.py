"""Plots of one training: losses and metrics over epochs, ROC and precision-recall curves, histograms of scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from fod_bench.evaluation.measures import MEASURES
from fod_bench.records.curves import Curves
from fod_bench.report.page.curves import Curve, Histogram
from fod_bench.report.page.scored import SideShown
from fod_bench.report.page.svg import Axis, Plot, Ticks
from fod_bench.schema.hidden import hidden


@dataclass(frozen=True)
class Figure:
    """A plot with its heading and what its lines are."""

    title: str
    svg: Markup
    legend: tuple[str, ...] = ()
    note: str = ""


def losses(curves: Curves) -> Iterator[Figure]:
    """Losses over epochs, each on an axis of its own where they differ widely."""
    for name, values in curves.losses.items():
        if len(values) < 1:
            continue
        points = [(float(epoch), value) for epoch, value in enumerate(values, 1)]
        plot = Plot(
            _epochs(len(values)),
            Axis.around(values, f"{name} loss"),
            f"{name} loss over {len(values)} epochs, from {values[0]:.4g} to {values[-1]:.4g}",
        )
        plot.line(points, 0, dotted=len(points) < 12)
        yield Figure(f"Loss: {name}", plot.drawn())


def progress(curves: Curves, score: str) -> Iterator[Figure]:
    """Metrics over the evaluated epochs, those of images and of pixels apart."""
    found = curves.metrics.get(score, {})
    if len(curves.evaluated) < 2:
        return
    for side in ("image", "pixel"):
        lines = {
            name: [
                (float(epoch), value)
                for epoch, value in zip(curves.evaluated, values, strict=True)
                if value is not None
            ]
            for name, values in found.items()
            if name.startswith(side) and name in MEASURES
        }
        lines = {name: points for name, points in lines.items() if points}
        if not lines:
            continue
        values = [value for points in lines.values() for _, value in points]
        ends = "; ".join(f"{MEASURES[name].title} ends at {points[-1][1]:.3f}" for name, points in lines.items())
        plot = Plot(
            _epochs(curves.evaluated[-1]), Axis.around(values, "value"), f"Metrics of {side}s over epochs: {ends}"
        )
        for number, points in enumerate(lines.values()):
            plot.line(points, number, dotted=len(points) < 12)
        titles = tuple(MEASURES[name].title for name in lines)
        yield Figure(f"Metrics of {side}s, every evaluated epoch", plot.drawn(), titles)


def _epochs(last: int) -> Axis:
    """From the first epoch to the last, marked at whole numbers."""
    every = max(1, round(last / 6))
    marks = sorted({1, *range(every, last + 1, every)} - ({1} if every > 2 else set()))
    return Axis(1.0, max(2.0, last), "epoch", marks=Ticks(marks, [str(mark) for mark in marks]))


def of_side(side: str, shown: SideShown) -> Iterator[Figure]:
    """ROC and precision-recall curve, and a histogram."""
    at = f" after epoch {shown.epoch}" if shown.epoch else ""
    share = Axis(0.0, 1.0, "false-positive rate")
    if shown.roc is not None and shown.precision_recall is not None:
        told = f"ROC of {side}s{at}, area {shown.roc.area:.4f}"
        yield Figure(
            f"ROC, {side}s",
            _curve(shown.roc, share, "true-positive rate", told, True),
            (),
            f"AUROC {shown.roc.area:.4f}{at}",
        )
        told = f"Precision against recall of {side}s{at}, area {shown.precision_recall.area:.4f}"
        drawn = _curve(shown.precision_recall, Axis(0.0, 1.0, "recall"), "precision", told, False)
        yield Figure(
            f"Precision and recall, {side}s", drawn, (), f"average precision {shown.precision_recall.area:.4f}{at}"
        )
    drawn = drawn_histogram(shown.histogram, f"score of {'an image' if side == 'image' else 'a pixel'}")
    note = f"No ROC: {hidden(shown.undefined)}" if shown.undefined else ""
    yield Figure(f"Scores of {side}s{at}", drawn, ("@normal", "@defective"), note)


def _curve(curve: Curve, x: Axis, label: str, told: str, chance: bool) -> Markup:
    plot = Plot(x, Axis(0.0, 1.0, label), told)
    if chance:
        plot.diagonal()
    plot.line(curve.points(), 0)
    return plot.drawn()


def drawn_histogram(shares: Histogram, label: str, threshold: float | None = None) -> Markup:
    """Normal samples upward, defective ones downward, each as shares of their own number."""
    normal, defective = shares.normal.tolist(), shares.defective.tolist()
    top = max(*normal, *defective, 0.01)
    edges = shares.edges.tolist()
    told = f"Histogram of scores from {edges[0]:.4g} to {edges[-1]:.4g}: normal above the line, defective below it"
    marks = Axis(0.0, top * 1.05, "").ticks().at
    both = [*(-at for at in marks[:0:-1]), *marks]
    y = Axis(-top * 1.05, top * 1.05, "share of its kind", marks=Ticks(both, [f"{abs(at):g}" for at in both]))
    plot = Plot(Axis(edges[0], edges[-1], label), y, told, "histogram")
    plot.bars(edges, normal, "normal")
    plot.bars(edges, [-share for share in defective], "defective")
    plot.base()
    if threshold is not None:
        plot.threshold(min(max(threshold, edges[0]), edges[-1]), "chosen")
    return plot.drawn()
