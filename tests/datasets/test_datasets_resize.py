"""Squares of images: the same pixels as torchvision's transforms give, and the way back to the image."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fod_bench.datasets import (
    LAYOUT_NAMES,
    Resize,
    SyntheticSettings,
    left_out,
    open_category,
    preprocess_mask,
    resize_of,
)
from fod_bench.datasets.preprocess import preprocess_image

SIZES = [
    (80, 60), (90, 40), (32, 32), (33, 32), (32, 33), (31, 32), (64, 63), (640, 480), (17, 51), (20, 20), (7, 9),
    (9, 7), (3, 100), (101, 100), (45, 46), (1, 3),
]  # fmt: skip
"""(width, height): tall, wide, one pixel off a square and off the crop, smaller than the crop, and very long."""
RESIZES = [Resize(32, 32), Resize(32, 37), Resize(32, 48), Resize(33, 40), Resize(32)]

rng = np.random.default_rng(0)


def described(resize: Resize) -> str:
    return f"{resize.shorter_side}to{resize.size}"


@pytest.mark.parametrize("resize", RESIZES, ids=described)
def test_pixels_are_those_of_torchvisions_transforms(resize: Resize) -> None:
    transforms = pytest.importorskip("torchvision.transforms")

    def torchvisions(image: Image.Image, mode: str) -> Image.Image:
        interpolation = transforms.InterpolationMode(mode)
        if resize.shorter_side is None:
            return transforms.Resize((resize.size, resize.size), interpolation)(image)
        steps = [transforms.Resize(resize.shorter_side, interpolation), transforms.CenterCrop(resize.size)]
        return transforms.Compose(steps)(image)

    for width, height in SIZES:
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        mask = rng.integers(0, 2, (height, width), dtype=np.uint8)
        expected = torchvisions(image, "lanczos")
        assert np.array_equal(np.asarray(resize.image(image)), np.asarray(expected)), (width, height)
        nearest = torchvisions(Image.fromarray(mask), "nearest")
        assert np.array_equal(preprocess_mask(mask, resize), np.asarray(nearest)), (width, height)
        tensor = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])(transforms.ToTensor()(expected))
        assert np.allclose(preprocess_image(image, resize), tensor.numpy(), atol=1e-6)


def test_of_a_square_image_both_ways_make_the_same() -> None:
    image = Image.fromarray(rng.integers(0, 256, (50, 50, 3), dtype=np.uint8))
    assert np.array_equal(preprocess_image(image, Resize(32)), preprocess_image(image, Resize(32, 32)))
    assert Resize(32).preprocessing != Resize(32, 32).preprocessing != Resize(32, 40).preprocessing


def test_the_string_of_stretched_images_is_the_one_that_features_have_always_had() -> None:
    expected = "v1: upright, 16-bit/257, rgb8, lanczos to a square (pillow, uint8), /255, imagenet mean and std"
    assert Resize(256).preprocessing == expected
    assert "lanczos to a shorter side of 256, centre crop (pillow" in Resize(256, 256).preprocessing


def seen_slowly(resize: Resize, width: int, height: int) -> np.ndarray:
    """(h, w): which pixels of the image overlap the square, in whole numbers."""
    resized_width, resized_height, left, top = resize._placed(width, height)
    seen = np.zeros((height, width), bool)
    for y, x in np.ndindex(height, width):
        across = (x + 1) * resized_width > left * width and x * resized_width < (left + resize.size) * width
        down = (y + 1) * resized_height > top * height and y * resized_height < (top + resize.size) * height
        seen[y, x] = across and down
    return seen


@pytest.mark.parametrize("resize", RESIZES, ids=described)
def test_a_map_is_laid_back_over_its_image(resize: Resize) -> None:
    values = rng.normal(size=(resize.size, resize.size)).astype(np.float32)
    for width, height in [(60, 45), (40, 90), (31, 32), (20, 20), (7, 9), (3, 30)]:
        restored = resize.restore(values, width, height)
        assert restored.shape == (height, width) and restored.dtype == np.float32
        assert np.array_equal(~np.isnan(restored), seen_slowly(resize, width, height)), (width, height)
        resized_width, resized_height, left, top = resize._placed(width, height)
        for y, x in np.argwhere(~np.isnan(restored)):
            row = np.clip((y + 0.5) * resized_height / height - top - 0.5, 0, resize.size - 1)
            column = np.clip((x + 0.5) * resized_width / width - left - 0.5, 0, resize.size - 1)
            y0, x0 = int(row), int(column)
            y1, x1 = min(y0 + 1, resize.size - 1), min(x0 + 1, resize.size - 1)
            above = values[y0, x0] * (1 - (column - x0)) + values[y0, x1] * (column - x0)
            below = values[y1, x0] * (1 - (column - x0)) + values[y1, x1] * (column - x0)
            assert restored[y, x] == pytest.approx(above * (1 - (row - y0)) + below * (row - y0), abs=1e-5)


def test_what_is_seen_comes_back_where_it_was() -> None:
    mask = np.zeros((300, 800), np.uint8)
    mask[100:180, 350:450] = 1
    resize = Resize(256, 280)
    back = resize.restore(preprocess_mask(mask, resize).astype(np.float32), 800, 300, outside=0.0) > 0.5
    assert (back & (mask > 0)).sum() / (back | (mask > 0)).sum() > 0.97
    left, top, right, bottom = resize.window(800, 300)
    assert (top, bottom) == (12, 288) and not back[:, :left].any() and not back[:, right:].any()


def test_what_lies_outside_the_window_changes_no_mask() -> None:
    for resize in RESIZES:
        for width, height in SIZES:
            left, top, right, bottom = resize.window(width, height)
            mask = np.ones((height, width), np.uint8)
            mask[top:bottom, left:right] = 0
            assert not preprocess_mask(mask, resize).any()


def test_published_data_sets_are_resized_as_the_authors_did() -> None:
    for layout in LAYOUT_NAMES:
        default = resize_of(layout, 32, "auto")
        assert default == (Resize(32, 32) if layout in ("btad", "mvtec3d") else Resize(32)), layout
        assert resize_of(layout, 32, "stretch") == Resize(32) and resize_of(layout, 32, "crop", 40) == Resize(32, 40)


def test_square_images_lose_nothing() -> None:
    settings = SyntheticSettings(train=1, test_good=1, test_defect_per_type=1, size=64)
    found = left_out(open_category("synthetic", None, "board", synthetic=settings), Resize(32, 32))
    assert found.defects == 6 and found.summary("board") is None
