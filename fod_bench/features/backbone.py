"""A frozen timm backbone that gives the feature levels of chosen strides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from fod_bench.errors import WeightsError
from fod_bench.features.weights import Weights
from fod_bench.job.backbones import backbone_strides


class Backbone(nn.Module):
    """Feature levels of pictures, pooled, channels last. In evaluation mode and without gradients."""

    def __init__(self, weights: Weights, levels: Sequence[int]) -> None:
        """Raises `WeightsError` when the file does not fit the backbone, `JobError` for a stride it lacks."""
        super().__init__()
        self.levels = sorted(levels)
        self.network = _create(weights, self.levels)
        self.network.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def forward(self, pictures: Tensor) -> list[Tensor]:
        """(n, 3, s, s) normalised pictures to one (n, s/stride, s/stride, C) tensor per level, finest first."""
        levels = self.network(pictures.to(memory_format=torch.channels_last))
        return [functional.avg_pool2d(level, 3, 1, 1).permute(0, 2, 3, 1) for level in levels]


def _create(weights: Weights, levels: list[int]) -> nn.Module:
    backbone_strides(weights.backbone)  # refuses an unknown name with the nearest
    architecture = weights.backbone.partition(".")[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(weights.seed or 0)
        probe: Any = timm.create_model(architecture, features_only=True, pretrained=False)
        reductions = probe.feature_info.reduction()
        # of several maps with one stride the deepest counts
        indices = [len(reductions) - 1 - reductions[::-1].index(level) for level in levels]
        torch.manual_seed(weights.seed or 0)
        network = timm.create_model(
            architecture,
            features_only=True,
            out_indices=indices,
            pretrained=weights.path is not None,
            pretrained_cfg_overlay={"file": str(weights.path)} if weights.path else None,
        )
    if weights.path is not None:
        _check_loaded(network, weights)
    return network


def _check_loaded(network: nn.Module, weights: Weights) -> None:
    """timm loads what fits and is silent about the rest; here everything must have come from the file."""

    def plain(name: str) -> str:
        return name.replace("_", ".")  # timm's feature extractors rename `stages.0` to `stages_0`

    assert weights.path is not None
    try:
        given = {plain(name): tensor for name, tensor in load_file(weights.path).items()}
    except Exception as error:  # safetensors raises its own errors for a damaged file
        raise WeightsError(f"weights {weights.path} cannot be read as safetensors: {error}") from error
    wanted = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    wrong = [
        name
        for name, value in wanted.items()
        if plain(name) not in given or not torch.equal(value, given[plain(name)].to(value.dtype).reshape(value.shape))
    ]
    if wrong:
        raise WeightsError(
            f"weights {weights.path} do not fit {weights.backbone}: {len(wrong)} of {len(wanted)} tensors are missing or of "
            f"another shape, the first is {wrong[0]}; give this backbone's own weights"
        )
