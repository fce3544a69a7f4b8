"""Medians of many ranges of one long array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


def range_medians(values: NDArray[np.float64], starts: Numbers, stops: Numbers) -> NDArray[np.float64]:
    """The median of `values[start:stop]` for each of q ranges, (q,); NaN for an empty one.

    For all ranges at once, in n log n + q log n: a wavelet matrix over the ranks of the values.

    Args:
        values: (n,), finite.
        starts, stops: (q,), from 0 to n.
    """
    found = np.full(len(starts), np.nan)
    filled = stops > starts
    if not filled.any():
        return found
    starts, stops = starts[filled], stops[filled]
    lengths = stops - starts
    ranks = np.concatenate([(lengths - 1) // 2, lengths // 2])
    low, high = np.split(_smallest(values, np.tile(starts, 2), np.tile(stops, 2), ranks), 2)
    found[filled] = np.where(low == high, low, (low + high) / 2)
    return found


def _smallest(values: NDArray[Any], starts: Numbers, stops: Numbers, wanted: Numbers) -> NDArray[np.float64]:
    """The value of rank `wanted`, from 0, in each range; none is empty."""
    ordered = np.argsort(values, kind="stable")
    ranks = np.empty(len(values), np.int64)
    ranks[ordered] = np.arange(len(values))
    rank = np.zeros_like(wanted)
    for bit in range(len(values).bit_length() - 1, -1, -1):
        ones = (ranks >> bit & 1).astype(bool)
        zeros_before = np.concatenate([[0], np.cumsum(~ones)])  # (n + 1,)
        first, last = zeros_before[starts], zeros_before[stops]
        upper = wanted >= last - first
        rank |= upper.astype(np.int64) << bit
        wanted = np.where(upper, wanted - (last - first), wanted)
        starts = np.where(upper, zeros_before[-1] + starts - first, first)
        stops = np.where(upper, zeros_before[-1] + stops - last, last)
        ranks = np.concatenate([ranks[~ones], ranks[ones]])
    found: NDArray[np.float64] = values[ordered[rank]]
    return found
