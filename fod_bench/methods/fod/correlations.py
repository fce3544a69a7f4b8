"""What chosen patches are correlated with, in every layer and head: rows of S of Eqs. 4 and 9, of one image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from fod_bench.methods.fod.correlation.result import Correlation
from fod_bench.methods.fod.network import Branch, FODNetwork, ReferenceSide


@torch.inference_mode()
def correlations(
    network: FODNetwork, features: Tensor, reference: Tensor | ReferenceSide | None, patches: Sequence[int]
) -> dict[str, Tensor]:
    """Of patches (p,) of an image with features (1, N, C): `intra` and `inter`, as far as the view has them, each
    (layers, h, p, N). Several references of one position count together, so that every row sums to one."""
    found: dict[str, list[Tensor]] = {}
    with _seen(network, list(patches), found):
        network(features, reference)
    return {branch: torch.stack(layers) for branch, layers in found.items()}


@contextmanager
def _seen(network: FODNetwork, patches: list[int], found: dict[str, list[Tensor]]) -> Iterator[None]:
    """Inside the block the network's branches leave the rows of the patches in `found`, layer by layer."""
    branches = {
        (number, name): getattr(layer, name)
        for number, layer in enumerate(network.layers)
        for name in ("intra", "inter")
    }
    plain = {place: branch.correlate for place, branch in branches.items() if isinstance(branch, Branch)}

    def watching(name: str, branch: Branch) -> None:
        correlate = branch.correlate

        def watched(query: Tensor, key: Tensor, value: Tensor, target_y: Tensor, target_x: Tensor) -> Correlation:
            logits = query[0][:, patches] @ key[0].mT / query.shape[-1] ** 0.5  # (h, p, N·M)
            rows = torch.softmax(logits, -1).unflatten(-1, (query.shape[2], -1)).sum(-1)
            found.setdefault(name, []).append(rows.cpu())
            return correlate(query, key, value, target_y, target_x)

        branch.correlate = watched

    for (_, name), branch in branches.items():
        if isinstance(branch, Branch):
            watching(name, branch)
    try:
        yield
    finally:
        for place, correlate in plain.items():
            branches[place].correlate = correlate
