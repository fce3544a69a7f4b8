"""The networks of PatchSVDD: the hierarchical encoder and the classifiers of relative positions.

Leaky ReLU of slope 0.1 throughout, no padding, no normalisation layers. Shape letters: n patches or images, D the embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fod_bench.methods.patchsvdd.cost import CHANNELS, CLASSES, HIDDEN, PATCHES, STRIDES, grid_side

SLOPE = 0.1
_DENSE = 2
"""Pixels between the small encoder's outputs on a whole image: the stride of its first convolution."""


class SmallEncoder(nn.Module):
    """Embeds patches of 32 pixels by eight 3×3 convolutions, the first with stride 2; tanh at the end."""

    def __init__(self, embedding: int) -> None:
        super().__init__()
        outputs = (*CHANNELS[1:], embedding)
        self.layers = nn.ModuleList(
            nn.Conv2d(given, made, 3, stride=_DENSE if number == 0 else 1)
            for number, (given, made) in enumerate(zip(CHANNELS, outputs, strict=True))
        )

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, 32, 32) to (n, D, 1, 1). On larger images (n, D, h, w): output (i, j) is of the patch at row 2i, column 2j.

        An output sees 31×31 pixels, so a side that is odd gives one row and column more than there are whole patches.
        """
        *inner, last = self.layers
        for layer in inner:
            images = functional.leaky_relu(layer(images), SLOPE)
        return torch.tanh(last(images))


class Encoder(nn.Module):
    """Embeds patches of 32 pixels by the small encoder, and those of 64 by what it makes of their quadrants."""

    def __init__(self, embedding: int) -> None:
        super().__init__()
        self.small = SmallEncoder(embedding)
        self.join = nn.Conv2d(embedding, HIDDEN, 2)
        self.out = nn.Conv2d(HIDDEN, embedding, 1)

    def forward(self, large: Tensor, small: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (n, D) of patches (n, 3, 64, 64), and (m, D) of patches (m, 3, 32, 32), in one pass."""
        embedded = self.small(torch.cat([quadrants(large), small]))  # (4n + m, D, 1, 1)
        inner, outer = embedded.split([4 * len(large), len(small)])
        return self._head(side_by_side(inner)).flatten(1), outer.flatten(1)

    def dense(self, images: Tensor) -> dict[int, Tensor]:
        """Embeddings of every patch of images (n, 3, H, W), `{patch: (n, rows, columns, D)}`, at the strides of scoring.

        The same as cropping the patches and embedding each, since nothing is padded; the convolutions run once per image.
        """
        height, width = images.shape[2:]
        whole = [1 + (side - 32) // _DENSE for side in (height, width)]  # outputs that are of whole patches
        fine = self.small(images)[:, :, : whole[0], : whole[1]]
        step = STRIDES[32] // _DENSE
        coarse = self._head(fine, stride=STRIDES[64] // _DENSE, dilation=32 // _DENSE)
        found = {64: coarse, 32: fine[:, :, ::step, ::step]}
        for patch, grid in found.items():
            assert tuple(grid.shape[2:]) == (grid_side(height, patch), grid_side(width, patch))
        return {patch: found[patch].permute(0, 2, 3, 1) for patch in PATCHES}

    def _head(self, quarters: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
        """(n, D, 2, 2) to (n, D, 1, 1); of a whole image's outputs those that are `dilation` apart are joined."""
        joined = functional.conv2d(quarters, self.join.weight, self.join.bias, stride=stride, dilation=dilation)
        return torch.tanh(self.out(functional.leaky_relu(joined, SLOPE)))


def quadrants(patches: Tensor) -> Tensor:
    """The quadrants (4n, 3, 32, 32) of patches (n, 3, 64, 64): of each its upper left, upper right, lower left, lower right."""
    cut = patches.unflatten(3, (2, 32)).unflatten(2, (2, 32))  # (n, 3, 2, 32, 2, 32)
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def side_by_side(embedded: Tensor) -> Tensor:
    """The embeddings (4n, D, 1, 1) of `quadrants` where those lay in their patch, (n, D, 2, 2)."""
    return embedded.flatten(1).unflatten(0, (-1, 2, 2)).permute(0, 3, 1, 2)


class _Output(nn.Module):
    """A linear layer whose weight is never trained, and used with each of its columns divided by the column's norm."""

    weight: Tensor

    def __init__(self, given: int, made: int) -> None:
        super().__init__()
        drawn = nn.Linear(given, made)
        self.register_buffer("weight", drawn.weight.detach().clone())
        self.bias = drawn.bias

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, given) to (n, made)."""
        return functional.linear(inputs, self.weight / self.weight.norm(dim=0), self.bias)


class PositionClassifier(nn.Module):
    """Tells at which of eight positions around a patch another lies, from the difference of their embeddings."""

    def __init__(self, embedding: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embedding, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, HIDDEN)
        self.fc3 = _Output(HIDDEN, CLASSES)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Logits (n, 8) of embeddings (n, D) and (n, D)."""
        hidden = functional.leaky_relu(self.fc1(first - second), SLOPE)
        logits: Tensor = self.fc3(functional.leaky_relu(self.fc2(hidden), SLOPE))
        return logits


class Networks(nn.Module):
    """All that is trained: the encoder, which both patch sizes share, and a classifier for each."""

    def __init__(self, embedding: int) -> None:
        super().__init__()
        self.encoder = Encoder(embedding)
        self.classifiers = nn.ModuleDict({str(patch): PositionClassifier(embedding) for patch in PATCHES})


def build_networks(embedding: int, seed: int) -> Networks:
    """Networks with torch's default initial weights, of `seed`. The global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Networks(embedding)
