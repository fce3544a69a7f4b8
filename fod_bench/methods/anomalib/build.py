"""Making a model of anomalib: its Lightning module, with the backbone's weights from where this project takes them.

Wherever anomalib would fetch published weights, timm is asked for a network without any, and it is filled from the file that was
found when the trial was planned. So nothing is downloaded by anomalib.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import timm
import torch
from torch import Tensor, nn

from fod_bench.errors import TrialError
from fod_bench.features.loading import load_weights
from fod_bench.features.network import level_maps
from fod_bench.features.weights import Weights
from fod_bench.methods.anomalib.models import MODELS
from fod_bench.methods.anomalib.package import version
from fod_bench.methods.anomalib.settings import OnBackbone
from fod_bench.methods.base import Context

_MEAN = [0.485, 0.456, 0.406]
_STD = [0.229, 0.224, 0.225]


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Inside the block, torch, numpy and Python draw what these numbers say; outside they go on as if nothing had been drawn."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    of_numpy, of_python = np.random.get_state(), random.getstate()
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(of_numpy)
            random.setstate(of_python)


class Model:
    """A Lightning module of anomalib, and which of its networks are frozen backbones."""

    def __init__(self, setting: dict[str, Any], context: Context, seed: int, device: torch.device) -> None:
        """`setting`: what the settings' `training` gave. Raises `TrialError` for what anomalib cannot do here."""
        if setting["anomalib"] != version():
            raise TrialError(f"the trial is of anomalib {setting['anomalib']}, and {version()} is installed here")
        self.kind, self.image_size = MODELS[setting["method"]], context.image_size
        self._frozen: list[nn.Module] = []
        arguments = self.kind.arguments(setting) | self._backbone(setting, context)
        with torch.inference_mode(False), seeded(seed), self._weights_of(context.network), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = _class(self.kind.model)(**arguments, **_components(context.image_size))
        self.module: Any = module.to(device)
        self.module.train()

    def _backbone(self, setting: dict[str, Any], context: Context) -> dict[str, Any]:
        """Arguments for backbone and levels."""
        if not issubclass(self.kind, OnBackbone):
            return {}
        name = setting["backbone"].partition(".")[0]
        maps = level_maps(setting["backbone"], tuple(setting["levels"]), context.image_size)
        if maps.axes != "NCHW" or maps.sized_by:
            raise TrialError(f"anomalib's models take convolutional networks here, and {name} is none; take another")
        layers = {"layers": maps.indices, "layer": maps.indices[0]}
        argument = self.kind.levels_argument
        return {"backbone": name} | ({argument: layers[argument]} if argument else {})

    @contextmanager
    def _weights_of(self, weights: Weights | None) -> Iterator[None]:
        """Inside the block timm fills a network that is to have published weights from `weights`, and fetches none."""
        plain = timm.create_model

        def create(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
            if not pretrained:
                return plain(name, pretrained=False, **options)
            if weights is None:
                raise TrialError(f"{self.kind.model} asks for published weights of {name}, which it is not given")
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(weights.seed or 0)
                network = plain(name, pretrained=False, **options)
            if weights.path is not None:
                load_weights(network, weights.path, weights.backbone, {})
            self._frozen.append(network)
            return network

        with patch.object(timm, "create_model", create):
            yield

    def prepared(self, images: Tensor) -> Tensor:
        """Images (n, s, s, 3) of uint8 as anomalib's own preprocessing gives them, (n, 3, s, s)."""
        scaled = images.permute(0, 3, 1, 2).float().div(255).contiguous()
        prepared: Tensor = self.module.pre_processor.transform(scaled)
        return prepared

    def frozen_names(self) -> set[str]:
        """Names of the backbones' tensors in the module's `state_dict`."""
        prefixes = tuple(
            f"{name}." for name, part in self.module.named_modules() if any(part is f for f in self._frozen)
        )
        return {name for name in self.module.state_dict() if name.startswith(prefixes)} if prefixes else set()

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """Inside the block the module is in evaluation mode; what was training goes on afterwards."""
        training = {part: part.training for part in self.module.modules()}
        self.module.eval()
        try:
            yield
        finally:
            for part, was in training.items():
                part.training = was


def _class(name: str) -> Any:
    """A class of `anomalib.models`, which is imported here and nowhere else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from anomalib import models
        from anomalib.models.components.sampling import k_center_greedy

    k_center_greedy.tqdm = lambda steps, **_: steps  # a bar would be drawn through this program's own display
    return getattr(models, name)


def _components(image_size: int) -> dict[str, Any]:
    """Of what anomalib puts around a model, its preprocessing alone: the images are of the right size already."""
    from anomalib.pre_processing import PreProcessor
    from torchvision.transforms.v2 import Compose, Normalize, Resize

    transform = Compose([Resize((image_size, image_size), antialias=True), Normalize(mean=_MEAN, std=_STD)])
    return {
        "pre_processor": PreProcessor(transform=transform),
        "post_processor": False,
        "evaluator": False,
        "visualizer": False,
    }
