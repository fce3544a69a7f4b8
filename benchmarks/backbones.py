"""The page docs/backbones.md, from backbones that are really run: `python -m benchmarks.backbones > docs/backbones.md`.

Weights are random, which no shape depends on; nothing is downloaded.
"""

from __future__ import annotations

import re
import sys
import warnings
from typing import NamedTuple

import timm
import torch

from fod_bench.errors import JobError
from fod_bench.features.backbone import Backbone
from fod_bench.features.network import LevelMaps, level_maps, offered_maps
from fod_bench.features.weights import Weights

FAMILIES: dict[str, tuple[str, int]] = {
    "ResNet": ("resnet18", 64),
    "Wide ResNet": ("wide_resnet50_2", 64),
    "ResNeXt": ("resnext50_32x4d", 64),
    "Res2Net": ("res2net50_14w_8s", 64),
    "ResNeSt": ("resnest14d", 64),
    "RegNet": ("regnetx_002", 64),
    "DenseNet": ("densenet121", 64),
    "VGG": ("vgg11", 64),
    "HRNet": ("hrnet_w18_small", 64),
    "DLA": ("dla46_c", 64),
    "CSPNet": ("cspresnet50", 64),
    "NFNet": ("dm_nfnet_f0", 64),
    "GhostNet": ("ghostnet_050", 64),
    "MobileNetV2": ("mobilenetv2_100", 64),
    "MobileNetV3": ("mobilenetv3_small_050", 64),
    "MobileNetV4": ("mobilenetv4_conv_small_035", 64),
    "EfficientNet": ("tf_efficientnet_b6", 64),
    "EfficientNetV2": ("tf_efficientnetv2_b0", 64),
    "ConvNeXt": ("convnext_atto", 64),
    "ConvNeXt V2": ("convnextv2_atto", 64),
    "InceptionNeXt": ("inception_next_atto", 64),
    "Inception v3": ("inception_v3", 256),
    "Inception v4": ("inception_v4", 256),
    "Inception-ResNet": ("inception_resnet_v2", 256),
    "Xception": ("legacy_xception", 256),
    "NASNet": ("nasnetalarge", 256),
    "MambaOut": ("mambaout_femto", 64),
    "PoolFormer": ("poolformer_s12", 64),
    "FastViT": ("fastvit_t8", 64),
    "EdgeNeXt": ("edgenext_xx_small", 64),
    "MobileViT": ("mobilevit_xxs", 64),
    "MobileViT v2": ("mobilevitv2_050", 224),
    "EfficientFormer V2": ("efficientformerv2_s0", 256),
    "EfficientFormer": ("efficientformer_l1", 256),
    "LeViT": ("levit_128s", 256),
    "MaxViT": ("maxvit_rmlp_pico_rw_256", 256),
    "CoAtNet": ("coatnet_pico_rw_224", 256),
    "HaloNet": ("halonet26t", 224),
    "PVT v2": ("pvt_v2_b0", 64),
    "Twins": ("twins_svt_small", 224),
    "CoaT": ("coat_lite_tiny", 64),
    "GC ViT": ("gcvit_xxtiny", 256),
    "DaViT": ("davit_tiny", 224),
    "FocalNet": ("focalnet_tiny_srf", 64),
    "MViT v2": ("mvitv2_tiny", 256),
    "Hiera": ("hiera_tiny_224", 256),
    "PiT": ("pit_ti_224", 224),
    "CrossViT": ("crossvit_tiny_240", 240),
    "Swin": ("swin_tiny_patch4_window7_224", 256),
    "Swin v2": ("swinv2_tiny_window8_256", 256),
    "Swin v2 CR": ("swinv2_cr_tiny_224", 256),
    "ViT": ("vit_tiny_patch16_224", 256),
    "ViT, hybrid": ("vit_tiny_r_s16_p8_224", 256),
    "DeiT": ("deit3_small_patch16_224", 256),
    "DINO": ("vit_small_patch8_224", 128),
    "DINOv2": ("vit_small_patch14_dinov2", 252),
    "DINOv2, registers": ("vit_small_patch14_reg4_dinov2", 252),
    "DINOv3": ("vit_small_patch16_dinov3", 256),
    "BEiT": ("beit_base_patch16_224", 256),
    "EVA-02": ("eva02_tiny_patch14_224", 252),
    "SAM": ("samvit_base_patch16", 256),
    "CaiT": ("cait_xxs24_224", 256),
    "XCiT": ("xcit_nano_12_p8_224", 256),
    "MLP-Mixer": ("mixer_s16_224", 256),
    "ConvMixer": ("convmixer_768_32", 224),
}
"""Name to a backbone of it and a side of the image, in pixels."""

