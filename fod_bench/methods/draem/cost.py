"""What the two networks cost, from widths and sides alone. Knows no torch, so that a plan can be made without it."""

from __future__ import annotations

from typing import NamedTuple


class Convolution(NamedTuple):
    """A 3×3 convolution with bias; all but the last of a network are followed by batch norm and ReLU."""

    inputs: int
    outputs: int
    stride: int
    """Pixels of the image per value along each axis."""
    normalised: bool = True


def reconstructive(width: int) -> list[Convolution]:
    """The convolutions of the reconstructive network, in order."""
    w = width
    found = _encoder(3, w, 5)
    for stride, inputs, outputs in ((8, 8 * w, 4 * w), (4, 4 * w, 2 * w), (2, 2 * w, w), (1, w, w)):
        found += [Convolution(inputs, inputs, stride), Convolution(inputs, inputs, stride)]
        found += [Convolution(inputs, outputs, stride)]
    return [*found, Convolution(w, 3, 1, normalised=False)]


def discriminative(width: int) -> list[Convolution]:
    """The convolutions of the discriminative network, in order."""
    w = width
    found = _encoder(6, w, 6)
    # Of each stage of the decoder: its input, its output, and what the encoder adds.
    for stride, inputs, outputs, skipped in (
        (16, 8 * w, 8 * w, 8 * w),
        (8, 8 * w, 4 * w, 8 * w),
        (4, 4 * w, 2 * w, 4 * w),
        (2, 2 * w, w, 2 * w),
        (1, w, w, w),
    ):
        found += [Convolution(inputs, outputs, stride), Convolution(outputs + skipped, outputs, stride)]
        found += [Convolution(outputs, outputs, stride)]
    return [*found, Convolution(w, 2, 1, normalised=False)]


def _encoder(inputs: int, w: int, blocks: int) -> list[Convolution]:
    widths = [w, 2 * w, 4 * w, *[8 * w] * (blocks - 3)]
    found = []
    for block, outputs in enumerate(widths):
        found += [Convolution(inputs, outputs, 2**block), Convolution(outputs, outputs, 2**block)]
        inputs = outputs
    return found


def _all(width: int) -> list[Convolution]:
    return reconstructive(width) + discriminative(width // 2)


def parameters(width: int) -> int:
    """Trained numbers of both networks: kernels, biases, and batch norm's scale and shift."""
    return sum(9 * c.inputs * c.outputs + c.outputs * (3 if c.normalised else 1) for c in _all(width))


def forward_flops(width: int, size: int) -> float:
    """Operations of both networks' convolutions on an image of `size`×`size`, a multiply-add as two."""
    return sum(2.0 * 9 * c.inputs * c.outputs * (size // c.stride) ** 2 for c in _all(width))


def activations(width: int, size: int) -> float:
    """Values of an image that a training step keeps for its gradients.

    Two of each convolution, its output and that of batch norm and ReLU, and what is upsampled, joined or pooled: a third more.
    """
    return 4 / 3 * sum(2.0 * c.outputs * (size // c.stride) ** 2 for c in _all(width))
