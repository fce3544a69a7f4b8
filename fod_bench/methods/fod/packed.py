"""Several trainings of one level in one step: networks of one shape side by side, each with weights, λ and Adam of its own.

The network is that of `model.py`: only its layers with weights are exchanged for ones that hold P sets of them, (P, …), and do
P matrix products in one call. To everything between them the P members' images are one batch of P·B.

Shape letters as in `model.py`, and P members of the pack. A pack's numbers are those of its members trained apart, but for the
order in which products are summed.
"""

from __future__ import annotations

import copy
import logging
import traceback
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from fod_bench.methods.fod.correlation import correlate_as_one
from fod_bench.methods.fod.network import Branch, BranchStatistics, FODNetwork, NetworkOutput
from fod_bench.methods.fod.precision import matrix_products
from fod_bench.methods.fod.train import LevelTrainer, Losses, LossWeights, losses

_LOG = logging.getLogger(__name__)

Batch = tuple[Tensor, Tensor | None]
"""A member's features (B, N, C) and references, (B or 1, N·M, C), for a step."""


class PackedTrainer:
    """Takes the steps of P trainers of one level together, or, where they do not fit the device's memory, in parts that take turns.

    It adopts them: their parameters become parts of its own, their Adam's moments stay where they are. So each trainer goes on
    being whole: it can be scored, saved, loaded into, and take a step by itself in between.
    """

    def __init__(self, trainers: Sequence[LevelTrainer]) -> None:
        """`trainers` differ in weights and λ only: same network shape, learning rate, precision and kind of loss."""
        self.trainers = list(trainers)
        self._parts: list[PackedTrainer] = []
        self._network: FODNetwork | None = None

    @property
    def together(self) -> int:
        """Most members that share a step."""
        return max(part.together for part in self._parts) if self._parts else len(self.trainers)

    def step(self, batches: Sequence[Batch]) -> list[Losses | torch.cuda.OutOfMemoryError]:
        """One optimiser step of each member on its batch; the batches have one shape.

        Returns each member's loss terms as `LevelTrainer.step` does. Where a member by itself does not fit the memory either,
        the error stands in their place, and the member is as it was.
        """
        if not self._parts:
            try:
                return list(self._step(batches))
            except torch.cuda.OutOfMemoryError as error:
                self._forget_gradients()
                self._forget_unmade_moments()
                if len(self.trainers) == 1:
                    traceback.clear_frames(error.__traceback__)  # which hold the failed step's tensors
                    return [error]
            self._split()
        taken: list[Losses | torch.cuda.OutOfMemoryError] = []
        for part in self._parts:
            start = len(taken)
            taken += part.step(batches[start : start + len(part.trainers)])
        return taken

    def zero_gradient_step(self) -> None:
        """`LevelTrainer.zero_gradient_step` of each member."""
        for trainer in self.trainers:
            trainer.zero_gradient_step()

    def _step(self, batches: Sequence[Batch]) -> Sequence[Losses]:
        if len(self.trainers) == 1:
            return [self.trainers[0].step(*batches[0])]
        if self._network is None:
            self._adopt()
        assert self._network is not None
        features = torch.stack([given for given, _ in batches])  # (P, B, N, C)
        known = [reference for _, reference in batches if reference is not None]
        reference = torch.stack(known).expand(-1, features.shape[1], -1, -1).flatten(0, 1) if known else None
        with matrix_products(self.trainers[0].precision, features.device):
            output = self._network(features.flatten(0, 1), reference)
            terms = losses(_by_member(output, len(batches)), features, self._weights)
            terms.total.sum().backward()  # a member's parameters are in its own term only
        for parameter, members in self._parameters:
            if parameter.grad is not None:
                for member, gradient in zip(members, parameter.grad.unbind(), strict=True):
                    member.grad = gradient
        self._optimizer.step()
        self._forget_gradients()
        return [Losses(*each) for each in zip(*(term.detach().unbind() for term in terms), strict=True)]

    def _adopt(self) -> None:
        """Stack the members' parameters, of which theirs become views, and join their optimisers."""
        networks = [trainer.network for trainer in self.trainers]
        weights = [trainer.weights for trainer in self.trainers]
        lambdas = [(each.lambda1, each.lambda2) for each in weights]
        like = next(networks[0].parameters())
        first, second = (like.new_tensor([each[at] for each in lambdas]) for at in range(2))  # (P,) each
        self._weights = LossWeights(first, second, weights[0].optimization)
        for trainer in self.trainers:
            trainer.forget_recordings()
        self._network = _packed(networks)
        named = [dict(network.named_parameters()) for network in networks]
        self._parameters = [
            (parameter, [of_member[name] for of_member in named])
            for name, parameter in self._network.named_parameters()
        ]
        # One Adam over the members' own parameters, with the very state that their own have: they may be at different steps.
        owners = {parameter: trainer for trainer in self.trainers for parameter in trainer.network.parameters()}
        self._optimizer = torch.optim.Adam([{**self.trainers[0].optimizer.param_groups[0], "params": list(owners)}])
        for parameter, trainer in owners.items():
            self._optimizer.state[parameter] = trainer.optimizer.state[parameter]

    def _split(self) -> None:
        """Give way to halves that take turns."""
        _LOG.warning(
            "memory    %d trainings do not fit the GPU together: they go on in two halves, in turns", len(self.trainers)
        )
        half = (len(self.trainers) + 1) // 2
        self._parts = [PackedTrainer(self.trainers[:half]), PackedTrainer(self.trainers[half:])]
        self._network = None
        if self.trainers[0].network.position.is_cuda:
            torch.cuda.empty_cache()

    def _forget_gradients(self) -> None:
        for network in [self._network, *(trainer.network for trainer in self.trainers)]:
            if network is not None:
                network.zero_grad(set_to_none=True)

    def _forget_unmade_moments(self) -> None:
        """Adam makes all moments in its first step, one after the other: where memory ran out in between, there are none."""
        for trainer in self.trainers:
            for moments in trainer.optimizer.state.values():
                if "exp_avg_sq" not in moments or not moments["step"]:
                    moments.clear()


