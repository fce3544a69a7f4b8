"""timm's networks as backbones: which of their feature maps a level is, and how a network is made for a size of image.

What a network gives is not taken on trust: its maps are asked of a trial pass, on PyTorch's `meta` device where that can
be done, which computes shapes only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count, islice
from math import lcm
from textwrap import shorten
from typing import Any

import timm
import torch
from torch import Tensor, nn

from fod_bench.datasets import SMALLEST_SIDE
from fod_bench.errors import JobError, TrialError

WORKING = "e.g. wide_resnet50_2, convnext_tiny, swin_tiny_patch4_window7_224 or vit_small_patch16_224"
"""Named where a backbone is refused."""

_SIZED_BY = ("", "dynamic_img_size", "img_size")
"""Options of timm's that make a network fit an image, in the order tried: the second leaves its weights as they are."""

_STEP, _SIZES_TRIED = 32, 3
"""Where a size is refused, so many multiples of that many pixels are tried on either side."""


@dataclass(frozen=True)
class OfferedMap:
    """One of the feature maps that timm takes from a network unless told otherwise."""

    number: int
    """Among all of the network's maps."""
    position: int
    """Among those taken."""
    channels: int


@dataclass(frozen=True)
class LevelMaps:
    """The maps that are a backbone's levels, finest first, and what its network is made with to give them."""

    levels: tuple[int, ...]
    maps: tuple[OfferedMap, ...]
    axes: str
    """`NCHW` or `NHWC`, as timm says."""
    sized_by: str = ""
    """The option of timm's that makes the network fit the image, where it needs one."""
    image_size: int | None = None

    @property
    def indices(self) -> list[int]:
        """timm's `out_indices`."""
        return [found.number for found in self.maps]

    @property
    def options(self) -> dict[str, Any]:
        """What the network is made with besides its name and `out_indices`."""
        if not self.sized_by:
            return {}
        return {self.sized_by: self.image_size if self.sized_by == "img_size" else True}

    def check(self, maps: Sequence[Tensor], image_size: int) -> None:
        """Raise `TrialError` where a map of `image_size` images is not of its level's shape; they may be of any number."""
        faults = self.faults([tuple(values.shape[1:]) for values in maps], image_size)
        if faults:
            raise TrialError(
                f"the backbone's maps of {image_size}×{image_size} pixels are not those of its levels: {faults}"
            )

    def faults(self, shapes: Sequence[tuple[int, ...]], image_size: int) -> str:
        """Where the shapes of one image's maps are not (channels, size/stride, size/stride), in these axes."""
        found = []
        for level, offered, shape in zip(self.levels, self.maps, shapes, strict=True):
            side = image_size // level
            expected = (side, side, offered.channels) if self.axes == "NHWC" else (offered.channels, side, side)
            if shape != expected:
                found.append(f"level {level} is {_by(shape)} instead of {_by(expected)}")
        return ", ".join(found) + f" ({self.axes[1:]})" * bool(found)

    @property
    def distinction(self) -> str:
        """What sets these features apart from what stores may hold under a key without it: there every map was read as NCHW,
        a map's position taken for its index, and each network made for its own size. Empty where all of that is right."""
        moved = [
            f"map {found.number} for level {level}"
            for level, found in zip(self.levels, self.maps, strict=True)
            if found.number != found.position
        ]
        axes = self.axes if self.axes != "NCHW" else ""
        return ", ".join(part for part in (axes, *moved, self.sized_by) if part)


class ImageSizeError(JobError):
    """A backbone that has the levels, but not for images of this size."""


@lru_cache(maxsize=64)
def offered_maps(backbone: str) -> dict[int, OfferedMap]:
    """By stride; of several maps with one stride the deepest. Raises `JobError`: the backbone gives no feature maps."""
    return _outline_maps(backbone)[0]


@lru_cache(maxsize=256)
def level_maps(backbone: str, levels: tuple[int, ...], image_size: int | None = None) -> LevelMaps:
    """The maps of `levels`, tried on an image of `image_size` pixels a side; without one timm is believed.

    Raises:
        ImageSizeError: for such images the network fails or a map is not (channels, size/stride, size/stride); the text
            names sizes near it that do.
        JobError: the backbone lacks a level, or gives no right map for any size near.
    """
    offered, axes = _outline_maps(backbone)
    for level in levels:
        if level not in offered:
            raise JobError(f"backbone {backbone} has no level of stride {level}; it has {_listed(offered)}")
    maps = LevelMaps(levels, tuple(offered[level] for level in levels), axes)
    if image_size is None:
        return maps
    found = _fitted(backbone, maps, image_size)
    if isinstance(found, LevelMaps):
        return found
    wanted = f"level{'s' * (len(levels) > 1)} {_listed(levels)}"
    if sizes := _sizes_that_fit(backbone, maps, image_size):
        raise ImageSizeError(
            f"backbone {backbone} does not give {wanted} of {image_size}×{image_size} pixels ({found}); "
            f"{' and '.join(sizes)} pixels would do"
        )
    right = [stride for stride in offered if _gives(backbone, stride, image_size)]
    others = f"levels that would do: {_listed(right)}, or " if right else ""
    raise JobError(
        f"backbone {backbone} does not give {wanted}, of {image_size}×{image_size} pixels or sizes near it ({found}); "
        f"{others}choose another, {WORKING}"
    )


