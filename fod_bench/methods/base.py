"""What a trial needs of a detector: steps it can count, scores it can evaluate, a state it can keep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fod_bench.references.base import References

State = dict[str, NDArray[Any]]
"""Named arrays, as they are kept in a store."""


@dataclass(frozen=True)
class TrialData:
    """Arrays a trial works on; read only, shared with other trials. Letters as in `FeatureSet`."""

    train: dict[int, NDArray[np.float32]]
    """`{stride: (n, H, W, C)}`."""
    test: dict[int, NDArray[np.float32]]
    """`{stride: (m, H, W, C)}`."""
    masks: NDArray[np.uint8]
    """(m, s, s)."""
    labels: NDArray[np.uint8]
    """(m,)."""
    reference: References | None
    """None where the method needs none."""


class ScoreMaps(NamedTuple):
    """Anomaly scores of the test pictures under one scoring."""

    score: str
    """Score name, e.g. `rec_div@8+16`."""
    pixels: NDArray[np.float32]
    """(m, s, s), larger is more anomalous."""
    images: NDArray[np.float32]
    """(m,)."""


class Method(Protocol):
    """A detector being trained on one category. A trial makes it, then calls `step` for every step of every epoch."""

    loss_names: list[str]
    """Names of the numbers `step` returns; the first is the one worth watching."""
    steps_per_epoch: int
    primary_score: str
    """The method's own scoring over all levels."""

    def __init__(self, setting: dict[str, Any], data: TrialData, seed: int, device: torch.device) -> None: ...

    def step(self, epoch: int, step: int) -> torch.Tensor:
        """Train one step, both counted from 0; the losses (len(loss_names),) stay on the device."""
        ...

    def score_maps(self) -> Iterator[ScoreMaps]:
        """Scores of the test pictures, one scoring after the other."""
        ...

    def state(self) -> State:
        """Copies of everything that training needs to go on to the bit."""
        ...

    def load_state(self, state: State) -> None:
        """Go on from what `state` or `weights` returned. Raises ValueError, with nothing changed, for one that does not fit."""
        ...

    def weights(self) -> State:
        """Copies of what scoring needs: the part of the state worth keeping when training is over."""
        ...