class _Linear(nn.Module):
    """P linear layers: weight (P, out, in), bias (P, 1, out)."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight, self.bias = _stacked(layers, "weight"), _stacked(layers, "bias")

    def forward(self, given: Tensor) -> Tensor:
        """(P·B, N, in) to (P·B, N, out)."""
        rows = given.reshape(len(self.weight), -1, given.shape[-1])  # (P, B·N, in)
        return torch.baddbmm(self.bias[:, None], rows, self.weight.mT).view(*given.shape[:-1], -1)


class _LayerNorm(nn.Module):
    """P layer norms over the last dimension: weight and bias (P, D)."""

    def __init__(self, layers: Sequence[nn.LayerNorm]) -> None:
        super().__init__()
        self.weight, self.bias = _stacked(layers, "weight"), _stacked(layers, "bias")
        self.eps = layers[0].eps

    def forward(self, given: Tensor) -> Tensor:
        """(P·B, N, D) to the same."""
        normal = functional.layer_norm(given, given.shape[-1:], eps=self.eps)
        rows = normal.view(len(self.weight), -1, given.shape[-1])  # (P, B·N, D)
        return torch.addcmul(self.bias[:, None], rows, self.weight[:, None]).view_as(given)


def _stacked(layers: Sequence[nn.Module], name: str) -> nn.Parameter:
    """The layers' parameters in one, (P, …); theirs become views of it."""
    members = [layer.get_parameter(name) for layer in layers]
    stacked = nn.Parameter(torch.stack([member.detach() for member in members]))
    for member, part in zip(members, stacked.detach().unbind(), strict=True):
        member.data = part
    return stacked


_PACKED = {nn.Linear: _Linear, nn.LayerNorm: _LayerNorm}


def _packed(networks: Sequence[FODNetwork]) -> FODNetwork:
    """The network of one shape with every layer that has weights exchanged for one that holds all networks' weights."""
    made = copy.deepcopy(networks[0])
    for name, module in networks[0].named_modules():
        packed = _PACKED.get(type(module))
        if packed is not None:
            parent, _, own = name.rpartition(".")
            setattr(made.get_submodule(parent), own, packed([network.get_submodule(name) for network in networks]))
        elif isinstance(module, Branch):
            setattr(made.get_submodule(name), "correlate", correlate_as_one)  # noqa: B010 - to mypy all is a module there
    return made


def _by_member(output: NetworkOutput, members: int) -> NetworkOutput:
    """Each part (P·B, …) as (P, B, …)."""

    def branch(found: BranchStatistics | None) -> BranchStatistics | None:
        return found and BranchStatistics(*(part.unflatten(0, (members, -1)) for part in found))

    reconstruction = output.reconstruction.unflatten(0, (members, -1))
    return NetworkOutput(reconstruction, branch(output.intra), branch(output.inter))