def _listed(levels: Iterable[int]) -> str:
    return ", ".join(str(level) for level in levels)


def outline(backbone: str, **options: Any) -> Any:
    """The model for its names and shapes only: without memory for its weights, where its code can do that."""
    architecture = backbone.partition(".")[0]
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return timm.create_model(architecture, pretrained=False, **options)
        except Exception:  # some architectures read numbers back while they are made
            return timm.create_model(architecture, pretrained=False, **options)


@lru_cache(maxsize=64)
def _outline_maps(backbone: str) -> tuple[dict[int, OfferedMap], str]:
    """The maps by stride, and their axes."""
    try:
        network = outline(backbone, features_only=True)
        info = network.feature_info
        strides, channels = info.reduction(), info.channels()
        indices = [index % len(info.info) for index in info.out_indices]
    except Exception as error:  # timm raises a dozen kinds for a model without feature maps
        reason = _reason(error)
        raise JobError(f"backbone {backbone!r} gives no feature maps ({reason}); choose another, {WORKING}") from error
    offered = {}
    for position, (stride, index, width) in enumerate(zip(strides, indices, channels, strict=True)):
        offered[stride] = OfferedMap(index, position, width)
    return offered, _axes(network)


def _axes(network: nn.Module) -> str:
    axes = getattr(network, "output_fmt", "NCHW")
    return str(getattr(axes, "value", axes))


def _fitted(backbone: str, maps: LevelMaps, image_size: int) -> LevelMaps | str:
    """The maps, with the network made for the size where it does not take it as it is; or why not."""
    wrong, failure = "", ""
    for sized_by in _SIZED_BY:
        made = replace(maps, sized_by=sized_by, image_size=image_size)
        try:
            network, shapes = _passed(backbone, made, image_size)
            faults = made.faults(shapes, image_size)
            if not (faults or sized_by) and _made_for_another_size(network, backbone, made):
                _pass_hollow(network, image_size)
        except Exception as error:  # whatever a network raises for an image that it does not take
            if not (isinstance(error, TypeError) and "unexpected keyword" in str(error)):
                failure = _reason(error)
            continue
        if not faults:
            return made
        wrong = wrong or faults
    return wrong or failure


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(str(side) for side in shape)


def _passed(backbone: str, made: LevelMaps, image_size: int) -> tuple[nn.Module, list[tuple[int, ...]]]:
    """The network, and the shapes of the maps of one image."""
    for device in ("meta", "cpu"):
        try:
            with torch.random.fork_rng(devices=[]), torch.device(device):
                network = make_network(backbone, made).eval()
            with torch.inference_mode():
                maps = network(torch.zeros(1, 3, image_size, image_size, device=device))
        except Exception as error:
            if device == "meta" and (isinstance(error, NotImplementedError) or "meta" in str(error)):
                continue  # some architectures read numbers back, which are not there
            raise
        return network, [tuple(values.shape[1:]) for values in maps]
    raise AssertionError("the second device returns or raises")


def make_network(backbone: str, maps: LevelMaps) -> nn.Module:
    """timm's network that gives these maps."""
    architecture = backbone.partition(".")[0]
    network: nn.Module = timm.create_model(
        architecture, features_only=True, out_indices=maps.indices, pretrained=False, **maps.options
    )
    return network


def _made_for_another_size(network: nn.Module, backbone: str, made: LevelMaps) -> bool:
    """Whether tensors of the network, made as timm has it, would be of other shapes if it were made for the image."""
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            fitted = make_network(backbone, replace(made, sized_by="img_size"))
    except Exception:  # most do not know the option
        return False
    return [each.shape for each in network.state_dict().values()] != [
        each.shape for each in fitted.state_dict().values()
    ]


def _pass_hollow(network: nn.Module, image_size: int) -> None:
    """Let an image through with zeros for weights, none of which takes memory. Unlike the meta device a CPU notices an index
    that is beyond a table."""
    for module in network.modules():
        kinds: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for tensors in kinds:
            for name, tensor in tensors.items():
                if tensor is not None:
                    hollow = torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)
                    tensors[name] = nn.Parameter(hollow, False) if isinstance(tensor, nn.Parameter) else hollow
    with torch.inference_mode():
        network(torch.zeros(1, 3, image_size, image_size))


def _gives(backbone: str, level: int, image_size: int) -> bool:
    if image_size % level:
        return False
    offered, axes = _outline_maps(backbone)
    return isinstance(_fitted(backbone, LevelMaps((level,), (offered[level],), axes), image_size), LevelMaps)


def _sizes_that_fit(backbone: str, maps: LevelMaps, image_size: int) -> list[str]:
    """The nearest size on either side for which the levels are right, among a few."""
    step = lcm(_STEP, *maps.levels)
    below = range((image_size - 1) // step * step, SMALLEST_SIDE - 1, -step)
    above = count(image_size // step * step + step, step)
    found = []
    for sizes in (below, above):
        for size in islice(sizes, _SIZES_TRIED):
            if isinstance(_fitted(backbone, maps, size), LevelMaps):
                found.append(str(size))
                break
    return found


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (
        f"timm: {shorten(lines[0], 100, placeholder=' …')}"
        if lines
        else f"timm gives no reason, {type(error).__name__}"
    )
