"""Pixel metrics of score maps on the device where they lie, by torch: the same numbers as `fod_bench.evaluation.ranking` gives.

Nothing waits for the device or leaves it: what a scoring comes to is a row of numbers there, and the rows of all scorings are
read at once. The formulas are those of `fod_bench.evaluation.ranking.RankedPositives`, the twin that these are tested against. Letters of
shapes as there; m pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fod_bench.evaluation.ranking import MAX_FALSE_POSITIVE_RATE, NonFiniteScoresError

if TYPE_CHECKING:
    from fod_bench.evaluation.metric import MetricName


class DeviceMasks:
    """Masks with both classes, as a device needs them."""

    def __init__(self, masks: NDArray[np.uint8], weights: NDArray[np.float64], device: torch.device) -> None:
        """`masks` (m, s, s), non-zero for a defective pixel; `weights` (P,): `fod_bench.evaluation.ranking.region_weights` of them."""
        defective = torch.from_numpy(masks.reshape(-1) > 0)
        # places, not flags: how many pixels a flag picks is known to the device alone, and the host would have to wait for it
        places = torch.int32 if defective.numel() < 1 << 31 else torch.int64
        self.positives, self.negatives = (
            flags.nonzero()[:, 0].to(device, places) for flags in (defective, ~defective)
        )  # (P,), (N,)
        self.weights = torch.from_numpy(weights).to(device)


def pixel_row(pixels: Tensor, masks: DeviceMasks) -> Tensor:
    """AUROC, AUPRO and maximum of F1 of `pixels` (m, s, s), how many scores are not finite, and how many there are: (5,) float64.

    With a score that is not finite the first three mean nothing.
    """
    flat = pixels.flatten()
    positives, order = flat.index_select(0, masks.positives).sort()  # (P,)
    negatives = flat.index_select(0, masks.negatives).sort().values  # (N,)
    lower, lower_or_equal = (torch.searchsorted(negatives, positives, right=right) for right in (False, True))  # (P,)
    count, others = positives.numel(), negatives.numel()

    wins = (lower.sum() + lower_or_equal.sum()).double()
    # tensors to divide by, here and below: CUDA divides by a number as a product with its inverse
    pairs = torch.full_like(wins, 2.0 * count * others)

    taken = (count - torch.searchsorted(positives, positives)).double()  # (P,) true positives of each threshold
    f1_max = (2 * taken / (count + taken + (others - lower))).amax()

    limit = MAX_FALSE_POSITIVE_RATE
    begin, end = ((others - below) / torch.full_like(wins, others) for below in (lower_or_equal, lower))  # (P,)
    rise = end - begin
    gained = torch.where(rise > 0, (end.clamp(max=limit) - begin) / rise, 1.0)
    gained = gained * (end.clamp(max=limit) - begin) / 2 + (limit - end).clamp(min=0)
    aupro = (masks.weights[order] * torch.where(begin < limit, gained, 0.0)).sum() / limit

    broken = flat.numel() - flat.isfinite().sum()
    return torch.stack([wins / pairs, aupro, f1_max, broken.double(), torch.full_like(wins, flat.numel())])


def metrics_of_row(row: list[float]) -> dict[MetricName, float]:
    """What `pixel_row` found, once it has been read. Raises `NonFiniteScoresError`."""
    auroc, aupro, f1_max, broken, count = row
    if broken:
        raise NonFiniteScoresError(f"{broken:.0f} of {count:.0f} pixel scores are not finite")
    return {"pixel_auroc": auroc, "pixel_aupro": aupro, "pixel_f1_max": f1_max}
