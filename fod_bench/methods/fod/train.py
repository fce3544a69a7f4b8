"""Training of one feature level's network: the losses of Eq. 3, 7, 8, 10, 11 and 13, and the optimiser's step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from fod_bench.machine.tuning import keep_freed_memory
from fod_bench.methods.fod.network import BranchStatistics, FODNetwork, NetworkOutput, NetworkShape
from fod_bench.methods.fod.precision import Precision, matrix_products
from fod_bench.methods.fod.recorded import Recorded, Recorder


@dataclass(frozen=True)
class LossWeights:
    """λ1 (divergence), λ2 (entropy; 0 switches the constraint off) and how the two are optimised (Table 10)."""

    lambda1: float | Tensor = 0.5
    """Or (P,), one for each of several trainings."""
    lambda2: float | Tensor = 0.5
    optimization: Literal["two_phase", "direct"] = "two_phase"


class Losses(NamedTuple):
    """Loss terms of a step, each a scalar, or (P,) for several trainings; the terms of a branch the view lacks are zero."""

    reconstruction: Tensor
    intra_divergence: Tensor
    intra_entropy: Tensor
    inter_divergence: Tensor
    inter_entropy: Tensor
    phase1: Tensor
    """L1 of Eq. 13: reconstruction, and the targets' side of both divergences. Direct optimisation: Eq. 11."""
    phase2: Tensor
    """L2 of Eq. 13: reconstruction, the attentions' side of both divergences, entropies. Direct optimisation: as L1."""
    total: Tensor
    """What a step descends: `phase1 + phase2`, or the one loss there is in direct optimisation and in view `patch`."""


def losses(output: NetworkOutput, features: Tensor, weights: LossWeights) -> Losses:
    """Loss terms for `features` (B, N, C). Gradients of both phases add up, so one backward pass of `total` gives them.

    Of several trainings side by side each has its own: all parts of the output, and the features, then begin with (P, B, …).
    """
    reconstruction = reconstruction_error(output.reconstruction, features).mean((-2, -1))
    intra, inter = _Branch.of(output.intra, features), _Branch.of(output.inter, features)
    first, second = weights.lambda1, weights.lambda2
    if weights.optimization == "direct":
        phase1 = reconstruction + first * (intra.both_sides() - inter.both_sides())
        phase1 = phase2 = phase1 - second * (intra.entropy - inter.entropy)
    else:
        phase1 = reconstruction + first * (intra.target_divergence - inter.target_divergence)
        phase2 = reconstruction - first * (intra.attention_divergence - inter.attention_divergence)
        phase2 = phase2 - second * (intra.entropy - inter.entropy)
    two_phases = weights.optimization == "two_phase" and (output.intra is not None or output.inter is not None)
    return Losses(
        reconstruction,
        intra.target_divergence,
        intra.entropy,
        inter.target_divergence,
        inter.entropy,
        phase1,
        phase2,
        phase1 + phase2 if two_phases else phase1,
    )


def reconstruction_error(reconstruction: Tensor, features: Tensor) -> Tensor:
    """Eq. 3 per patch: mean squared error over channels plus one minus the cosine; (…, N, C) twice to (…, N)."""
    squared = (reconstruction - features).square().mean(-1)
    return squared + 1.0 - functional.cosine_similarity(reconstruction, features, dim=-1)


class _Branch(NamedTuple):
    """A branch's statistics, mean over patches and images."""

    target_divergence: Tensor
    attention_divergence: Tensor
    entropy: Tensor

    @classmethod
    def of(cls, statistics: BranchStatistics | None, like: Tensor) -> _Branch:
        if statistics is None:
            return cls(*(like.new_zeros(like.shape[:-3]) for _ in range(3)))
        return cls(*(part.mean((-2, -1)) for part in statistics))

    def both_sides(self) -> Tensor:
        """The divergence without a stop-gradient: its value once, its gradient to target and attention alike."""
        return self.target_divergence + self.attention_divergence - self.attention_divergence.detach()


class LevelTrainer:
    """One level's network with its own Adam. Levels share nothing, so each trains as if it were alone."""

    def __init__(
        self,
        network: FODNetwork,
        weights: LossWeights,
        learning_rate: float,
        precision: Precision = "float32",
        recorder: Recorder | None = None,
    ) -> None:
        """`recorder`: by which steps are recorded and replayed; None: they are not."""
        keep_freed_memory()
        self.network = network
        self.weights = weights
        self.precision: Precision = precision
        on_gpu = next(network.parameters()).is_cuda
        self.optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, fused=True, capturable=on_gpu)
        self.recorded = None if recorder is None else Recorded(self._step, recorder)

    def step(self, features: Tensor, reference: Tensor | None) -> Losses:
        """One optimiser step on a batch (B, N, C); returns its loss terms, detached, from before the step.

        Where steps are recorded the next one overwrites the terms.
        """
        return Losses(*(self.recorded or self._step)(features, reference).unbind())

    def _step(self, features: Tensor, reference: Tensor | None) -> Tensor:
        """The loss terms, side by side."""
        with matrix_products(self.precision, features.device):
            terms = losses(self.network(features, reference), features, self.weights)
            terms.total.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)  # after the step: no gradient is held through the next forward pass
        return torch.stack(terms).detach()

    def forget_recordings(self) -> None:
        """Parameters or moments have moved in memory: steps that were recorded are recorded anew."""
        if self.recorded is not None:
            self.recorded.forget()

    def zero_gradient_step(self) -> None:
        """A step with all gradients zero: the network moves by its momentum alone. No effect before the first real step.

        The published loop keeps one Adam over all levels and steps once per level, so each level also takes this step
        for every other level under PyTorch before 2.0, where `zero_grad` left zeros behind.
        """
        if not any(self.optimizer.state.values()):
            return
        for parameter in self.network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def build_network(shape: NetworkShape, seed: int) -> FODNetwork:
    """A network with the initial weights of `seed`, whatever was drawn before; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FODNetwork(shape)
