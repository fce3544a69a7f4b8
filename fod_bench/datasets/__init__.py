"""Data sets: images, masks and the authors' preprocessing. Knows nothing of torch."""

from fod_bench.datasets.base import Category, Sample, SampleLimit
from fod_bench.datasets.catalogue import (
    FILE_LAYOUTS,
    LAYOUT_NAMES,
    LayoutName,
    absolute_root,
    category_names,
    check,
    describe,
    expected_counts,
    open_category,
    resize_of,
    root_fault,
    root_notes,
)
from fod_bench.datasets.checks import Fault
from fod_bench.datasets.folder import FolderSettings
from fod_bench.datasets.left_out import LeftOut, left_out
from fod_bench.datasets.preprocess import (
    SMALLEST_SIDE,
    Resize,
    ResizeMode,
    normalised,
    preprocess_image,
    preprocess_mask,
    resize_that_made,
    square,
)
from fod_bench.datasets.synthetic.category import SyntheticSettings, write_synthetic

__all__ = [
    "FILE_LAYOUTS",
    "LAYOUT_NAMES",
    "SMALLEST_SIDE",
    "Category",
    "Fault",
    "FolderSettings",
    "LayoutName",
    "LeftOut",
    "Resize",
    "ResizeMode",
    "Sample",
    "SampleLimit",
    "SyntheticSettings",
    "absolute_root",
    "category_names",
    "check",
    "describe",
    "expected_counts",
    "left_out",
    "normalised",
    "open_category",
    "preprocess_image",
    "preprocess_mask",
    "resize_of",
    "resize_that_made",
    "root_fault",
    "root_notes",
    "square",
    "write_synthetic",
]
