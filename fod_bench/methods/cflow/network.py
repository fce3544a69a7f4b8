"""The flow of one level: coupling blocks one after the other, and the code of the positions that they are conditioned on."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fod_bench.methods.cflow.coupling import BETA, SHRINK, couple

_LOG_NORMAL = 0.5 * math.log(2 * math.pi)
"""−ln of the standard normal density at 0, of one dimension."""
_SCALE = math.log(math.expm1(BETA / SHRINK)) / BETA
"""Initial `scale`: the gain is 1 there."""


class FlowShape(NamedTuple):
    """Sizes of a flow."""

    channels: int
    """C, numbers of a row."""
    condition: int
    """P, numbers of a condition."""
    blocks: int
    clamp: float
    """Bound of the logarithm of a block's stretch."""


class Coupling(nn.Module):
    """One block, see `couple`. Its network has torch's initial weights, its gain is 1, its offset 0; it rotates nothing yet."""

    rotation: Tensor

    def __init__(self, shape: FlowShape) -> None:
        super().__init__()
        half = shape.channels // 2
        seen = shape.channels - half + shape.condition  # a
        self.clamp = shape.clamp
        self.scale = nn.Parameter(torch.full((shape.channels,), _SCALE))
        self.offset = nn.Parameter(torch.zeros(shape.channels))
        self.hidden = nn.Linear(seen, 2 * seen)
        self.output = nn.Linear(2 * seen, 2 * half)
        self.register_buffer("rotation", torch.eye(shape.channels))

    def forward(self, rows: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """See `couple`."""
        hidden, output = (self.hidden.weight, self.hidden.bias), (self.output.weight, self.output.bias)
        return couple(rows, condition, self.scale, self.offset, self.rotation, hidden, output, self.clamp)


class Flow(nn.Module):
    """Coupling blocks that turn rows of features, given their positions, into rows of a standard normal distribution."""

    def __init__(self, shape: FlowShape) -> None:
        super().__init__()
        self.shape = shape
        self.blocks = nn.ModuleList(Coupling(shape) for _ in range(shape.blocks))

    def forward(self, rows: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """z (N, C) and the log-determinants (N,) of rows (N, C) under conditions (N, P)."""
        log_jacobian = rows.new_zeros(len(rows))
        for block in self.blocks:
            rows, added = block(rows, condition)
            log_jacobian = log_jacobian + added
        return rows, log_jacobian


def build_flow(shape: FlowShape, seed: int, stride: int) -> Flow:
    """A flow whose initial weights and rotations follow from `seed` and `stride` alone; the global generator is left as it was."""
    generator = np.random.default_rng([seed, stride])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(generator.integers(1 << 63)))
        flow = Flow(shape)
    for rotation in flow.buffers():
        rotation.copy_(random_rotation(shape.channels, generator))
    return flow


def log_likelihood(z: Tensor, log_jacobian: Tensor) -> Tensor:
    """ln p of rows per dimension (N,), from z (N, C) and the log-determinants (N,): of a standard normal z, divided by C."""
    channels = z.shape[1]
    return (log_jacobian - channels * _LOG_NORMAL - 0.5 * z.square().sum(1)) / channels


def losses(per_dimension: Tensor) -> Tensor:
    """What training descends, of each row (N,): −ln sigmoid of its log-likelihood per dimension."""
    return -functional.logsigmoid(per_dimension)


def random_rotation(size: int, generator: np.random.Generator) -> Tensor:
    """A rotation (size, size), uniform over all: orthogonal, of determinant 1 (Mezzadri, Notices of the AMS 54, 2007)."""
    orthogonal, triangle = np.linalg.qr(generator.standard_normal((size, size)))
    orthogonal *= np.sign(np.diag(triangle))
    if np.linalg.slogdet(orthogonal)[0] < 0:
        orthogonal[:, 0] *= -1
    return torch.from_numpy(orthogonal).float()


@lru_cache(maxsize=16)
def position_code(length: int, height: int, width: int, device: torch.device) -> Tensor:
    """Fixed 2-D sine/cosine code (height·width, length) of the positions row by row: the first half from x, the second from y.

    Within a half, even numbers are sines and odd ones cosines, of wavelengths from 2π to 10000·2π. `length` is a multiple of 4.
    """
    with torch.inference_mode(False):  # kept for later calls, which may be in another mode
        half = length // 2
        frequency = torch.exp(torch.arange(0, half, 2) * (-math.log(10000.0) / half))  # (half/2,)

        def code(count: int) -> Tensor:  # (count, half)
            angle = torch.arange(count)[:, None] * frequency
            return torch.stack((angle.sin(), angle.cos()), -1).flatten(1)

        across = code(width)[None].expand(height, width, half)
        down = code(height)[:, None].expand(height, width, half)
        return torch.cat((across, down), 2).flatten(0, 1).to(device)
