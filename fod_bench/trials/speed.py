"""How fast a method is on this machine, with the settings and sizes of a job: what `resources: auto` is chosen by.

Features and images are random: they change nothing of what is timed. Nothing is stored.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fod_bench.evaluation.evaluate import Truth, evaluate
from fod_bench.features.feature_set import FeatureSet
from fod_bench.features.offered import backbone_strides
from fod_bench.features.weights import Weights
from fod_bench.methods.base import Context, Costed, Method, Packable, Split
from fod_bench.methods.registry import method_class
from fod_bench.methods.settings import MethodSettings, Reference
from fod_bench.records.record import Counts
from fod_bench.trials.data import TrialData
from fod_bench.trials.scores import BATCH, TestImages
from fod_bench.trials.timing import ROUND_SECONDS, seconds_each

_MOST_IMAGES = 64
"""Images to train on at most: a step needs no more than its batch."""
_SLOW = 20.0
"""A first call that takes so many times what is to be timed is not repeated: what it takes beyond a call is little of it."""


def measure_speed(
    settings: MethodSettings, counts: Counts, pack: int, seconds: float, device: torch.device
) -> tuple[float, float, int]:
    """Seconds of a step that `pack` trainings take together, of the evaluation of one image, and the evaluations of a training.

    Args:
        settings: of each of the trainings, which differ in their seed.
        counts: images of a category of theirs.
        pack: how many they are; several only where the method can be packed.
        seconds: for which steps are timed at least, after a first one; a slow first one is all.

    Raises whatever the method raises for such settings: `TrialError`, memory that ran out.
    """
    data = random_data(settings, counts, device)
    fitting = _Fitting(settings, data, pack, device)
    method = fitting.methods[0]
    evaluations = sum(method.evaluates_after(epoch) for epoch in range(1, method.epochs + 1))
    step = _median_seconds(fitting.take, seconds, device) / fitting.steps
    test = TestImages(data.test, device)

    def evaluation() -> None:
        parts = test.parts(fitting.methods[0].detector())
        evaluate(type(method).scorings(settings.training(), parts, settings.image_size), data.truth)

    return step, _median_seconds(evaluation, seconds / 2, device) / len(data.test), evaluations


class _Fitting:
    """Several trainings that take their steps together."""

    def __init__(self, settings: MethodSettings, data: TrialData, pack: int, device: torch.device) -> None:
        self._settings, self._data, self._count, self._device = settings, data, pack, device
        self.methods: list[Method] = []
        self._begin()

    def _begin(self) -> None:
        kind, setting = method_class(self._settings.method), self._settings.training()
        given = self._data.train, self._data.context
        self.methods = [kind(setting, *given, seed, self._device) for seed in range(self._count)]
        first = self.methods[0]
        self._pack = type(first).pack(self.methods) if self._count > 1 and isinstance(first, Packable) else None
        # Networks can be trained for ever; others are made anew when they have ended. What goes through the images once is one
        # step: the parts of its way take different times.
        self._whole = first.epochs * first.steps_per_epoch
        self._endless = isinstance(first, Costed) and bool(first.networks)
        self.steps = 1 if self._endless or first.epochs > 1 else self._whole
        self._done = 0

    def take(self) -> None:
        """The next `steps` steps: one, or a whole training of a method that goes through its images once."""
        if self._done >= self._whole and not self._endless:
            self._begin()
        for _ in range(self.steps):
            self._step()

    def _step(self) -> None:
        first = self.methods[0]
        epoch, step = divmod(self._done, first.steps_per_epoch)
        move = epoch % first.epochs, step
        self._done += 1
        if self._pack is None:
            for method in self.methods:
                method.step(*move)
            return
        for came in self._pack.step([move] * self._count):
            if isinstance(came, Exception):
                raise came


def _median_seconds(call: Callable[[], None], seconds: float, device: torch.device) -> float:
    """Median time of `call` when warm, over rounds that last `seconds` together, one at least."""
    first = seconds_each(call, 1, device)  # with whatever is compiled or loaded
    if first > _SLOW * seconds:
        return first
    calls = max(1, math.ceil(ROUND_SECONDS / seconds_each(call, 1, device)))
    rounds: list[float] = []
    while not rounds or sum(rounds) * calls < seconds:
        rounds.append(seconds_each(call, calls, device))
    return statistics.median(rounds)


def random_data(settings: MethodSettings, counts: Counts, device: torch.device) -> TrialData:
    """What a trial of such settings works on, in few images: as many as a step takes, and a batch to test on.

    Raises what making the reference features raises.
    """
    needs, side = settings.needs(), settings.image_size
    images = few_images(settings, counts)
    rng = np.random.default_rng(0)
    train: dict[str, Any] = {}
    test: dict[str, Any] = {}
    for forms, number in ((train, images), (test, BATCH)):
        for need in needs.features:
            channels = backbone_strides(need.backbone)
            forms["pooled" if need.pooled else "unpooled"] = {
                level: rng.standard_normal((number, side // level, side // level, channels[level]), dtype=np.float32)
                for level in need.levels
            }
        if needs.images:
            forms["images"] = rng.integers(0, 256, (number, side, side, 3), dtype=np.uint8)
    reference = None
    rows: tuple[dict[int, Any], dict[int, Any]] = {}, {}
    if needs.reference is not None:
        form = "pooled" if needs.features[0].pooled else "unpooled"
        reference, rows = _references(needs.reference, train[form], test[form], device)
    network = None if needs.network is None else Weights(needs.network.backbone, "random:0", None, 0)
    learnt, tested = (Split(**forms, reference_rows=found) for forms, found in zip((train, test), rows, strict=True))
    return TrialData(learnt, tested, _truth(side), Context(side, reference, network))


def few_images(settings: MethodSettings, counts: Counts) -> int:
    """Images to train on of which a step takes as many as of the whole category, if it can be had with few."""
    images = min(4, counts.train)
    while images < min(counts.train, _MOST_IMAGES):
        fewer = counts.model_copy(update={"train": images})
        one = counts.model_copy(update={"train": 1})
        if settings.too_small(fewer) is None and settings.steps(fewer) > settings.steps(one):
            break
        images *= 2
    return min(images, counts.train)


def _references(
    spec: Reference, train: dict[int, Any], test: dict[int, Any], device: torch.device
) -> tuple[Any, tuple[dict[int, Any], dict[int, Any]]]:
    maker: Any = import_module(spec.maker)
    made = maker.make(spec, FeatureSet("", train, test, {}), device)
    return made, maker.rows(made)


def _truth(side: int) -> Truth:
    """Of a batch of which every other image has a defect."""
    labels: NDArray[np.uint8] = (np.arange(BATCH) % 2).astype(np.uint8)
    masks = np.zeros((BATCH, side, side), np.uint8)
    masks[labels == 1, : side // 4, : side // 4] = 1
    return Truth(labels, masks)
