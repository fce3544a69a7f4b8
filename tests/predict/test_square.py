"""Images made squares within an ONNX file: to the bit what Pillow makes of them, by PyTorch and by onnxruntime."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.export import Dim

from fod_bench.datasets import Resize, square
from fod_bench.predict.onnx import OPSET
from fod_bench.predict.whole import ToSquare

SIDES = [(192, 160), (100, 300), (64, 200), (401, 90), (128, 128), (31, 47)]
"""Widths and heights: larger, smaller, one of the two; tall ones that Pillow may shrink by columns first."""


def images() -> list[NDArray[np.uint8]]:
    """Noise, which shows every rounding, and bright and dark squares, which the kernel overshoots at."""
    generator = np.random.default_rng(0)
    noise = [generator.integers(0, 256, (height, width, 3), np.uint8) for width, height in SIDES]
    coarse = [generator.integers(0, 2, (6, 6, 3), np.uint8) * 255 for _ in SIDES]
    enlarged = [
        np.asarray(Image.fromarray(each).resize(sides, Image.Resampling.NEAREST))
        for each, sides in zip(coarse, SIDES, strict=True)
    ]
    return noise + enlarged


class _Squares(nn.Module):
    def __init__(self, resize: Resize) -> None:
        super().__init__()
        self.square = ToSquare(resize)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        squares: torch.Tensor = self.square(pixels.float())
        return squares


@pytest.mark.parametrize("resize", [Resize(128), Resize(112, 128)], ids=["whole", "centre"])
def test_squares_are_pillows_to_the_bit(resize: Resize, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
    module, path = _Squares(resize).eval(), tmp_path / "square.onnx"
    axes = {0: Dim("n", min=1, max=1024), 1: Dim("height", min=8, max=1 << 15), 2: Dim("width", min=8, max=1 << 15)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.export.export(
            module, (torch.zeros(2, 136, 144, 3, dtype=torch.uint8),), dynamic_shapes=(axes,), strict=False
        )
        program = torch.onnx.export(
            traced, dynamo=True, input_names=["images"], opset_version=OPSET, external_data=False, verbose=False
        )
    assert program is not None
    program.save(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for pixels in images():
        wanted = square(Image.fromarray(pixels), resize)
        np.testing.assert_array_equal(module(torch.from_numpy(pixels.copy())[None])[0].numpy(), wanted)
        np.testing.assert_array_equal(session.run(None, {"images": pixels[None]})[0][0], wanted)
