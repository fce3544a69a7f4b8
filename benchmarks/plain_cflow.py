"""A flow of CFLOW-AD written plainly, module by module, its gradients left to autograd: what the program's own is held against."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

CLAMP = 1.9


class Subnet(nn.Module):
    """Two linear layers with a rectifier between them."""

    def __init__(self, given: int, made: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(given, 2 * given), nn.ReLU(), nn.Linear(2 * given, made))

    def forward(self, rows: Tensor) -> Tensor:
        return self.layers(rows)


class Block(nn.Module):
    """A conditional affine coupling, a learned gain and offset, a fixed rotation."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.sizes = [channels - channels // 2, channels // 2]
        self.subnet = Subnet(self.sizes[0] + condition, 2 * self.sizes[1])
        self.softplus = nn.Softplus(beta=0.5)
        self.scale = nn.Parameter(torch.full((1, channels), 2 * math.log(math.exp(5) - 1)))
        self.offset = nn.Parameter(torch.zeros(1, channels))
        self.rotation = nn.Parameter(torch.linalg.qr(torch.randn(channels, channels))[0], requires_grad=False)

    def forward(self, rows: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = torch.split(rows, self.sizes, dim=1)
        result = self.subnet(torch.cat([kept, condition], 1)) * 0.1
        stretch = CLAMP * torch.tanh(result[:, : self.sizes[1]])
        moved = moved * torch.exp(stretch) + result[:, self.sizes[1] :]
        gain = 0.1 * self.softplus(self.scale)
        out = nn.functional.linear(torch.cat([kept, moved], 1) * gain + self.offset, self.rotation)
        return out, torch.sum(stretch, dim=1) + torch.log(gain).sum()


class Flow(nn.Module):
    """Blocks one after the other."""

    def __init__(self, channels: int, condition: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(channels, condition) for _ in range(blocks))

    def forward(self, rows: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        log_jacobian = torch.zeros(len(rows), dtype=rows.dtype, device=rows.device)
        for block in self.blocks:
            rows, added = block(rows, condition)
            log_jacobian = log_jacobian + added
        return rows, log_jacobian


def loss(flow: Flow, rows: Tensor, condition: Tensor) -> Tensor:
    """Mean over rows of −ln sigmoid of the log-likelihood per dimension."""
    z, log_jacobian = flow(rows, condition)
    channels = rows.shape[1]
    likelihood = -channels * 0.5 * math.log(2 * math.pi) - 0.5 * torch.sum(z**2, 1) + log_jacobian
    return -nn.functional.logsigmoid(likelihood / channels).mean()


def step(flow: Flow, optimizer: torch.optim.Optimizer, rows: Tensor, condition: Tensor) -> float:
    """One move on a fiber; its loss, which is read as the published loop reads it."""
    optimizer.zero_grad()
    value = loss(flow, rows, condition)
    value.backward()
    optimizer.step()
    return value.item()
