"""The FOD network of one feature level: a small transformer that reconstructs patch features (Section 3, Figure 2).

Shape letters: B images, N = H·W patches, M references per patch, C feature channels, D = d_m hidden channels, h heads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fod_bench.methods.fod.correlation import correlate
from fod_bench.methods.fod.rules import View
from fod_bench.methods.fod.streams import side_by_side
from fod_bench.methods.fod.target import kernel_widths, target_factors


@dataclass(frozen=True)
class NetworkShape:
    """Sizes of one level's network. `height`·`width` is the patch grid, `d_model` the paper's d_m."""

    height: int
    width: int
    channels: int
    d_model: int
    heads: int
    layers: int
    view: View

    def __post_init__(self) -> None:
        if self.d_model % self.heads:
            raise ValueError(f"d_model {self.d_model} is not divisible by {self.heads} heads")
        if self.d_model % 4:
            raise ValueError(f"d_model {self.d_model} is not divisible by 4, as the position code needs")


class BranchStatistics(NamedTuple):
    """Divergences and entropy of one branch per patch, mean over heads and layers: each (B, N). See `Correlation`."""

    target_divergence: Tensor
    attention_divergence: Tensor
    entropy: Tensor


class KeyValue(NamedTuple):
    """What a branch's queries are correlated with: projections of references, for each image or the same for all."""

    key: Tensor
    """(B or 1, h, N·M, k), k = D/h."""
    value: Tensor
    """(B or 1, h, N·M, k)."""


ReferenceSide = list[KeyValue]
"""Of every layer's inter-image branch: all that the network computes of references and not of an image."""


class NetworkOutput(NamedTuple):
    """What one forward pass gives; a branch the view does not have is None."""

    reconstruction: Tensor
    """(B, N, C)."""
    intra: BranchStatistics | None
    inter: BranchStatistics | None


