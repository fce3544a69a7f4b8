"""What a backbone offers: its feature levels, by stride, and the channels of each.

The common names are known here, so that a job is checked without importing timm; any other name is looked up in timm.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from math import lcm

from fod_bench.datasets import SMALLEST_SIDE
from fod_bench.errors import JobError
from fod_bench.schema.problems import unknown

_EFFICIENTNET_B6 = {2: 32, 4: 40, 8: 72, 16: 200, 32: 576}
_RESNET50 = {2: 64, 4: 256, 8: 512, 16: 1024, 32: 2048}

DEFAULT_WEIGHTS = {
    "tf_efficientnet_b6": "ns_jft_in1k",
    "wide_resnet50_2": "racm_in1k",
    "mobilenetv2_100": "ra_in1k",
    "resnet18": "a1_in1k",
    "resnet50": "a1_in1k",
    "efficientnet_b0": "ra_in1k",
}
"""Tag of the pretrained weights that a common backbone's name without a tag stands for in timm. Other names are looked up there."""

BACKBONES: dict[str, dict[int, int]] = {
    "tf_efficientnet_b6.aa_in1k": _EFFICIENTNET_B6,
    "tf_efficientnet_b6": _EFFICIENTNET_B6,
    "wide_resnet50_2": _RESNET50,
    "mobilenetv2_100": {2: 16, 4: 24, 8: 32, 16: 96, 32: 320},
    "resnet18": {2: 64, 4: 64, 8: 128, 16: 256, 32: 512},
    "resnet50": _RESNET50,
    "efficientnet_b0": {2: 16, 4: 24, 8: 40, 16: 112, 32: 320},
}
BACKBONES |= {f"{name}.{tag}": BACKBONES[name] for name, tag in DEFAULT_WEIGHTS.items()}
"""`{name: {stride: channels}}` of the backbones that need no look at timm."""


def backbone_strides(name: str) -> dict[int, int]:
    """`{stride: channels}` of a timm backbone's feature levels; of several levels with one stride the deepest counts.

    Raises:
        JobError: timm has no such backbone (the text names the nearest), or it gives no feature maps.
    """
    return dict(BACKBONES[name]) if name in BACKBONES else dict(_strides_from_timm(name))


def levels_problem(name: str, image_size: int, levels: tuple[int, ...]) -> tuple[str, str] | None:
    """Why the backbone does not give these levels, which it offers, for images of this size: the setting to blame, and a text."""
    return None if name in BACKBONES else _problem_seen_by_timm(name, image_size, levels)


def map_distinction(name: str, image_size: int, levels: tuple[int, ...]) -> str:
    """What the key of such features names besides, see `LevelMaps.distinction`. Raises `JobError`."""
    if name in BACKBONES:
        return ""
    from fod_bench.features.network import level_maps

    return level_maps(name, levels, image_size).distinction


def neighbouring_sizes(image_size: int, levels: Iterable[int]) -> str:
    """The multiples of all levels next to a size that is none."""
    step = lcm(*levels)
    below = image_size // step * step
    sizes = [str(size) for size in (below, below + step) if size >= SMALLEST_SIDE]
    return f"{' and '.join(sizes)} {'are' if len(sizes) > 1 else 'is'}"


@lru_cache(maxsize=256)
def _problem_seen_by_timm(name: str, image_size: int, levels: tuple[int, ...]) -> tuple[str, str] | None:
    from fod_bench.features.network import ImageSizeError, level_maps

    try:
        level_maps(name, levels, image_size)
    except ImageSizeError as error:
        return "image_size", str(error)
    except JobError as error:
        return "backbone", str(error)
    return None


@lru_cache(maxsize=64)
def _strides_from_timm(name: str) -> dict[int, int]:
    import timm

    from fod_bench.features.network import offered_maps

    architecture, _, tag = name.partition(".")
    architectures = timm.list_models()
    if architecture not in architectures:
        raise JobError(unknown("backbone", name, architectures))
    if tag:
        tagged = timm.list_pretrained(f"{architecture}.*")
        if name not in tagged:
            raise JobError(unknown("backbone", name, [*tagged, architecture]))
    return {stride: found.channels for stride, found in offered_maps(name).items()}
