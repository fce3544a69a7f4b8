"""MVTec 3D-AD: the RGB part of its ten categories; depth and the validation split are not used."""

from __future__ import annotations

from fod_bench.datasets.layout import Layout
from fod_bench.records.record import Counts

_TRAIN_GOOD_TEST = {
    "bagel": (244, 22, 110),
    "cable_gland": (223, 21, 108),
    "carrot": (286, 27, 159),
    "cookie": (210, 28, 131),
    "dowel": (288, 26, 130),
    "foam": (236, 20, 100),
    "peach": (361, 26, 132),
    "potato": (300, 22, 114),
    "rope": (298, 32, 101),
    "tire": (210, 25, 112),
}

MVTEC3D = Layout(
    name="mvtec3d",
    images="{split}/{type}/rgb",
    masks="{split}/{type}/gt",
    mask_stems=("{stem}",),
    image_types=(".png",),
    mask_types=(".png",),
    published={
        name: Counts(train=train, test_good=good, test_defect=test - good)
        for name, (train, good, test) in _TRAIN_GOOD_TEST.items()
    },
    other_folders=("validation", "calibration"),
    resize="crop",
)
