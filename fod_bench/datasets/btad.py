"""BTAD, the beanTech anomaly detection set: three products, `ok` and `ko` instead of `good` and a defect's name."""

from __future__ import annotations

from fod_bench.datasets.layout import Layout
from fod_bench.records.record import Counts

BTAD = Layout(
    name="btad",
    images="{split}/{type}",
    masks="ground_truth/{type}",
    mask_stems=("{stem}",),
    # Products 01 and 03 are .bmp and 02 is .png; masks are .png but for 03's .bmp. Either is taken everywhere.
    image_types=(".bmp", ".png"),
    mask_types=(".png", ".bmp"),
    good="ok",
    resize="crop",
    published={
        "01": Counts(train=400, test_good=21, test_defect=49),
        "02": Counts(train=399, test_good=30, test_defect=200),
        "03": Counts(train=1000, test_good=400, test_defect=41),
    },
)
