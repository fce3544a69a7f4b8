"""From score maps and masks to metrics, the same for every method."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fod_bench.evaluation.maps import ScoreMaps
from fod_bench.evaluation.metric import METRICS, MetricName, Side, of_side, values_of
from fod_bench.evaluation.on_device import DeviceMasks, metrics_of_row, pixel_row
from fod_bench.evaluation.ranking import (
    UndefinedMetricError,
    image_metrics,
    rank_positives,
    region_weights,
)

AT_ONCE = 2
"""Scorings whose pixel metrics are computed at once on a CPU. Each has maps of all images and a sorted copy of them in memory."""


@dataclass(frozen=True)
class Truth:
    """What a test split's scores are held against, one evaluation after the other."""

    labels: NDArray[np.uint8]
    """(m,), 1 for a defective image."""
    masks: NDArray[np.uint8]
    """(p, s, s), 1 for a defective pixel: of the p images whose defective pixels are known, in order."""
    masked: NDArray[np.bool_] | None = None
    """(m,), true for those p images; None where they are all."""
    _on_device: dict[torch.device, DeviceMasks] = field(default_factory=dict, compare=False)

    @cached_property
    def region_weights(self) -> NDArray[np.float64]:
        """See `fod_bench.evaluation.ranking.region_weights`."""
        return region_weights(self.masks)

    @cached_property
    def both_classes(self) -> bool:
        """Whether there are defective pixels and others."""
        return bool(self.masks.any()) and not bool(self.masks.all())

    @cached_property
    def no_defective_pixel(self) -> str | None:
        """Why no pixel is known to be defective although images are; None where some are, or no image is."""
        defects = int(self.labels.sum())
        if not defects or self.masks.any():
            return None
        if self.masked is not None and not self.labels[self.masked].any():
            return f"data set has no masks: none of the {defects} defective test images has one"
        side = self.masks.shape[-1]
        return f"no mask marks a pixel at {side}×{side}: every defect vanishes at this image size"

    def known(self, maps: NDArray[Any]) -> NDArray[Any]:
        """Of maps (m, s, s) those of the images whose defective pixels are known, (p, s, s)."""
        return maps if self.masked is None else maps[self.masked]

    def on_device(self, device: torch.device) -> DeviceMasks:
        """The masks on a device."""
        if device not in self._on_device:
            self._on_device[device] = DeviceMasks(self.masks, self.region_weights, device, self.masked)
        return self._on_device[device]


def evaluate(
    scorings: Iterable[ScoreMaps], truth: Truth
) -> tuple[dict[str, dict[MetricName, float | None]], dict[str, str]]:
    """Metrics of every scoring, `{score name: {metric: value}}`, and `{metric: reason}` for those the test split leaves undefined.

    Raises:
        NonFiniteScoresError: a score is not finite.
    """
    found: dict[str, dict[MetricName, float | None]] = {}
    undefined: dict[str, str] = {}
    for score, images, pixels in _ahead(_by_scoring(scorings, truth)):
        values: dict[MetricName, float] = {}
        try:
            values |= image_metrics(images, truth.labels)
        except UndefinedMetricError as reason:
            undefined |= _undefined("image", str(reason))
        try:
            values |= pixels()
        except UndefinedMetricError as reason:
            undefined |= _undefined("pixel", truth.no_defective_pixel or str(reason))
        found[score] = {name: values.get(name) for name in METRICS}
    return found, undefined


def _undefined(side: Side, reason: str) -> dict[str, str]:
    return dict.fromkeys(of_side(side), reason)


PixelMetrics = Callable[[], dict[MetricName, float]]
"""Raises `UndefinedMetricError`, `NonFiniteScoresError`."""
Measured = tuple[str, NDArray[Any], PixelMetrics]
"""Of a scoring its name, the images' scores, and the pixel metrics when they are asked for."""


def _ahead(scorings: Iterable[Measured]) -> Iterator[Measured]:
    """The same, where PyTorch has several threads with the pixel metrics of two scorings, mostly a sort each, computed at once."""
    if torch.get_num_threads() == 1:
        yield from scorings
        return
    with ThreadPoolExecutor(AT_ONCE, "pixel-metrics") as pool:
        pending: deque[Measured] = deque()
        for score, images, pixels in scorings:
            pending.append((score, images, pool.submit(pixels).result))
            if len(pending) == AT_ONCE:
                yield pending.popleft()
        yield from pending


def _by_scoring(scorings: Iterable[ScoreMaps], truth: Truth) -> Iterator[Measured]:
    """Of each scoring its name, the images' scores and the pixel metrics; from a device all at once, when all is done there."""
    waiting = []
    for scoring in scorings:
        device = scoring.pixels.device
        if device.type == "cpu" or not truth.both_classes:
            yield scoring.score, scoring.images.cpu().numpy(), partial(_on_host, scoring.pixels, truth)
        else:
            waiting.append((scoring.score, scoring.images, pixel_row(scoring.pixels, truth.on_device(device))))
    if waiting:
        names, images, rows = zip(*waiting, strict=True)
        read = torch.cat([torch.stack(images).double(), torch.stack(rows)], 1).cpu().numpy()
        for name, row in zip(names, read, strict=True):
            scores, pixels = np.split(row, [len(truth.labels)])
            yield name, scores, partial(metrics_of_row, pixels.tolist())


def _on_host(pixels: Tensor, truth: Truth) -> dict[MetricName, float]:
    ranked = rank_positives(truth.known(pixels.cpu().numpy()), truth.masks, "pixel")
    return values_of("pixel", ranked, truth.region_weights)
