"""Every image type becomes 8-bit RGB, every mask 0 and 1, and the preprocessing is the authors'."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fod_bench.datasets import Resize, preprocess_image, preprocess_mask
from fod_bench.datasets.images import read_binary_mask, read_rgb, upright_size
from fod_bench.errors import DatasetError

GREY = np.linspace(0, 255, 48).reshape(6, 8).round().astype(np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".TIFF"])
def test_grey_and_colour_of_lossless_types(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(GREY).save(tmp_path / f"grey{suffix}")
    Image.fromarray(COLOUR).save(tmp_path / f"colour{suffix}")
    assert np.array_equal(np.asarray(read_rgb(tmp_path / f"grey{suffix}")), np.stack([GREY] * 3, axis=-1))
    assert np.array_equal(np.asarray(read_rgb(tmp_path / f"colour{suffix}")), COLOUR)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_grey_is_scaled_to_eight(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"deep{suffix}"
    Image.fromarray(GREY.astype(np.uint16) * 257).save(path)
    assert np.array_equal(np.asarray(read_rgb(path))[..., 0], GREY)


def test_jpeg_palette_one_bit_and_alpha(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(GREY).convert("CMYK").save(tmp_path / "cmyk.jpeg")
    Image.fromarray(COLOUR).quantize(16).save(tmp_path / "palette.png")
    Image.fromarray(GREY > 100).save(tmp_path / "one.png")
    Image.fromarray(np.dstack([COLOUR, GREY])).save(tmp_path / "alpha.png")
    for path in tmp_path.iterdir():
        image = read_rgb(path)
        assert image.mode == "RGB" and image.size == (8, 6)
    assert np.array_equal(np.asarray(read_rgb(tmp_path / "alpha.png")), COLOUR)  # alpha is dropped, colours stay
    assert np.array_equal(np.asarray(read_rgb(tmp_path / "one.png"))[..., 1], np.where(GREY > 100, 255, 0))


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    Image.fromarray(COLOUR).save(tmp_path / "turned.png", exif=exif)
    upright = read_rgb(tmp_path / "turned.png")
    assert upright.size == upright_size(tmp_path / "turned.png") == (6, 8)
    assert np.array_equal(np.asarray(upright), np.rot90(COLOUR, -1))


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    Image.fromarray(GREY.astype(np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(GREY.astype(np.int32) * 100_000).save(tmp_path / "deep.tif")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    for path in [*tmp_path.iterdir(), tmp_path / "gone.png"]:
        with pytest.raises(DatasetError, match=path.name):
            read_rgb(path)
    with pytest.raises(DatasetError, match="floating point"):
        read_rgb(tmp_path / "float.tif")


def test_masks_of_every_kind_mark_the_same_pixels(tmp_path: Path) -> None:
    truth = np.zeros((16, 16), dtype=np.uint8)
    truth[4:12, 6:14] = 1
    red = np.zeros((16, 16, 3), dtype=np.uint8)
    red[..., 0] = truth * 200
    palette = Image.fromarray(truth).convert("P")
    palette.putpalette([0, 0, 0, 0, 128, 0])
    white_where_marked = np.dstack([np.full((16, 16, 3), 255, np.uint8), truth * 255])
    masks = {
        "binary.png": Image.fromarray(truth.astype(bool)),
        "one.png": Image.fromarray(truth),
        "full.bmp": Image.fromarray(truth * 255),
        "deep.tif": Image.fromarray(truth.astype(np.uint16) * 40_000),
        "colour.png": Image.fromarray(red),
        "palette.png": palette,
        "transparent.png": Image.fromarray(white_where_marked),
        "lossy.jpg": Image.fromarray(truth * 255),
    }
    for name, image in masks.items():
        image.save(tmp_path / name)
        values = read_binary_mask(tmp_path / name)
        assert values.dtype == np.uint8 and np.array_equal(values, truth), name


def test_preprocessing_is_lanczos_to_a_square_with_imagenet_statistics() -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8))
    result = preprocess_image(image, Resize(32))
    assert result.shape == (3, 32, 32) and result.dtype == np.float32 and result.flags["C_CONTIGUOUS"]
    resized = np.asarray(image.resize((32, 32), Image.Resampling.LANCZOS))
    for channel, (mean, std) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        expected = (resized[..., channel] / 255.0 - mean) / std
        assert np.allclose(result[channel], expected, atol=1e-6)


def test_preprocessing_equals_torchvisions() -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 256, (50, 30, 3), dtype=np.uint8))
    chain = transforms.Compose(
        [
            transforms.Resize((64, 64), transforms.InterpolationMode.LANCZOS),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    assert np.allclose(preprocess_image(image, Resize(64)), chain(image).numpy(), atol=1e-6)


def test_mask_is_resized_to_the_nearest_pixel() -> None:
    mask = np.zeros((4, 8), dtype=np.uint8)
    mask[1:3, 2:6] = 1
    doubled = preprocess_mask(mask, Resize(8))
    assert doubled.dtype == np.uint8 and np.array_equal(doubled, np.repeat(mask, 2, axis=0))
    assert set(np.unique(preprocess_mask(mask, Resize(5)))) == {0, 1}
