"""Which images files, folders and patterns stand for, and what their maps are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fod_bench.datasets import Resize
from fod_bench.datasets.images import read_rgb
from fod_bench.errors import DatasetError, UsageError
from fod_bench.predict.inputs import InputImage, images_of
from fod_bench.predict.outputs import MapFiles
from fod_bench.predict.prediction import Prediction, read_image


def touched(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def names(*given: Path) -> list[str]:
    return [image.name for image in images_of(list(map(str, given)))]


def test_of_a_folder_all_types_of_layout_folder_are_taken_and_nothing_hidden(tmp_path: Path) -> None:
    endings = ("png", "JPG", "jpeg", "bmp", "tif", "tiff", "webp", "jfif", "jpe", "dib")
    images = [f"sub/x.{ending}" for ending in endings]
    touched(tmp_path, *images, "._x.png", "sub/._x.png", ".cache/x.png", "sub/Thumbs.db", "sub/notes.txt")
    (tmp_path / "sub" / "round").symlink_to(tmp_path)
    assert names(tmp_path) == sorted(images)


def test_a_pattern_keeps_the_path_below_its_fixed_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touched(tmp_path, "in/x/1.png", "in/y/1.png", "in/y/._1.png", "in/.hidden/1.png")
    assert names(tmp_path / "in" / "**" / "*.png") == names(tmp_path / "in" / "?" / "1.png") == ["x/1.png", "y/1.png"]
    assert names(tmp_path / "in" / "x" / "*.png") == ["1.png"]
    assert names(tmp_path / "in" / "y" / ".*.png") == ["._1.png"]
    monkeypatch.chdir(tmp_path)
    assert names(Path("**/*.png")) == ["in/x/1.png", "in/y/1.png"] and names(Path("i*/x/1.png")) == ["in/x/1.png"]
    with pytest.raises(UsageError, match=r"no file matches in/\*\.jpg"):
        images_of(["in/*.jpg"])


def prediction(path: str, side: int = 4) -> Prediction:
    return Prediction(path, 1.0, None, np.zeros((side, side), np.float32), (0, 1), (side, side), Resize(side), path)


def written(out: Path, given: list[str], force: bool = False) -> dict[str, str]:
    """`{image: file}` of images that are known together."""
    images = [InputImage(name, name) for name in given]
    files = MapFiles(out, ["npy"], force=force)
    files.expect(images)
    return {image.name: files.write(image, prediction(image.path))[0].name for image in images}


def test_the_ending_is_kept_where_it_tells_images_apart(tmp_path: Path) -> None:
    expected = {"a.png": "a.png.npy", "a.jpg": "a.jpg.npy", "b.png": "b.npy", "s/a.png": "a.npy"}
    assert written(tmp_path / "1", list(expected)) == expected
    assert written(tmp_path / "2", list(expected)[::-1]) == expected
    nested = {"a.png": "a.png.npy", "a.jpg": "a.jpg.npy", "a.png.bmp": "a.png.bmp.npy"}
    assert written(tmp_path / "3", list(nested)) == written(tmp_path / "4", list(nested)[::-1]) == nested
    with pytest.raises(UsageError, match="is given twice"):
        written(tmp_path / "5", ["a.png", "a.png"], force=True)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("second", [("y/1.png", "1.png"), ("x/1.jpg", "1.jpg")])
def test_of_images_that_come_one_by_one_the_second_of_a_name_is_refused(
    second: tuple[str, str], force: bool, tmp_path: Path
) -> None:
    files = MapFiles(tmp_path, ["npy"], force=force)
    files.expect([])
    (path,) = files.write(InputImage("x/1.png", "1.png"), prediction("x/1.png"))
    before = path.read_bytes()
    with pytest.raises(UsageError, match=rf"x/1\.png and {second[0]} would both be .*give the folder that holds both"):
        files.write(InputImage(*second), prediction(second[0], side=8))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_an_image_that_comes_again_is_written_again_with_force_alone(tmp_path: Path) -> None:
    image = InputImage("x/1.png", "1.png")
    again = MapFiles(tmp_path, ["npy"], force=True)
    (path,) = again.write(image, prediction("x/1.png"))
    again.write(image, prediction("x/1.png", side=8))
    assert np.load(path).shape == (8, 8)
    with pytest.raises(UsageError, match="is there already; --force replaces it"):
        MapFiles(tmp_path, ["npy"]).write(image, prediction("x/1.png"))


def test_no_image_is_replaced_by_a_map(tmp_path: Path) -> None:
    path = touched(tmp_path, "1.tiff") / "1.tiff"
    image, files = InputImage(str(path), "1.tiff"), MapFiles(tmp_path, ["tiff"], force=True)
    for attempt in (lambda: files.expect([image]), lambda: files.write(image, prediction(str(path)))):
        with pytest.raises(UsageError, match="would replace the image"):
            attempt()
    assert not path.read_bytes()


def test_no_file_of_an_image_is_written_that_cannot_be_read_again(tmp_path: Path) -> None:
    source = tmp_path / "1.png"
    Image.new("RGB", (8, 4)).save(source)
    files, image = MapFiles(tmp_path / "out", ["npy", "overlay"]), InputImage(str(source), "1.png")
    with pytest.raises(DatasetError, match=r"has 8×4 pixels, and 4×4 when it was scored"):
        files.write(image, prediction(str(source)))
    source.unlink()
    with pytest.raises(DatasetError, match=r"1\.png cannot be read"):
        files.write(image, prediction(str(source)))
    assert not (tmp_path / "out").exists()


def test_an_image_of_pillows_is_converted_as_its_file_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(rng.integers(0, 65536, (5, 7), np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8)).save(tmp_path / "turned.png", exif=turned)
    Image.fromarray(rng.integers(0, 256, (5, 7, 4), np.uint8)).save(tmp_path / "clear.png")
    for path in tmp_path.iterdir():
        with Image.open(path) as opened:
            np.testing.assert_array_equal(np.asarray(read_image(opened, "image 1")), np.asarray(read_rgb(path)))
            opened.load()  # it was not closed
    assert read_image(str(tmp_path / "turned.png"), "").size == (5, 7)


def test_an_image_of_pillows_that_cannot_be_decoded_is_a_fault_of_the_data(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "whole.jpg")
    (tmp_path / "half.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:2000])
    with (
        Image.open(tmp_path / "half.jpg") as lazy,
        pytest.raises(DatasetError, match=r"image 3 cannot be read: .*trunc"),
    ):
        read_image(lazy, "image 3")
    with pytest.raises(DatasetError, match="image 4 cannot be read: its values are floating point"):
        read_image(Image.new("F", (4, 4)), "image 4")
    with pytest.raises(ValueError, match=r"image 5: an image is an array .* this one is \(4, 4\) of float32"):
        read_image(np.zeros((4, 4), np.float32), "image 5")  # type: ignore[arg-type]
