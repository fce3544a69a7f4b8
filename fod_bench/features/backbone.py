"""A frozen timm backbone that gives the feature levels of chosen strides."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.models.efficientnet import EfficientNetFeatures
from timm.models.mobilenetv3 import MobileNetV3Features
from torch import Tensor, nn
from torch.nn import functional

from fod_bench.errors import JobError, TrialError, WeightsError
from fod_bench.features.offered import backbone_strides
from fod_bench.features.weights import Weights


class Backbone(nn.Module):
    """Feature levels of pictures, pooled, channels last. In evaluation mode and without gradients."""

    def __init__(self, weights: Weights, levels: Sequence[int], precision: str = "float32") -> None:
        """`precision`: of the factors of products, `float32`, `tf32` or `bfloat16`.

        Raises `WeightsError` when the file does not fit the backbone, `JobError` for a stride it lacks.
        """
        super().__init__()
        self.levels, self.precision = sorted(levels), precision
        self.network = _create(weights, self.levels)
        self.network.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def forward(self, pictures: Tensor) -> list[Tensor]:
        """(n, 3, s, s) normalised pictures to one (n, s/stride, s/stride, C) float32 tensor per level, finest first.

        Raises `TrialError` where the pictures' device does not have the precision.
        """
        with _products(self.precision, pictures.device):
            levels = self.network(pictures.to(memory_format=torch.channels_last))
        return [functional.avg_pool2d(level.float(), 3, 1, 1).permute(0, 2, 3, 1) for level in levels]


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


def _create(weights: Weights, levels: list[int]) -> nn.Module:
    offered = backbone_strides(weights.backbone)  # refuses an unknown name with the nearest
    for level in levels:
        if level not in offered:
            strides = ", ".join(str(stride) for stride in offered)
            raise JobError(f"backbone {weights.backbone} has no level of stride {level}; it has {strides}")
    architecture = weights.backbone.partition(".")[0]
    with torch.random.fork_rng(devices=[]):
        reductions = _outline(architecture, features_only=True).feature_info.reduction()
        # of several maps with one stride the deepest counts
        indices = [len(reductions) - 1 - reductions[::-1].index(level) for level in levels]
        torch.manual_seed(weights.seed or 0)
        network: nn.Module = timm.create_model(architecture, features_only=True, out_indices=indices, pretrained=False)
        if weights.path is not None:
            _load(network, weights.path, weights.backbone, _outline(architecture).state_dict().keys())
    if isinstance(
        network, EfficientNetFeatures | MobileNetV3Features
    ):  # others leave out by themselves what is not needed
        deepest = max(info["stage"] for info in network.feature_info.get_dicts())  # the stem is stage 0
        network.blocks = network.blocks[:deepest]
    return network


def _outline(architecture: str, **options: Any) -> Any:
    """The model for its names and shapes only: without memory for its weights, where its code can do that."""
    try:
        with torch.device("meta"):
            return timm.create_model(architecture, pretrained=False, **options)
    except Exception:  # some architectures read numbers back while they are made
        return timm.create_model(architecture, pretrained=False, **options)


def _load(network: nn.Module, path: Path, backbone: str, known: Collection[str]) -> None:
    """Fill `network` from the file. timm loads what fits and is silent about the rest; here nothing may be missing, and the
    file may hold nothing but `known`, the tensors of the whole backbone: ResNet-34's fill a ResNet-18 without a gap."""

    def plain(name: str) -> str:
        # timm's feature extractors rename `stages.0` to `stages_0` or `model.stages.0`
        return name.removeprefix("model.").replace("_", ".")

    try:
        given = load_file(path)
    except Exception as error:  # safetensors raises its own errors for a damaged file
        raise WeightsError(f"weights {path} cannot be read as safetensors: {error}") from error
    by_name = {plain(name): tensor for name, tensor in given.items()}
    wanted = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    missing = [
        name for name in wanted if plain(name) not in by_name or by_name[plain(name)].shape != wanted[name].shape
    ]
    if missing:
        fault = f"{len(missing)} of {len(wanted)} tensors are missing or of another shape, the first is {missing[0]}"
    elif strange := [name for name in given if name not in known]:
        fault = f"it holds {len(strange)} tensors that this backbone does not have, the first is {strange[0]}"
    else:
        network.load_state_dict({name: by_name[plain(name)] for name in wanted}, strict=False)
        return
    raise WeightsError(f"weights {path} do not fit {backbone}: {fault}; give this backbone's own weights")
