"""PatchSVDD on images: the distance of every patch to the nearest patch of the training images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from fod_bench.methods.base import Batch
from fod_bench.methods.patchsvdd.cost import PATCHES
from fod_bench.methods.patchsvdd.network import Encoder
from fod_bench.methods.patchsvdd.sampling import standardised
from fod_bench.methods.patchsvdd.search import Bank

Banks = Mapping[int, Bank]
"""The embeddings of the training images, `{patch: bank}`; rows by image, row and column of the patch."""


class PatchSvddDetector:
    """See `fod_bench.methods.base.Detector`."""

    def __init__(self, encoder: Encoder, mean: Tensor, banks: Callable[[], Banks]) -> None:
        """`mean`: the mean training image (s, s, 3). `banks` gives the embeddings that fit the encoder as it is."""
        self._encoder = encoder
        self._mean = mean
        self._banks = banks

    @torch.no_grad()
    def parts(self, images: Batch) -> dict[str, Tensor]:
        """`patch64` and `patch32`, the distances of an image's patches (n, rows, columns): 13×13 and 57×57 at 256 pixels."""
        if images.images is None:
            raise ValueError("PatchSVDD scores images, and this batch holds none")
        banks = self._banks()
        found: dict[str, list[Tensor]] = {f"patch{patch}": [] for patch in PATCHES}
        for embedded in embeddings(self._encoder, images.images, self._mean):
            for patch, grid in embedded.items():
                distances, _ = banks[patch].nearest(grid.flatten(0, 1))
                found[f"patch{patch}"].append(distances.unflatten(0, grid.shape[:2]))
        return {name: torch.stack(maps) for name, maps in found.items()}


def embeddings(encoder: Encoder, images: Tensor, mean: Tensor) -> Iterator[dict[int, Tensor]]:
    """Of each image of (n, s, s, 3) the embeddings `{patch: (rows, columns, D)}`. Images are taken one by one: how many there are
    in a batch would change the last bits."""
    for image in images:
        with exact_convolutions():
            found = encoder.dense(standardised(image[None], mean))
        yield {patch: grid[0] for patch, grid in found.items()}


@torch.no_grad()
def bank_of(encoder: Encoder, images: Tensor, mean: Tensor) -> Banks:
    """The embeddings of training images (N, s, s, 3)."""
    found: dict[int, list[Tensor]] = {patch: [] for patch in PATCHES}
    for embedded in embeddings(encoder, images, mean):
        for patch, grid in embedded.items():
            found[patch].append(grid.flatten(0, 1))
    # one size after the other, so that the larger is there twice for a moment only
    return {patch: Bank.of(torch.cat(found.pop(patch))) for patch in PATCHES}


def exact_convolutions() -> AbstractContextManager[None]:
    """Inside the block a GPU computes convolutions in float32; by default it rounds their factors to 10 bits."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