_HEAD = """\
# Backbones

Any backbone of [timm](https://github.com/huggingface/pytorch-image-models) can be named whose feature maps can be had: with its
tag (`resnet50.a1_in1k`), which chooses the weights, or without.

## What a level is

A level is named by its stride: one feature for every `stride` × `stride` pixels. The feature map of a level must be (channels,
size/stride, size/stride); whether timm gives channels first or last does not matter. This is tried on each backbone for each
`image_size` when the job is read, on shapes only. What does not fit is refused with a level or an image size that would do, before
anything runs.

* **Several maps of one stride**: the deepest is taken, before the network's last normalisation.
* **Plain transformers** (ViT, DINOv2, DeiT, BEiT, EVA, Mixer) have one stride, the size of their patches: `levels: [14]` or
  `levels: [16]`. The last block's map is taken, without class and register tokens. `image_size` must be a multiple of the patch
  (for 14: 224, 252, 266), and `d_model` needs a width for 14:

  ```yaml
  settings: {backbone: vit_small_patch14_reg4_dinov2.lvd142m, image_size: 252, levels: [14], d_model: {14: 256}}
  ```
* **Networks made for one size** (ViT, Swin, MaxViT, GC ViT) are made for `image_size`: with timm's `dynamic_img_size` where the
  model has it, which keeps the weights as they are and interpolates positions, and with `img_size` otherwise. Tables of
  positions in a weights file are then interpolated as timm does it; anything else that does not fit is refused.
* **Normalisation** of images is ImageNet's for all, also for the few whose weights were trained with another mean.

`weights: random`, `pretrained` and a `.safetensors` file work for all of them.

## Tried families
"""


class Tried(NamedTuple):
    """What became of one backbone."""

    channels: dict[int, int]
    """By stride, of the maps that have the right shape."""
    refused: dict[int, str]
    """The other strides, each with its reason."""
    maps: LevelMaps | None
    """How the right ones are had."""


def try_backbone(backbone: str, size: int) -> Tried:
    """Run `backbone` with random weights on one image and see that every level has its shape, or is refused before."""
    right, refused = [], {}
    for stride in offered_maps(backbone):
        try:
            if size % stride:
                refused[stride] = f"{size} pixels are not a multiple of it"
                continue
            level_maps(backbone, (stride,), size)
            right.append(stride)
        except JobError as error:
            refused[stride] = _short(str(error))
    if not right:
        return Tried({}, refused, None)
    network = Backbone(Weights(backbone, "random:0", None, 0), right, image_size=size)
    given = network(torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)))
    channels = {stride: offered_maps(backbone)[stride].channels for stride in right}
    expected = [(1, size // stride, size // stride, width) for stride, width in channels.items()]
    assert [tuple(level.shape) for level in given] == expected, backbone
    return Tried(channels, refused, network.maps)


def _short(text: str) -> str:
    """The reason alone, with the sizes that would do."""
    reason, _, remedy = re.sub(r"^.*?pixels.*? \((.*)\); ", r"\1; ", text).rpartition("; ")
    return reason if "choose another" in remedy else f"{reason}; {remedy}"


def _row(family: str, backbone: str, size: int) -> str:
    tried = try_backbone(backbone, size)
    levels = ", ".join(f"{stride}: {channels}" for stride, channels in tried.channels.items()) or "none"
    notes = []
    if tried.maps is not None:
        notes += ["channels last in timm"] * (tried.maps.axes == "NHWC")
        notes += [f"made with `{tried.maps.sized_by}`"] * bool(tried.maps.sized_by)
    reasons: dict[str, list[int]] = {}
    for stride, reason in tried.refused.items():
        reasons.setdefault(re.sub(r"^level \d+ is ", "", reason), []).append(stride)
    notes += [f"refused: {', '.join(map(str, strides))} ({reason})" for reason, strides in reasons.items()]
    return f"| {family} | `{backbone}` | {size} | {levels} | {'; '.join(notes)} |"


def main() -> None:
    """Print the page."""
    warnings.filterwarnings("ignore")
    rows = [_row(family, *tried) for family, tried in FAMILIES.items()]
    lines = [
        _HEAD,
        f"One of each, with timm {timm.__version__} and random weights, run on one image of so many pixels a side by",
        "`python -m benchmarks.backbones`, which writes this page. Levels that stand here gave maps of the right shape; the others",
        "were refused with the reason given.\n",
        "| family | backbone | pixels | level: channels | remarks |",
        "|---|---|---|---|---|",
        *rows,
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
