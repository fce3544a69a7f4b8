"""A method from its settings to its metrics, without a store: what a trial does with it, in a few lines."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from fod_bench.evaluation.evaluate import Truth, evaluate
from fod_bench.evaluation.maps import ScoreMaps
from fod_bench.evaluation.metric import MetricName
from fod_bench.methods.base import Context, Method, Split
from fod_bench.methods.registry import method_class
from fod_bench.methods.settings import MethodSettings

CPU = torch.device("cpu")
BATCH = 8


def make(settings: MethodSettings, train: Split, context: Context, seed: int = 0) -> Method:
    """The method before its first step."""
    return method_class(settings.method)(settings.training(), train, context, seed, CPU)


def steps(method: Method) -> Iterator[tuple[int, int]]:
    """Every step of the fitting, in order, as `(epoch, step)`."""
    return ((epoch, step) for epoch in range(method.epochs) for step in range(method.steps_per_epoch))


def fit(settings: MethodSettings, train: Split, context: Context, seed: int = 0) -> Method:
    """The method after its last step."""
    method = make(settings, train, context, seed)
    for epoch, step in steps(method):
        method.step(epoch, step)
    return method


def score_maps(method: Method, settings: MethodSettings, test: Split, context: Context) -> Iterator[ScoreMaps]:
    """Every scoring of the test images."""
    detector = method.detector()
    with torch.no_grad():
        given = [detector.parts(test.batch(slice(start, start + BATCH), CPU)) for start in range(0, len(test), BATCH)]
        parts = {name: torch.cat([each[name] for each in given]) for name in given[0]}
        yield from type(method).scorings(settings.training(), parts, context.image_size)


def metrics(
    method: Method, settings: MethodSettings, test: Split, context: Context, truth: Truth
) -> dict[MetricName, float | None]:
    """The metrics of the method's own scoring."""
    found, _ = evaluate(score_maps(method, settings, test, context), truth)
    return found[method.primary_score]
