"""Several trainings of FOD that take their steps together, level by level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fod_bench.methods.fod.packed import PackedTrainer
from fod_bench.methods.fod.train import Losses

if TYPE_CHECKING:
    from fod_bench.methods.fod.method import FodMethod


class FodPack:
    """See `fod_bench.methods.base.Pack`."""

    def __init__(self, methods: Sequence[FodMethod]) -> None:
        self.methods = list(methods)
        for method in methods:
            method.record_nothing()  # every recording has memory of its own, and here every member would make some
        self.trainers = {
            level: PackedTrainer([method.trainers[level] for method in methods]) for level in methods[0].levels
        }
        self._apart = False

    @property
    def together(self) -> int:
        """Most of them that shared the last step, on any level."""
        return 1 if self._apart else max(trainer.together for trainer in self.trainers.values())

    def step(self, moves: Sequence[tuple[int, int]]) -> list[Tensor | torch.cuda.OutOfMemoryError]:
        """See `Pack`. Where batches differ in size, as at the end of one category's epoch, everyone takes this step alone."""
        chosen = [method.chosen(*move) for method, move in zip(self.methods, moves, strict=True)]
        self._apart = len({len(each) for each in chosen}) > 1
        if self._apart:
            return [_alone(method, move) for method, move in zip(self.methods, moves, strict=True)]
        taken: list[list[Losses]] = [[] for _ in self.methods]
        failed: dict[int, torch.cuda.OutOfMemoryError] = {}
        for level, trainer in self.trainers.items():
            batches = [method.batch(level, each) for method, each in zip(self.methods, chosen, strict=True)]
            for member, outcome in enumerate(trainer.step(batches)):
                if isinstance(outcome, Losses):
                    taken[member].append(outcome)
                else:
                    failed[member] = outcome
            if self.methods[0].zero_gradient_step:
                for other in self.trainers.values():
                    if other is not trainer:
                        other.zero_gradient_step()
        return [failed.get(member) or method.row(taken[member]) for member, method in enumerate(self.methods)]


def _alone(method: FodMethod, move: tuple[int, int]) -> Tensor | torch.cuda.OutOfMemoryError:
    try:
        return method.step(*move)
    except torch.cuda.OutOfMemoryError as error:
        return error