class FODNetwork(nn.Module):
    """Transformer of one feature level (Eq. 1 and 2 with the I2Correlation of Section 3.5)."""

    position: Tensor

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Linear(shape.channels, shape.d_model)
        self.ref_embed = nn.Linear(shape.channels, shape.d_model) if shape.view in ("inter", "full") else None
        self.layers = nn.ModuleList(_Block(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.d_model)
        self.out = nn.Linear(shape.d_model, shape.channels)
        for embedding in (self.embed, self.ref_embed):
            if embedding is not None:
                nn.init.kaiming_normal_(embedding.weight, mode="fan_in", nonlinearity="leaky_relu")
        position = position_code(shape.d_model, shape.height, shape.width)
        self.register_buffer("position", position, persistent=False)

    def forward(self, features: Tensor, reference: Tensor | ReferenceSide | None = None) -> NetworkOutput:
        """Reconstruct `features` (B, N, C), correlating with `reference` where the view has inter-correlation.

        `reference` is (B or 1, N·M, C): the M references of the first patch, then those of the next; or what `reference_side` has
        made of it.
        """
        hidden = self.embed(features) + self.position  # (B, N, D)
        known: Sequence[Tensor | KeyValue | None] = [None] * len(self.layers)
        if isinstance(reference, list):
            known = reference
        elif self.ref_embed is not None:
            known = [self._known(reference).expand(features.shape[0], -1, -1)] * len(self.layers)
        intra: list[BranchStatistics] = []
        inter: list[BranchStatistics] = []
        for layer, of_layer in zip(self.layers, known, strict=True):
            hidden, intra_statistics, inter_statistics = layer(hidden, of_layer)
            if intra_statistics is not None:
                intra.append(intra_statistics)
            if inter_statistics is not None:
                inter.append(inter_statistics)
        return NetworkOutput(self.out(self.norm(hidden)), _mean(intra), _mean(inter))

    def reference_side(self, reference: Tensor) -> ReferenceSide:
        """What images are correlated with in every layer, of a view with inter-correlation; `reference` as in `forward`."""
        known = self._known(reference)
        branches = [layer.inter for layer in self.layers if isinstance(layer, _Block)]
        return [branch.key_value(known) for branch in branches if branch is not None]

    def _known(self, reference: Tensor | None) -> Tensor:
        """The embedded references, each with the position code of its patch: (B or 1, N·M, D)."""
        assert self.ref_embed is not None
        if reference is None:
            raise ValueError(f"the view {self.shape.view!r} needs reference features")
        patches = len(self.position)
        if reference.shape[1] % patches:
            raise ValueError(f"{reference.shape[1]} references are not the same number for each of {patches} patches")
        position = self.position.repeat_interleave(reference.shape[1] // patches, 0)  # (N·M, D)
        embedded: Tensor = self.ref_embed(reference) + position
        return embedded


class _Block(nn.Module):
    """One layer: I2Correlation, then a feed-forward net; both with a residual and a LayerNorm after it."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        size = shape.d_model
        self.view = shape.view
        self.intra = Branch(shape, target=shape.view != "patch") if shape.view != "inter" else None
        self.inter = Branch(shape, target=True) if shape.view in ("inter", "full") else None
        self.ffn = nn.ModuleDict({"fc1": nn.Linear(size, 4 * size), "fc2": nn.Linear(4 * size, size)})
        self.norm1 = nn.LayerNorm(size)
        self.norm2 = nn.LayerNorm(size)

    def forward(
        self, hidden: Tensor, known: Tensor | KeyValue | None
    ) -> tuple[Tensor, BranchStatistics | None, BranchStatistics | None]:
        intra, inter = self.intra, self.inter
        intra_statistics = inter_statistics = None
        if inter is None:
            assert intra is not None
            output, intra_statistics = intra(hidden, hidden)
            mixed = hidden + output
        else:
            assert known is not None
            if intra is None:
                output, inter_statistics = inter(hidden, known)
                mixed = hidden + output
            else:
                (output, intra_statistics), (subtracted, inter_statistics) = side_by_side(
                    partial(intra, hidden, hidden), partial(inter, hidden, known), (hidden, *_given(known)), _tensors
                )
                mixed = output - subtracted  # the residual stands in each branch, (x + Z^g) − (x + Z^e), and cancels
        mixed = self.norm1(mixed)
        expanded = functional.gelu(self.ffn["fc1"](mixed))
        return self.norm2(mixed + self.ffn["fc2"](expanded)), intra_statistics, inter_statistics


class Branch(nn.Module):
    """Attention of one branch, with its target where it has one. There is no output projection: the published one is unused."""

    def __init__(self, shape: NetworkShape, *, target: bool) -> None:
        super().__init__()
        size = shape.d_model
        self.grid = (shape.height, shape.width)
        self.heads = shape.heads
        self.query, self.key, self.value = nn.Linear(size, size), nn.Linear(size, size), nn.Linear(size, size)
        self.sigma = nn.Linear(size, 2 * shape.heads) if target else None
        self.correlate, self.target_factors = correlate, target_factors

    def forward(self, hidden: Tensor, known: Tensor | KeyValue) -> tuple[Tensor, BranchStatistics | None]:
        """Correlate `hidden` (B, N, D), the queries, with `known` (B, N·M, D) or what `key_value` has made of it: Z (B, N, D) and
        the statistics."""
        query = self._split(self.query(hidden))
        if isinstance(known, KeyValue):
            key, value = (each.expand(query.shape[0], -1, -1, -1) for each in known)
        else:
            key, value = self.key_value(known)
        if self.sigma is None:
            return self._merge(functional.scaled_dot_product_attention(query, key, value)), None
        widths = kernel_widths(self._split(self.sigma(hidden)))  # (B, h, N, 2)
        references = key.shape[-2] // hidden.shape[1]
        correlation = self.correlate(query, key, value, *self.target_factors(widths, *self.grid, references))
        statistics = BranchStatistics(*(part.mean(1) for part in correlation[1:]))
        return self._merge(correlation.output), statistics

    def key_value(self, known: Tensor) -> KeyValue:
        """Keys and values of `known` (B or 1, N·M, D)."""
        return KeyValue(self._split(self.key(known)), self._split(self.value(known)))

    def _split(self, tensor: Tensor) -> Tensor:
        """(B, N, h·k) to (B, h, N, k)."""
        return tensor.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _merge(self, tensor: Tensor) -> Tensor:
        """(B, h, N, k) to (B, N, h·k)."""
        return tensor.transpose(1, 2).flatten(-2)


def branches_of(network: nn.Module) -> Iterator[Branch]:
    """The branches within one or several networks; whoever wants another implementation of the operator, or of its target,
    sets their `correlate` or `target_factors`."""
    return (module for module in network.modules() if isinstance(module, Branch))


def _given(known: Tensor | KeyValue) -> Sequence[Tensor]:
    """The tensors in what a branch is given."""
    return known if isinstance(known, KeyValue) else [known]


def _tensors(result: tuple[Tensor, BranchStatistics | None]) -> list[Tensor]:
    """Those in what a branch returns."""
    return [result[0], *(result[1] or ())]


def position_code(d_model: int, height: int, width: int) -> Tensor:
    """Fixed 2-D sine/cosine position code (height·width, d_model): first half of the channels from x, second from y.

    Within a half, even channels are sines and odd ones cosines, of wavelengths from 2π to 10000·2π.
    """
    half = d_model // 2
    frequency = torch.exp(torch.arange(0, half, 2) * (-math.log(10000.0) / half))  # (half/2,)

    def code(length: int) -> Tensor:  # (length, half)
        angle = torch.arange(length)[:, None] * frequency
        return torch.stack((angle.sin(), angle.cos()), -1).flatten(-2)

    from_x = code(width)[None, :, :].expand(height, width, half)
    from_y = code(height)[:, None, :].expand(height, width, half)
    return torch.cat((from_x, from_y), -1).flatten(0, 1)


def _mean(layers: list[BranchStatistics]) -> BranchStatistics | None:
    """Mean over layers of each statistic (Eq. 6 and 7)."""
    if not layers:
        return None
    return BranchStatistics(*(torch.stack(parts).mean(0) for parts in zip(*layers, strict=True)))
