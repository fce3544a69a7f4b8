"""A model whose maps compare the images of a test set with each other scores an image by itself, as among the others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fod_bench.methods.anomalib.method import AnomalibMethod

pytest.importorskip("anomalib")


def test_an_image_alone_has_the_map_that_it_had_in_its_test_set() -> None:
    generator = torch.Generator().manual_seed(0)
    parts = {f"level-{number}": torch.randn(5, 8 >> number, 8 >> number, generator=generator) for number in range(2)}
    setting = {"method": "anomalib/cflow"}
    (together,) = AnomalibMethod.scorings(setting, parts, 64)
    anchors = AnomalibMethod.anchors(setting, parts, 64)
    assert 1 <= len(anchors["level-0"]) <= 3, "of each level one image, and one for the sum"
    for number in range(5):
        alone = {name: part[number : number + 1] for name, part in parts.items()}
        (scored,) = AnomalibMethod.anchored(setting, alone, 64, anchors)
        np.testing.assert_allclose(scored.pixels[0], together.pixels[number], atol=1e-6)
        assert scored.images[0] == pytest.approx(float(together.images[number]), abs=1e-6)
    assert AnomalibMethod.anchors({"method": "anomalib/padim"}, parts, 64) == {}
