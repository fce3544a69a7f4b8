"""A frozen timm backbone that gives the feature levels of chosen strides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from timm.models.efficientnet import EfficientNetFeatures
from timm.models.mobilenetv3 import MobileNetV3Features
from torch import Tensor, nn
from torch.nn import functional

from fod_bench.errors import TrialError
from fod_bench.features.loading import load_weights
from fod_bench.features.network import LevelMaps, level_maps, make_network
from fod_bench.features.weights import Weights


class Backbone(nn.Module):
    """Feature levels of images, channels last. In evaluation mode and without gradients."""

    def __init__(
        self, weights: Weights, levels: Sequence[int], precision: str = "float32", image_size: int | None = None
    ) -> None:
        """A backbone for images of `image_size` pixels a side, or of the size it was made for.

        Args:
            precision: of the factors of products, `float32`, `tf32` or `bfloat16`.

        Raises:
            WeightsError: the file does not fit the backbone.
            JobError: it lacks a stride, or does not give the levels for such images.
        """
        super().__init__()
        self.levels, self.precision = sorted(levels), precision
        self.maps = level_maps(weights.backbone, tuple(self.levels), image_size)
        self.network = _create(weights, self.maps)
        self.network.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def forward(self, images: Tensor) -> list[Tensor]:
        """(n, 3, s, s) normalised images to one pooled (n, s/stride, s/stride, C) float32 tensor per level, finest first.

        Raises `TrialError` where the images' device does not have the precision, or a map is not of its level's shape.
        """
        return self.features(self.maps_of(images), pooled=True)

    @torch.inference_mode()
    def maps_of(self, images: Tensor) -> list[Tensor]:
        """What the network gives of (n, 3, s, s) normalised images: (n, C, s/stride, s/stride) per level. Raises as `forward`."""
        with _products(self.precision, images.device):
            maps: list[Tensor] = self.network(images.to(memory_format=torch.channels_last))
        self.maps.check(maps, images.shape[-1])
        return [values.permute(0, 3, 1, 2) for values in maps] if self.maps.axes == "NHWC" else maps

    @torch.inference_mode()
    def features(self, maps: list[Tensor], *, pooled: bool) -> list[Tensor]:
        """The maps as features (n, s/stride, s/stride, C) float32, smoothed by a 3×3 mean or as they are."""
        found = [values.float() for values in maps]
        if pooled:
            found = [functional.avg_pool2d(values, 3, 1, 1) for values in found]
        return [values.permute(0, 2, 3, 1) for values in found]


def frozen_network(
    weights: Weights, levels: Sequence[int], image_size: int | None = None
) -> tuple[nn.Module, LevelMaps]:
    """The network of a backbone for a method that runs it itself: in evaluation mode and not to be trained, but gradients pass
    through it to the image. It gives the maps of `levels`, finest first, as timm has them: not pooled, in the axes that the second
    result names.

    Raises as `Backbone`.
    """
    maps = level_maps(weights.backbone, tuple(sorted(levels)), image_size)
    with torch.inference_mode(False):  # gradients do not pass through tensors made in that mode
        return _create(weights, maps).eval().requires_grad_(False), maps


@contextmanager
def _products(precision: str, device: torch.device) -> Iterator[None]:
    """Inside the block products of layers are computed in this precision."""
    if precision == "tf32" and device.type != "cuda":
        raise TrialError(
            "backbone_precision tf32: this processor does not multiply in it; use float32 or bfloat16, or a GPU"
        )
    # PyTorch's default for convolutions is TF32
    with (
        torch.backends.cudnn.flags(enabled=True, allow_tf32=precision == "tf32"),
        torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"),
    ):
        yield


def _create(weights: Weights, maps: LevelMaps) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(weights.seed or 0)
        network = make_network(weights.backbone, maps)
        if weights.path is not None:
            load_weights(network, weights.path, weights.backbone, maps.options)
    if isinstance(
        network, EfficientNetFeatures | MobileNetV3Features
    ):  # others leave out by themselves what is not needed
        deepest = max(info["stage"] for info in network.feature_info.get_dicts())  # the stem is stage 0
        network.blocks = network.blocks[:deepest]
    return network
