"""Anyone's own pictures in MVTec AD's form: any category names, any common picture type."""

from __future__ import annotations

from fod_bench.datasets.images import PICTURE_TYPES
from fod_bench.datasets.layout import Layout

FOLDER = Layout(
    name="folder",
    pictures="{split}/{type}",
    masks="ground_truth/{type}",
    mask_stems=("{stem}_mask", "{stem}"),
    picture_types=PICTURE_TYPES,
    mask_types=PICTURE_TYPES,
)
