"""MVTec AD: 15 categories of textures and objects."""

from __future__ import annotations

from fod_bench.datasets.layout import Layout
from fod_bench.records.record import Counts

_TRAIN_GOOD_TEST = {
    "bottle": (209, 20, 83),
    "cable": (224, 58, 150),
    "capsule": (219, 23, 132),
    "carpet": (280, 28, 117),
    "grid": (264, 21, 78),
    "hazelnut": (391, 40, 110),
    "leather": (245, 32, 124),
    "metal_nut": (220, 22, 115),
    "pill": (267, 26, 167),
    "screw": (320, 41, 160),
    "tile": (230, 33, 117),
    "toothbrush": (60, 12, 42),
    "transistor": (213, 60, 100),
    "wood": (247, 19, 79),
    "zipper": (240, 32, 151),
}

MVTEC = Layout(
    name="mvtec",
    images="{split}/{type}",
    masks="ground_truth/{type}",
    mask_stems=("{stem}_mask",),
    image_types=(".png",),
    mask_types=(".png",),
    published={
        name: Counts(train=train, test_good=good, test_defect=test - good)
        for name, (train, good, test) in _TRAIN_GOOD_TEST.items()
    },
)
