"""Weights from a file into a network of timm's, whole or not at all."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm
from safetensors.torch import load_file
from torch import Tensor, nn

from fod_bench.errors import WeightsError
from fod_bench.features.network import outline


def load_weights(network: nn.Module, path: Path, backbone: str, options: Mapping[str, Any]) -> None:
    """Fill `network`, made with `options`, from the file. timm loads what fits and is silent about the rest; here nothing may
    be missing, and the file may hold nothing but tensors of the whole backbone: ResNet-34's fill a ResNet-18 without a gap.
    A file that does not fit as it stands is first put into today's form by timm, which knows its models' older names.

    Raises `WeightsError`.
    """
    try:
        given = load_file(path)
    except Exception as error:  # safetensors raises its own errors for a damaged file
        raise WeightsError(f"weights {path} cannot be read as safetensors: {error}") from error
    fault = _fill(network, given, backbone)
    if fault and (converted := _converted(given, backbone, options)) and not _fill(network, converted, backbone):
        return
    if fault:
        raise WeightsError(f"weights {path} do not fit {backbone}: {fault}; give this backbone's own weights")


def _plain(name: str) -> str:
    """timm's feature extractors rename `stages.0` to `stages_0`, `model.stages.0` or `body.stages.0`."""
    return name.removeprefix("model.").removeprefix("body.").replace("_", ".")


def _fill(network: nn.Module, given: Mapping[str, Tensor], backbone: str) -> str:
    """Load the tensors, or say why they do not fit."""
    by_name = {_plain(name): tensor for name, tensor in given.items()}
    wanted = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    missing = [
        name for name in wanted if _plain(name) not in by_name or by_name[_plain(name)].shape != wanted[name].shape
    ]
    if missing:
        return f"{len(missing)} of {len(wanted)} tensors are missing or of another shape, the first is {missing[0]}"
    known = outline(backbone).state_dict().keys()
    if strange := [name for name in given if name not in known]:
        return f"it holds {len(strange)} tensors that this backbone does not have, the first is {strange[0]}"
    network.load_state_dict({name: by_name[_plain(name)] for name in wanted}, strict=False)
    return ""


def _converted(given: dict[str, Tensor], backbone: str, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors under today's names, and tables of positions of the size that the options ask for; empty where timm cannot
    do it."""
    try:
        whole: Any = timm.create_model(backbone.partition(".")[0], pretrained=False, **options)
        convert: Callable[..., dict[str, Tensor]] = sys.modules[type(whole).__module__].checkpoint_filter_fn
        converted = convert(dict(given), whole)
    except Exception:  # it reads what it expects and fails anyhow on another backbone's file
        return {}
    places = {
        tensor.data_ptr() for tensor in given.values()
    }  # what is only renamed, or seen in another shape, lies where it lay
    resized = [name for name, tensor in converted.items() if tensor.data_ptr() not in places]
    return converted if all("pos" in name for name in resized) else {}  # timm fits patches of 32 pixels into 16 as well
