"""The method written down plainly: every N×N tensor built and kept, two backward passes. Slow on purpose.

It takes the parameters of a `FODNetwork` and follows the formulas one by one, so it is both the yardstick of the speed
benchmark and the twin that tests compare with.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fod_bench.methods.fod.network import FODNetwork

EPSILON = 1e-4


def forward(network: FODNetwork, features: Tensor, reference: Tensor | None) -> tuple[Tensor, list, list]:
    """Reconstruction (B, N, C) and, per layer, the pairs (S, T) of each branch, each (B, h, N, N·M).

    `reference` is (B or 1, N·M, C), the M references of a patch side by side; M is 1 in the intra-image branch.
    """
    hidden = network.embed(features) + network.position
    known = None
    if network.ref_embed is not None:
        assert reference is not None
        position = network.position.repeat_interleave(reference.shape[1] // features.shape[1], 0)
        known = network.ref_embed(reference.expand(len(features), -1, -1)) + position
    intra, inter = [], []
    for layer in network.layers:
        branches = []
        for branch, source, kept in ((layer.intra, hidden, intra), (layer.inter, known, inter)):
            if branch is None:
                continue
            output, attention = _attend(branch, hidden, source)
            branches.append(hidden + output)
            if branch.sigma is not None:
                kept.append((attention, _target(branch, hidden, source.shape[1] // hidden.shape[1])))
        mixed = layer.norm1(branches[0] - branches[1] if len(branches) == 2 else branches[0])
        expanded = functional.gelu(layer.ffn["fc1"](mixed))
        hidden = layer.norm2(mixed + layer.ffn["fc2"](expanded))
    return network.out(network.norm(hidden)), intra, inter


def _attend(branch, hidden: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
    heads = branch.heads
    query, key, value = (
        tensor.unflatten(-1, (heads, -1)).transpose(1, 2)
        for tensor in (branch.query(hidden), branch.key(source), branch.value(source))
    )
    attention = torch.softmax(query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5, -1)
    return (attention @ value).transpose(1, 2).flatten(-2), attention


def _target(branch, hidden: Tensor, references: int) -> Tensor:
    height, width = branch.grid
    raw = branch.sigma(hidden).unflatten(-1, (branch.heads, 2)).transpose(1, 2)  # (B, h, N, 2)
    widths = 3.0 ** (torch.sigmoid(5.0 * raw) + 1e-5) - 1.0
    vertical, horizontal = widths[..., 0:1], widths[..., 1:2]  # (B, h, N, 1)
    index = torch.arange(height * width, device=hidden.device)
    y, x = index // width, index % width
    dy, dx = (y[:, None] - y[None, :]) ** 2, (x[:, None] - x[None, :]) ** 2  # (N, N)
    kernel = torch.exp(-dy / (2 * vertical**2) - dx / (2 * horizontal**2)) / (2 * torch.pi * vertical * horizontal)
    target = kernel / kernel.sum(-1, keepdim=True)  # (B, h, N, N)
    # the common case costs the yardstick nothing
    return target if references == 1 else target.repeat_interleave(references, -1) / references


def divergence(target: Tensor, attention: Tensor) -> Tensor:
    """Eq. 6 before the means: both directions of the KL divergence, per row (B, h, N)."""
    log_target, log_attention = torch.log(target + EPSILON), torch.log(attention + EPSILON)
    return (target * (log_target - log_attention)).sum(-1) + (attention * (log_attention - log_target)).sum(-1)


def entropy(attention: Tensor) -> Tensor:
    """Eq. 7 before the means, per row (B, h, N)."""
    return -(attention * torch.log(attention + EPSILON)).sum(-1)


def phase_losses(
    network: FODNetwork, features: Tensor, reference: Tensor | None, lambda1: float, lambda2: float
) -> tuple[Tensor, Tensor]:
    """L1 and L2 of Eq. 13."""
    output, intra, inter = forward(network, features, reference)
    cosine = functional.cosine_similarity(output, features, dim=-1)
    reconstruction = functional.mse_loss(output, features) + (1 - cosine).mean()
    first, second = reconstruction, reconstruction
    for pairs, sign in ((intra, 1.0), (inter, -1.0)):
        for attention, target in pairs:
            share = sign / len(pairs)
            first = first + share * lambda1 * divergence(target, attention.detach()).mean()
            second = second - share * lambda1 * divergence(target.detach(), attention).mean()
            second = second - share * lambda2 * entropy(attention).mean()
    return first, second


def step(
    network: FODNetwork, optimizer: torch.optim.Optimizer, features: Tensor, reference: Tensor | None
) -> tuple[Tensor, Tensor]:
    """One optimiser step with λ1 = λ2 = 0.5: two backward passes over one graph, then Adam."""
    first, second = phase_losses(network, features, reference, 0.5, 0.5)
    optimizer.zero_grad()
    first.backward(retain_graph=True)
    second.backward()
    optimizer.step()
    return first.detach(), second.detach()
