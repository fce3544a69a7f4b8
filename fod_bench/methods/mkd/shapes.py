"""What is known of both networks from the backbone's name alone: which maps are compared, and the cloner's layers. No torch.

A stride is pixels per feature. A block of the cloner ends with a max-pool, so block k has stride 2^k.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fod_bench.features.offered import backbone_strides

HIDDEN_WIDTH = 16
"""Channels of the small cloner wherever it is not compared."""

_CONVOLUTIONS = (2, 2, 3, 3, 3)
"""Per block, as VGG-16 has them; blocks beyond the fifth have as many as the fifth."""

_ENDS_IN_RELU = re.compile(
    r"vgg\d+(_bn)?|(wide_|se|eca|legacy_se)?resnet\d+[cdst]?(_\w+)?|(se|legacy_se)?resnext\d+d?_\d+x\d+\w*|regnet[xy]_\w+|repvgg_\w+"
)
"""Architectures whose stages end in a ReLU, whole names. Those left out end in a linear layer or another activation, or are taken
to: without its last ReLU the cloner can give maps that are nowhere negative too, with it no negative value."""

_SOURCE_COSTS = {
    "tf_efficientnet_b6": (65_600, 2_015),
    "wide_resnet50_2": (227_000, 560),
    "mobilenetv2_100": (5_600, 390),
    "resnet18": (36_100, 110),
    "resnet50": (81_500, 430),
    "efficientnet_b0": (7_300, 440),
    "vgg16": (306_000, 390),
}
"""Per pixel of an image, down to the deepest level: multiply-adds, by torch's counter, and numbers that are kept for the gradient
by the image, as measured. Of others a ResNet-50's are taken."""


def architecture(backbone: str) -> str:
    """timm's name of the network, without its weights' tag."""
    return backbone.partition(".")[0]


def compares_pools(backbone: str) -> bool:
    """Whether the compared maps are those after max-pools, as published for VGG. timm gives VGG's maps before them."""
    return re.fullmatch(r"vgg\d+(_bn)?", architecture(backbone)) is not None


def ends_in_relu(backbone: str) -> bool:
    """Whether the compared maps are nowhere negative, by the backbone's family."""
    return _ENDS_IN_RELU.fullmatch(architecture(backbone)) is not None


def timm_levels(backbone: str, levels: Sequence[int]) -> tuple[int, ...]:
    """The strides of timm's maps from which the compared maps of `levels` are made."""
    return tuple(level // 2 for level in levels) if compares_pools(backbone) else tuple(levels)


def source_channels(backbone: str, level: int) -> int:
    """Channels of the source's compared map. Raises KeyError: it has none of this stride."""
    return backbone_strides(backbone)[timm_levels(backbone, [level])[0]]


def cloner_widths(backbone: str, levels: Sequence[int], equal: bool) -> tuple[tuple[int, ...], ...]:
    """Output channels of every convolution of the cloner, block by block, down to the deepest of `levels`.

    The last convolution of a compared block has the source's channels. All others have 16, or in the cloner of equal size as many
    as the source at that stride.
    """
    blocks = []
    for number in range(max(levels).bit_length() - 1):
        stride = 2 << number
        hidden = source_channels(backbone, stride) if equal else HIDDEN_WIDTH
        last = source_channels(backbone, stride) if stride in levels else hidden
        blocks.append((hidden,) * (_CONVOLUTIONS[min(number, 4)] - 1) + (last,))
    return tuple(blocks)


def source_costs(backbone: str, side: int) -> tuple[float, float]:
    """Multiply-adds of the source for one image, and numbers that it keeps for the gradient by it."""
    products, kept = _SOURCE_COSTS.get(architecture(backbone), _SOURCE_COSTS["resnet50"])
    return float(products * side**2), float(kept * side**2)


def cloner_products(widths: Sequence[Sequence[int]], side: int) -> float:
    """Multiply-adds of the cloner's convolutions for one image."""
    total, channels = 0, 3
    for number, block in enumerate(widths):
        for width in block:
            total += (side >> number) ** 2 * 9 * channels * width
            channels = width
    return float(total)


def cloner_values(widths: Sequence[Sequence[int]], side: int) -> int:
    """Numbers that one image's outputs of convolutions, normalisations and pools take."""
    total = 0
    for number, block in enumerate(widths):
        hidden, last = block[:-1], block[-1]
        total += (side >> number) ** 2 * (2 * sum(hidden) + last) + (side >> (number + 1)) ** 2 * last
    return total


def cloner_parameters(widths: Sequence[Sequence[int]]) -> int:
    """Learned numbers of the cloner: convolutions without bias, and scale and shift of a normalisation after all but each
    block's last."""
    total, channels = 0, 3
    for block in widths:
        for width in block:
            total += 9 * channels * width
            channels = width
        total += 2 * sum(block[:-1])
    return total
