"""DRAEM's two networks (Zavrtanik et al., ICCV 2021), with the names of their published weights.

Every convolution is 3×3 with padding 1 and a bias. All but the last of a network are followed by batch norm and ReLU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ReconstructiveNetwork(nn.Module):
    """An autoencoder without skip connections, (n, 3, H, W) to the same shape; the output is not bounded.

    Sides are multiples of 16.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encoder = _Encoder(3, width, blocks=5)
        self.decoder = _PlainDecoder(width, 3)

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.decoder(self.encoder(images)[-1])
        return output


class DiscriminativeNetwork(nn.Module):
    """A U-Net of a reconstruction and the image it was made of: (n, 6, H, W) to logits (n, 2, H, W), normal and anomalous.

    Sides are multiples of 32.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encoder_segment = _Encoder(6, width, blocks=6)
        self.decoder_segment = _SkipDecoder(width, 2)

    def forward(self, both: Tensor) -> Tensor:
        output: Tensor = self.decoder_segment(self.encoder_segment(both))
        return output


class Networks(nn.Module):
    """Both networks, the discriminative one half as wide as the reconstructive one, as published with 128 and 64."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rec = ReconstructiveNetwork(width)
        self.dis = DiscriminativeNetwork(width // 2)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction (n, 3, H, W) and logits (n, 2, H, W) of images (n, 3, H, W) in [0, 1].

        Gradients of the logits reach the reconstruction.
        """
        reconstruction = self.rec(images)
        return reconstruction, self.dis(torch.cat((reconstruction, images), 1))


def build(width: int, seed: int) -> Networks:
    """Both networks with the initial weights of `seed`; no global generator is used.

    Kernels are drawn from N(0, 0.02), scales of batch norm from N(1, 0.02), biases of convolutions from torch's default, uniform
    within 1/√(fan in).
    """
    with torch.device("meta"):
        networks = Networks(width)
    networks.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in networks.modules():
            if isinstance(module, nn.Conv2d):
                bound = (9 * module.in_channels) ** -0.5
                module.weight.normal_(0.0, 0.02, generator=generator)
                if module.bias is not None:
                    module.bias.uniform_(-bound, bound, generator=generator)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                module.weight.normal_(1.0, 0.02, generator=generator)
                module.bias.zero_()
    return networks


class _Encoder(nn.Module):
    """Blocks `block1`, `block2`, … with a 2×2 max-pool between them; gives the output of every one."""

    def __init__(self, inputs: int, width: int, blocks: int) -> None:
        super().__init__()
        for number in range(1, blocks + 1):
            outputs = width * min(2 ** (number - 1), 8)
            self.add_module(f"block{number}", _double(inputs, outputs, outputs))
            inputs = outputs

    def forward(self, images: Tensor) -> list[Tensor]:
        outputs: list[Tensor] = []
        for block in self.children():
            outputs.append(block(functional.max_pool2d(outputs[-1], 2) if outputs else images))
        return outputs


class _PlainDecoder(nn.Module):
    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        w = width
        for number, (inside, after) in enumerate(((8 * w, 4 * w), (4 * w, 2 * w), (2 * w, w), (w, w)), 1):
            self.add_module(f"up{number}", _up(inside, inside))
            self.add_module(f"db{number}", _double(inside, inside, after))
        self.fin_out = nn.Sequential(nn.Conv2d(w, outputs, 3, padding=1))

    def forward(self, bottom: Tensor) -> Tensor:
        for module in self.children():
            bottom = module(bottom)
        return bottom


class _SkipDecoder(nn.Module):
    _STAGES = ("_b", "1", "2", "3", "4")

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        w = width
        shapes = ((8 * w, 8 * w, 8 * w), (8 * w, 4 * w, 8 * w), (4 * w, 2 * w, 4 * w), (2 * w, w, 2 * w), (w, w, w))
        for stage, (before, after, skipped) in zip(self._STAGES, shapes, strict=True):
            self.add_module(f"up{stage}", _up(before, after))
            self.add_module(f"db{stage}", _double(after + skipped, after, after))
        self.fin_out = nn.Sequential(nn.Conv2d(w, outputs, 3, padding=1))

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Logits from the encoder's outputs, the widest map first."""
        *skipped, x = levels
        for stage, skip in zip(self._STAGES, reversed(skipped), strict=True):
            up = self.get_submodule(f"up{stage}")(x)
            x = self.get_submodule(f"db{stage}")(torch.cat((up, skip), 1))
        output: Tensor = self.fin_out(x)
        return output


def _unit(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def _double(inputs: int, inside: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*_unit(inputs, inside), *_unit(inside, outputs))


def _up(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), *_unit(inputs, outputs))
