"""Scores of the test images by a detector, as a trial evaluates and keeps them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from fod_bench.evaluation.maps import ScoreMaps
from fod_bench.features.arrays import as_tensor
from fod_bench.methods.base import Anchored, Batch, Detector, Preparable, Split
from fod_bench.methods.registry import method_class
from fod_bench.records.checkpoints import State
from fod_bench.records.record import Training

BATCH = 8
"""Images that a detector is given at once. Fixed, so that scores do not depend on the machine."""


class TestImages:
    """The test images of a trial. A GPU keeps them; on a CPU each batch is copied when it is its turn."""

    __test__ = False  # for pytest it is no test

    def __init__(self, split: Split, device: torch.device) -> None:
        self._split, self._device = split, device
        self._held: list[Batch] = []

    def parts(self, detector: Detector) -> dict[str, Tensor]:
        """`Detector.parts` of all of them."""
        if isinstance(detector, Preparable):
            detector = detector.prepared()
        found = [detector.parts(batch) for batch in self._batches()]
        return {name: torch.cat([parts[name] for parts in found]) for name in found[0]}

    def _batches(self) -> Iterator[Batch]:
        if self._held:
            yield from self._held
            return
        seen = []
        for start in range(0, len(self._split), BATCH):
            batch = self._split.batch(slice(start, start + BATCH), self._device)
            if self._device.type != "cpu":
                seen.append(batch)
            yield batch
        self._held = seen


def scorings(
    training: Training, parts: Mapping[str, Tensor], only: str = "", anchors: State | None = None
) -> Iterator[ScoreMaps]:
    """Maps and image scores from what a detector gave of the test images, see `Method.scorings`; of one scoring where `only` names
    it. With `anchors`, see `Anchored`, from what it gave of any images."""
    size: int = training.features["image_size"]
    method, setting = method_class(training.method), training.setting
    if anchors and isinstance(method, Anchored):
        found = method.anchored(setting, parts, size, anchors, only)
    else:
        found = method.scorings(setting, parts, size, only)
    for maps in found:
        if only in ("", maps.score):
            yield maps


def as_arrays(parts: Mapping[str, Tensor]) -> State:
    """Parts as they are kept."""
    return {name: part.float().cpu().numpy().copy() for name, part in parts.items()}


def as_tensors(kept: State) -> dict[str, Tensor]:
    """Kept parts as a detector gave them, on the CPU."""
    return {name: as_tensor(array) for name, array in kept.items()}
