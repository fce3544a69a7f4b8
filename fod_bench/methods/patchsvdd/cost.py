"""Sizes, rules and arithmetic of PatchSVDD, for settings and estimates. Knows no torch, so that a plan can be made without it."""

from __future__ import annotations

from typing import Literal

PATCHES = (64, 32)
"""Sides of the patches that are embedded, in pixels."""
STRIDES = {64: 16, 32: 4}
"""Pixels between neighbouring patches of an image when it is scored."""
CHANNELS = (3, 32, 64, 128, 128, 64, 32, 32)
"""Channels going into the eight 3×3 convolutions of the small encoder; what comes out of the last is the embedding."""
HIDDEN = 128
"""Width of the big encoder's head and of the position classifiers."""
CLASSES = 8
"""Relative positions of a neighbouring patch."""

Rule = Literal["patch32", "patch64", "sum", "mult"]
RULES: tuple[Rule, ...] = ("patch32", "patch64", "sum", "mult")
"""How a map is made of those of the two patch sizes; the last is the authors' own."""


def grid_side(side: int, patch: int) -> int:
    """Patches along an axis of `side` pixels; `side` is at least `patch`."""
    return 1 + (side - patch) // STRIDES[patch]


def patches_of_image(image_size: int) -> int:
    """Embeddings of an image, of both patch sizes."""
    return sum(grid_side(image_size, patch) ** 2 for patch in PATCHES)


def small_encoder_flops(side: int, embedding: int) -> float:
    """Operations of the small encoder on a square of `side` pixels, a multiply-add as two: 56.7 million for 32 pixels."""
    outputs = (*CHANNELS[1:], embedding)
    total = 0.0
    for number, (given, made) in enumerate(zip(CHANNELS, outputs, strict=True)):
        side = (side - 3) // 2 + 1 if number == 0 else side - 2
        total += 2 * 9 * side**2 * given * made
    return total


def _head_flops(embedding: int) -> float:
    """Operations of the big encoder on the embeddings of a patch's quadrants."""
    return 2 * (4 * embedding * HIDDEN + HIDDEN * embedding)


def sample_flops(embedding: int) -> float:
    """Operations of training on one sample: four patches of each size forward, and twice that backward."""
    small = small_encoder_flops(32, embedding)
    classifier = 2 * (embedding * HIDDEN + HIDDEN**2 + HIDDEN * CLASSES)
    return 3 * (4 * (4 * small + _head_flops(embedding)) + 4 * small + 2 * classifier)


def image_flops(image_size: int, embedding: int) -> float:
    """Operations of embedding every patch of an image."""
    return small_encoder_flops(image_size, embedding) + grid_side(image_size, 64) ** 2 * _head_flops(embedding)


def search_flops(image_size: int, train: int, embedding: int) -> float:
    """Operations of the products by which the patches of one image are compared with those of `train` images."""
    return sum(2.0 * train * grid_side(image_size, patch) ** 4 * embedding for patch in PATCHES)


def bank_bytes(image_size: int, train: int, embedding: int) -> float:
    """Bytes of the embeddings of `train` images."""
    return 4.0 * train * patches_of_image(image_size) * embedding


def sample_bytes(embedding: int) -> float:
    """Bytes that a training step keeps of one sample for its gradients: values before and after each activation."""
    outputs = enumerate((*CHANNELS[1:], embedding))
    values = sum(2 * (15 - 2 * number) ** 2 * made for number, made in outputs)
    return 4.0 * 20 * values


def encoder_parameters(embedding: int) -> int:
    """Learned numbers of the encoder, which scoring needs."""
    made = zip(CHANNELS, (*CHANNELS[1:], embedding), strict=True)
    small = sum(9 * given * wide + wide for given, wide in made)
    return small + 4 * embedding * HIDDEN + HIDDEN + HIDDEN * embedding + embedding
