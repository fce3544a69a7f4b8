"""What a backbone offers: its feature levels, by stride, and the channels of each.

The common names are known here, so that a job is checked without importing timm; any other name is looked up in timm.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from fod_bench.errors import JobError
from fod_bench.schema.problems import unknown

_EFFICIENTNET_B6 = {2: 32, 4: 40, 8: 72, 16: 200, 32: 576}
_RESNET50 = {2: 64, 4: 256, 8: 512, 16: 1024, 32: 2048}

BACKBONES: dict[str, dict[int, int]] = {
    "tf_efficientnet_b6.aa_in1k": _EFFICIENTNET_B6,
    "tf_efficientnet_b6": _EFFICIENTNET_B6,
    "wide_resnet50_2": _RESNET50,
    "mobilenetv2_100": {2: 16, 4: 24, 8: 32, 16: 96, 32: 320},
    "resnet18": {2: 64, 4: 64, 8: 128, 16: 256, 32: 512},
    "resnet50": _RESNET50,
    "efficientnet_b0": {2: 16, 4: 24, 8: 40, 16: 112, 32: 320},
}
"""`{name: {stride: channels}}` of the backbones that need no look at timm."""


def backbone_strides(name: str) -> dict[int, int]:
    """`{stride: channels}` of a timm backbone's feature levels; of several levels with one stride the deepest counts.

    Raises:
        JobError: timm has no such backbone (the text names the nearest), or it gives no feature maps.
    """
    return dict(BACKBONES[name]) if name in BACKBONES else dict(_strides_from_timm(name))


@lru_cache(maxsize=64)
def _strides_from_timm(name: str) -> dict[int, int]:
    import timm
    import torch

    architecture, _, tag = name.partition(".")
    architectures = timm.list_models()
    if architecture not in architectures:
        raise JobError(unknown("backbone", name, architectures))
    if tag:
        tagged = timm.list_pretrained(f"{architecture}.*")
        if name not in tagged:
            raise JobError(unknown("backbone", name, [*tagged, architecture]))

    failure: Exception | None = None
    for device in (
        "meta",
        "cpu",
    ):  # no memory is spent on the meta device, but not every architecture can be made there
        try:
            with torch.device(device):
                backbone: Any = timm.create_model(architecture, features_only=True, pretrained=False)
            levels = backbone.feature_info
            return dict(zip(levels.reduction(), levels.channels(), strict=True))
        except Exception as error:  # timm raises a dozen kinds for a model without feature maps
            failure = error
    raise JobError(f"backbone {name!r} gives no feature maps (timm: {failure}); choose another, e.g. wide_resnet50_2")
