"""Pixel metrics of score maps on the device where they lie, by torch: the same numbers as `fod_bench.evaluation.ranking` gives.

Nothing waits for the device or leaves it: what a scoring comes to is a row of numbers there, and the rows of all scorings are
read at once. The formulas stand in `metric.py`, beside those of the host, against which they are tested. Letters of shapes as
there; m images.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fod_bench.evaluation.metric import MetricName, of_side
from fod_bench.evaluation.ranking import NonFiniteScoresError


class DeviceMasks:
    """Masks with both classes, as a device needs them."""

    def __init__(
        self,
        masks: NDArray[np.uint8],
        weights: NDArray[np.float64],
        device: torch.device,
        masked: NDArray[np.bool_] | None = None,
    ) -> None:
        """`masks` (p, s, s), non-zero for a defective pixel; `weights` (P,): `fod_bench.evaluation.ranking.region_weights` of them;
        `masked` (m,): which of the m images the p masks are of, all where it is None."""
        defective = torch.from_numpy(masks.reshape(-1) > 0)
        places_of_masks = torch.arange(defective.numel())
        if masked is not None:
            first = torch.from_numpy(np.flatnonzero(masked)) * math.prod(masks.shape[1:])  # (p,) of each image's pixels
            places_of_masks = (first[:, None] + torch.arange(math.prod(masks.shape[1:]))).reshape(-1)
        # places, not flags: how many pixels a flag picks is known to the device alone, and the host would have to wait for it
        places = torch.int32 if places_of_masks.max() < 1 << 31 else torch.int64
        self.positives, self.negatives = (
            places_of_masks[flags].to(device, places) for flags in (defective, ~defective)
        )  # (P,), (N,)
        self.weights = torch.from_numpy(weights).to(device)


class RankedOnDevice:
    """Where the positive scores stand among the negative ones: see `ranking.RankedPositives`."""

    def __init__(self, flat: Tensor, masks: DeviceMasks) -> None:
        """`flat` (pixels,): scores of all pixels."""
        scores, order = flat.index_select(0, masks.positives).sort()  # (P,)
        others = flat.index_select(0, masks.negatives).sort().values  # (N,)
        self.lower, self.lower_or_equal = (torch.searchsorted(others, scores, right=right) for right in (False, True))
        """(P,) each."""
        self.positives, self.negatives = scores.numel(), others.numel()
        self.true_positives = (self.positives - torch.searchsorted(scores, scores)).double()
        """(P,), of each positive's score as a threshold."""
        self.weights = masks.weights[order]
        """(P,), see `ranking.region_weights`."""

    def number(self, value: float) -> Tensor:
        """A number to divide by: CUDA divides by a plain one as a product with its inverse."""
        return torch.full((), value, dtype=torch.float64, device=self.lower.device)


def pixel_row(pixels: Tensor, masks: DeviceMasks) -> Tensor:
    """The pixel metrics of `pixels` (m, s, s), how many scores are not finite, and how many there are: (metrics + 2,) float64.

    With a score that is not finite the metrics mean nothing.
    """
    flat = pixels.flatten()
    ranked = RankedOnDevice(flat, masks)
    found = [metric.device(ranked) for metric in of_side("pixel").values() if metric.device is not None]
    broken = flat.numel() - flat.isfinite().sum()
    return torch.stack([*found, broken.double(), ranked.number(flat.numel())])


def metrics_of_row(row: list[float]) -> dict[MetricName, float]:
    """What `pixel_row` found, once it has been read. Raises `NonFiniteScoresError`."""
    *values, broken, count = row
    if broken:
        raise NonFiniteScoresError(f"{broken:.0f} of {count:.0f} pixel scores are not finite")
    return dict(zip(of_side("pixel"), values, strict=True))
