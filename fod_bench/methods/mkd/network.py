"""The two networks: the frozen source and the cloner that learns to give its maps.

Shape letters: n images, s their side in pixels, C the channels of a level, h×w its grid.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fod_bench.features.backbone import frozen_network
from fod_bench.features.weights import Weights
from fod_bench.methods.mkd.shapes import compares_pools, timm_levels

Maps = dict[int, Tensor]
"""`{stride: (n, C, h, w)}`."""

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def normalised(images: Tensor, kind: str) -> Tensor:
    """First layer of both networks: images (n, 3, s, s) in [0, 1] by ImageNet's mean and standard deviation, or as they are."""
    if kind == "none":
        return images
    mean, std = (images.new_tensor(values)[:, None, None] for values in (_MEAN, _STD))
    return (images - mean) / std


class Source(nn.Module):
    """The compared maps of a frozen network, without parameters to train; gradients pass through it to the image."""

    def __init__(self, network: nn.Module, levels: Sequence[int], pools: bool, axes: str = "NCHW") -> None:
        """Args:
        network: gives one map per level, finest first.
        levels: strides of the compared maps, ascending.
        pools: whether a level is the network's map after a max-pool, as published for VGG.
        axes: of the network's maps, `NCHW` or `NHWC`.
        """
        super().__init__()
        self.network = network
        self.levels, self.pools, self.axes = tuple(levels), pools, axes
        self.eval()

    def forward(self, images: Tensor) -> Maps:
        """Maps of normalised images (n, 3, s, s)."""
        found = {}
        for level, values in zip(self.levels, self.network(images), strict=True):
            if self.axes == "NHWC":
                values = values.permute(0, 3, 1, 2)
            found[level] = functional.max_pool2d(values, 2) if self.pools else values
        return found


def make_source(weights: Weights, levels: Sequence[int], image_size: int) -> Source:
    """The frozen backbone in evaluation mode. Raises as `frozen_network`."""
    network, maps = frozen_network(weights, timm_levels(weights.backbone, levels), image_size)
    return Source(network, levels, compares_pools(weights.backbone), maps.axes)


class Cloner(nn.Module):
    """Blocks of 3×3 convolutions, each block ended by a max-pool of 2; the maps are the pools' outputs.

    Every convolution is followed by batch normalisation and ReLU, but the last of a block by ReLU alone. Where the source's maps
    can be negative (`linear`), a compared block has no ReLU before its pool; the next block is given the ReLU of the pool's output.
    """

    def __init__(
        self, widths: Sequence[Sequence[int]], levels: Collection[int], linear: bool, seed: int = 0, bias: bool = False
    ) -> None:
        """Args:
        widths: output channels of each convolution, block by block.
        levels: strides of the compared blocks; block k, counted from 1, has stride 2^k.
        seed: of the convolutions' initial weights, Xavier uniform.
        bias: whether convolutions have biases, 0 at first.
        """
        super().__init__()
        self.levels = frozenset(levels)
        layers: list[nn.Module] = []
        channels = 3
        for number, block in enumerate(widths):
            ends_linear = linear and 2 << number in self.levels
            for place, width in enumerate(block):
                layers.append(_convolution(channels, width, bias))
                channels = width
                if place < len(block) - 1:
                    layers.append(nn.BatchNorm2d(width))
                    layers.append(nn.ReLU())
            pool = nn.MaxPool2d(2)
            layers += [pool, nn.ReLU()] if ends_linear else [nn.ReLU(), pool]
        if isinstance(layers[-1], nn.ReLU):
            layers.pop()  # nothing comes after the deepest pool
        self.features = nn.Sequential(*layers)
        generator = torch.Generator().manual_seed(seed)
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight, generator=generator)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor, guided: bool = False) -> Maps:
        """Maps of normalised images (n, 3, s, s). `guided`: gradients pass a ReLU only where they and its output are positive."""
        found, stride, values = {}, 1, images
        for layer in self.features:
            values = _guided_relu(values) if guided and isinstance(layer, nn.ReLU) else layer(values)
            if isinstance(layer, nn.MaxPool2d):
                stride *= 2
                if stride in self.levels:
                    found[stride] = values
        return found


def _convolution(channels: int, width: int, bias: bool) -> nn.Conv2d:
    with torch.random.fork_rng(
        devices=[]
    ):  # its first weights, which are replaced, are drawn from the global generator
        return nn.Conv2d(channels, width, 3, padding=1, bias=bias)


class _GuidedRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        output = values.clamp_min(0)
        ctx.save_for_backward(output)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (output,) = ctx.saved_tensors
        return gradient.clamp_min(0) * (output > 0)


def _guided_relu(values: Tensor) -> Tensor:
    """ReLU with the gradient of guided backpropagation (Springenberg et al., 2015)."""
    result: Tensor = _GuidedRelu.apply(values)
    return result
