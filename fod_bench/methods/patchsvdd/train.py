"""The losses of PatchSVDD and the optimiser's step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from fod_bench.methods.patchsvdd.cost import PATCHES
from fod_bench.methods.patchsvdd.network import Networks
from fod_bench.methods.patchsvdd.sampling import Patches


class Losses(NamedTuple):
    """Losses of a step, each a scalar."""

    total: Tensor
    position_64: Tensor
    position_32: Tensor
    svdd_64: Tensor
    svdd_32: Tensor


def losses(networks: Networks, patches: Mapping[int, Patches], svdd_weight: float) -> Losses:
    """L = Σ over patch sizes of L_position + λ L_SVDD, for patches `{K: …}` and λ = `svdd_weight`."""
    parts = {patch: [*patches[patch].position, *patches[patch].svdd] for patch in PATCHES}
    embedded = networks.encoder(*(torch.cat(parts[patch]) for patch in PATCHES))
    position, svdd = {}, {}
    for patch, rows in zip(PATCHES, embedded, strict=True):
        first, second, left, right = rows.split([len(part) for part in parts[patch]])
        logits = networks.classifiers[str(patch)](first, second)
        position[patch] = functional.cross_entropy(logits, patches[patch].label)
        svdd[patch] = svdd_loss(left, right)
    total = position[64] + position[32] + svdd_weight * (svdd[64] + svdd[32])
    return Losses(total, position[64], position[32], svdd[64], svdd[32])


def svdd_loss(first: Tensor, second: Tensor) -> Tensor:
    """Mean distance, not squared, of embeddings (B, D) and (B, D). Two that are equal have no gradient."""
    return torch.linalg.vector_norm(first - second, dim=1).mean()


class Trainer:
    """The networks with their one Adam."""

    def __init__(self, networks: Networks, learning_rate: float, svdd_weight: float) -> None:
        self.networks = networks
        self.svdd_weight = svdd_weight
        self.optimizer = torch.optim.Adam(networks.parameters(), lr=learning_rate, fused=True)

    def step(self, patches: Mapping[int, Patches]) -> Losses:
        """One step of the optimiser; the losses, detached, from before it."""
        terms = losses(self.networks, patches, self.svdd_weight)
        terms.total.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return Losses(*(term.detach() for term in terms))
