"""What a trial needs of a detector: steps it can count, scores it can evaluate, a state it can keep."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fod_bench.evaluation.maps import ScoreMaps
from fod_bench.records.checkpoints import State
from fod_bench.records.record import Counts


@dataclass(frozen=True)
class TrialData:
    """Arrays a trial works on; read only, shared with other trials. Letters as in `FeatureSet`."""

    train: dict[int, NDArray[np.float32]]
    """`{stride: (n, H, W, C)}`."""
    test: dict[int, NDArray[np.float32]]
    """`{stride: (m, H, W, C)}`."""
    masks: NDArray[np.uint8]
    """(p, s, s)."""
    labels: NDArray[np.uint8]
    """(m,)."""
    reference: Any
    """Reference features, of the method's own kind; None where it needs none."""
    masked: NDArray[np.bool_] | None = None
    """(m,), which pictures the masks are of; None for all."""

    def counts(self) -> Counts:
        """How many pictures there are."""
        defects = int(self.labels.sum())
        train = len(next(iter(self.train.values())))
        labels = self.labels if self.masked is None else self.labels[self.masked]
        vanished = int((~self.masks[labels == 1].any((1, 2))).sum())
        return Counts(
            train=train,
            test_good=len(self.labels) - defects,
            test_defect=defects,
            test_unmasked=defects - int(labels.sum()),
            test_vanished=vanished,
        )


class Pack(Protocol):
    """Several methods that take their steps together, their networks side by side. Each goes on being whole by itself."""

    @property
    def together(self) -> int:
        """Most of them that shared the last step."""
        ...

    def step(self, moves: Sequence[tuple[int, int]]) -> list[Tensor | torch.cuda.OutOfMemoryError]:
        """One step of each, by `(epoch, step)` as in `Method.step`: its losses, or why it, and no other, cannot go on."""
        ...


class Method(Protocol):
    """A detector being trained on one category. A trial makes it, then calls `step` for every step of every epoch."""

    loss_names: list[str]
    """Names of the numbers `step` returns; the first is the one worth watching."""
    epochs: int
    """Epochs of the fitting; one for a method that is through with its data in one."""
    steps_per_epoch: int
    primary_score: str
    """The method's own scoring over all levels."""
    networks: list[nn.Module]
    """What is trained."""
    correlation: str
    """Implementation of the correlation operator at work; empty where there is none."""
    kind: Hashable
    """Methods of one class and equal kind can be packed."""

    def __init__(self, setting: dict[str, Any], data: TrialData, seed: int, device: torch.device) -> None: ...

    def step(self, epoch: int, step: int) -> Tensor:
        """Train one step, both counted from 0; the losses (len(loss_names),) stay on the device."""
        ...

    def evaluates_after(self, epoch: int) -> bool:
        """Whether scores are to be taken when so many epochs are over; always after the last."""
        ...

    @classmethod
    def pack(cls, methods: Sequence[Any]) -> Pack:
        """Have several of this class and of one kind take their steps together; one that is packed anew leaves its old pack."""
        ...

    def score_maps(self) -> Iterator[ScoreMaps]:
        """Scores of the test pictures, one scoring after the other."""
        ...

    def score_pictures(self, features: dict[int, Tensor]) -> tuple[Tensor, Tensor]:
        """Maps (n, s, s) and image scores (n,) of pictures from their features `{stride: (n, H, W, C)}`, by the method's own
        scoring; both stay on the device."""
        ...

    def countable(self) -> Any:
        """This method, on the CPU, by operations that torch's counter sees, which are the same as those of any device's own
        kernels. For one whose settings say `costed`."""
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
