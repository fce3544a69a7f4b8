"""Training of one level's flow, and the learning rate of every batch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fod_bench.methods.cflow.network import Flow, log_likelihood, losses


@dataclass(frozen=True)
class Rates:
    """The learning rate: a cosine over the epochs, constant within one, after a line through the first of them."""

    rate: float
    """R, where the cosine begins."""
    decay: float
    """γ: the cosine ends at R·γ³."""
    epochs: int
    """E."""
    warm_epochs: int
    """w: epochs of the line, which begins at R/10 and would reach the cosine at epoch w."""

    def cosine(self, epoch: int) -> float:
        """The rate of an epoch on the cosine."""
        least = self.rate * self.decay**3
        return least + (self.rate - least) * (1 + math.cos(math.pi * epoch / self.epochs)) / 2

    def at(self, epoch: int, batch: int, batches: int) -> float:
        """The rate of a batch of an epoch, which has so many; both counted from 0."""
        if epoch >= self.warm_epochs:
            return self.cosine(epoch)
        start = self.rate / 10
        return start + (batch + epoch * batches) / (self.warm_epochs * batches) * (
            self.cosine(self.warm_epochs) - start
        )


class LevelTrainer:
    """One level's flow with its own Adam. Levels share nothing, so each trains as if it were alone."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.optimizer = torch.optim.Adam(flow.parameters(), fused=True)

    def step(self, rows: Tensor, condition: Tensor, rate: float) -> Tensor:
        """One move on a fiber: rows (N, C) and conditions (N, P). Returns the mean loss from before it."""
        loss = losses(log_likelihood(*self.flow(rows, condition))).mean()
        loss.backward()
        self._move(rate)
        return loss.detach()

    def zero_gradient_step(self, rate: float) -> None:
        """A move with all gradients zero: by momentum alone. No effect before the first real one.

        The published loop keeps one Adam over all levels and moves it for every level's fiber, so each level also makes this move
        for every other level's under PyTorch before 2.0, where `zero_grad` left zeros behind.
        """
        if not any(self.optimizer.state.values()):
            return
        for parameter in self.flow.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self._move(rate)

    def _move(self, rate: float) -> None:
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
