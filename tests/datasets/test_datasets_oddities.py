"""A folder with one of each fault, as a person sees it; and what is no fault although it looks like one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fod_bench.datasets import FolderSettings, Resize, category_names, check, open_category, root_notes
from fod_bench.errors import DatasetError
from tests.helpers.commands import Bench, wait_for
from tests.helpers.dataset_builders import btad_category, folder_category, image, mask, mvtec3d_category

SIDE = 40


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def sound(folder: Path) -> Path:
    """A category without a fault: noise, and a square for a defect."""
    rng = np.random.default_rng(0)
    for place, count in (("train/good", 3), ("test/good", 3), ("test/dent", 9)):
        for index in range(count):
            noise(folder / place / f"{index}.png", rng)
            if place == "test/dent":
                draw(folder, index, square())
    return folder


def noise(path: Path, rng: np.random.Generator) -> None:
    """An image unlike all others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(80, 120, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)


def square(value: int = 255) -> np.ndarray:
    """A mask whose marked pixels have a value."""
    values = np.zeros((SIDE, SIDE), np.uint8)
    values[8:16, 8:16] = value
    return values


def draw(folder: Path, index: int | str, values: np.ndarray, palette: Sequence[int] = ()) -> Path:
    """Save the mask of the defect of that number or name; `values` are of the palette where one is given."""
    path = folder / f"ground_truth/dent/{index}_mask.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = Image.fromarray(values)
    if palette:
        drawn.putpalette(palette)
    drawn.save(path)
    return path


def turned(path: Path, orientation: int) -> None:
    """Say in the file that the image is to be turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.open(path)
    image.load()
    image.save(path, exif=exif)


def grey16(path: Path, largest: int, seed: int) -> None:
    """A 16-bit file with values up to `largest`."""
    values = np.random.default_rng(seed).integers(0, largest, (SIDE, SIDE), dtype=np.uint16)
    values[0, 0] = largest
    Image.fromarray(values).save(path)


def one_of_each(root: Path) -> dict[str, str]:
    """A data set with one of each fault: path below the root to words of the line about it."""
    odd = sound(root / "odd")
    (odd / "train/good/a.heic").write_bytes(b"?")
    image(odd / "test/good/more/x.png")
    image(odd / "loose.png", value=1)
    os.mkfifo(odd / "test/good/pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(odd / "ground_truth/dent")  # its path may be too long for a socket
        server.bind("socket.png")
        os.chdir(here)
    draw(odd, 0, 255 - square())
    frame = square()
    frame[[0, -1]] = frame[:, [0, -1]] = 255
    draw(odd, 1, frame)
    draw(odd, 2, np.where(square() > 0, np.arange(SIDE, dtype=np.uint8), 0).astype(np.uint8))
    mask(odd / "ground_truth/dent/3.png", (SIDE, SIDE))
    dot = np.zeros((SIDE, SIDE), np.uint8)
    dot[2, 2] = 255
    draw(odd, 4, dot)
    turned(odd / "test/dent/5.png", 3)
    shutil.copy(odd / "test/good/0.png", odd / "test/dent/6.png")
    shutil.copy(odd / "train/good/0.png", odd / "test/good/1.png")
    shutil.copy(odd / "train/good/1.png", odd / "train/good/2.png")
    Image.new("1", (16000, 12000)).save(odd / "test/dent/7.png")  # beyond Pillow's own limit
    grey16(odd / "test/dent/8.png", 4000, 1)
    rng = np.random.default_rng(1)
    composed, decomposed = (unicodedata.normalize(form, "prüf") for form in ("NFC", "NFD"))
    for name in ("9", "10", "11", decomposed):
        noise(odd / f"test/dent/{name}.png", rng)
    draw(odd, 9, np.maximum(square(), 1))
    draw(odd, 10, square(1), palette=[220, 220, 220, 200, 0, 0])
    mask(odd / "ground_truth/dent/11/000.png", (SIDE, SIDE))
    draw(odd, composed, square())  # no fault: the names match
    for place in ("pipe", "train/pipe", "test/pipe.png", "ground_truth/dent/11/pipe.png"):
        os.mkfifo(odd / place)
    for place in (root / "device.png", odd / "test/dent/device.png"):
        place.symlink_to("/dev/zero")
    (root / "stray").mkdir()
    image(root / "beside.png")
    (root / os.fsdecode(b"\xe4") / "train").mkdir(parents=True)
    return {
        "odd/train/good/a.heic": "it is not read, since its type .heic is none of .png/.jpg",
        "odd/test/good/more": "its 1 image is not read; those of good itself are",
        "odd/loose.png": "images are read from the folders below",
        "odd/test/good/pipe.png": "is no file but a pipe, a socket or a device: it is not opened",
        "odd/ground_truth/dent/socket.png": "is no file but a pipe",
        "odd/ground_truth/dent/0_mask.png": "marks 96% of its image, as an inverted mask would",
        "odd/ground_truth/dent/1_mask.png": "marks the whole border of its image",
        "odd/ground_truth/dent/2_mask.png": "has 8 values beside 0: every one of them is taken for a defect",
        "odd/test/dent/3.png": "has 2 masks in",
        "odd/ground_truth/dent/4_mask.png": "the defect vanishes at 20×20",
        "odd/test/dent/5.png": "is turned by its EXIF tag (orientation 3)",
        "odd/test/good/0.png": "is the same image as test/dent/6.png, which is defective",
        "odd/test/good/1.png": "is the same image as train/good/0.png, which is trained on",
        "odd/train/good/2.png": "is the same image as train/good/1.png, and so counts twice",
        "odd/test/dent/7.png": "it has 16000×12000 pixels, more than 0.1 million",
        "odd/test/dent/8.png": "values go up to 4000 only, as of 12 bits",
        "odd/ground_truth/dent/9_mask.png": "marks 100% of its image, as an inverted mask would",
        "odd/ground_truth/dent/10_mask.png": "marks 100% of its image, as an inverted mask would",
        "odd/pipe": "is no file but a pipe",
        "odd/train/pipe": "is no file but a pipe",
        "odd/test/pipe.png": "is no file but a pipe",
        "odd/ground_truth/dent/11/pipe.png": "is no file but a pipe",
        "odd/test/dent/device.png": "is no file but a pipe, a socket or a device",
        "device.png": "is no file but a pipe, a socket or a device",
        "stray": "not a category",
        "beside.png": "lies beside the categories",
        "\\udce4": "is no UTF-8: rename it",
    }


def test_a_folder_with_one_of_each_fault_as_a_person_sees_it(bench: Bench) -> None:
    expected = one_of_each(bench.folder / "set")
    options = ("--image-size", "20", "--max-pixels", "100000")
    done = bench.run("data", "check", "set", *options, code=1, PYTHONIOENCODING="utf-8")
    lines = done.out.splitlines()
    for path, words in expected.items():
        (about,) = [line for line in lines if f": set/{path}: " in line and words in line]
        assert "Warning" not in about
    deep = [line for line in lines if "set/odd/test/dent/8.png: has 16 bits, training images have 8" in line]
    assert len(deep) == 1 and len(lines) == len(expected) + 1, done.out
    found, count = done.err.splitlines()
    assert (
        found
        == "odd: 3 train, 3 good and 13 defective test images, 12 with masks; good: train/good, test/good; bad: test/dent"
    )
    assert count == f"{len(expected) + 1} faults in set"


def test_a_sound_category_has_none(tmp_path: Path) -> None:
    assert check("folder", sound(tmp_path / "nut"), resize=Resize(20)) == []


def test_a_run_counts_what_the_names_show(tmp_path: Path) -> None:
    one_of_each(tmp_path)
    (tmp_path / "odd/ground_truth/dent/3.png").unlink()
    category = open_category("folder", tmp_path, "odd", own=FolderSettings(masks="optional"))
    category.fingerprint()
    assert category.notes() == [
        "7 pipes, sockets or devices are not opened: ground_truth/dent/11/pipe.png, ground_truth/dent/socket.png, pipe, "
        "test/dent/device.png, test/good/pipe.png and 2 more",
        "2 files are not read: loose.png, train/good/a.heic",
        "1 folder is not read: test/good/more",
        "1 image is there twice: train/good/2.png",
        "1 image is there as normal and as defective: test/good/0.png",
        "1 test image is also trained on: test/good/1.png",
    ]
    for sample in category.samples:
        if sample.name != "test/dent/7.png":
            category.read_image(sample)
            category.read_mask(sample)
    kinds = [note.split(":")[0] for note in category.noticed()]
    assert kinds == [
        "4 masks mark most of their image or its whole border, as inverted ones do",
        "1 mask has values beside 0 and one other, and all but 0 are taken for defects",
        "1 test image is turned by its EXIF tag, and its mask would fit without that too",
        "1 16-bit image uses the lowest part of the range only and is read as nearly black",
        "1 image has another depth than those of the other split",
    ]


@pytest.mark.parametrize(
    ("build", "layout"),
    [
        (folder_category, "folder"),
        (lambda root: folder_category(root, "bottle"), "mvtec"),
        (lambda root: btad_category(root, "01", ".bmp", ".png"), "btad"),
        (mvtec3d_category, "mvtec3d"),
    ],
    ids=["folder", "mvtec", "btad", "mvtec3d"],
)
def test_what_is_no_file_is_named_wherever_it_lies_and_never_opened(
    tmp_path: Path, build: Callable[[Path], Path], layout: str
) -> None:
    """Opening one of these would never end."""
    category = build(tmp_path)
    (tmp_path / "stray").mkdir()
    inside = [*category.rglob("*/"), category]
    assert len(inside) > 7
    for place in (*inside, tmp_path, tmp_path / "stray"):
        os.mkfifo(place / "pipe")
        (place / "endless.png").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / ".hidden")
    (category / "test/up").symlink_to(category)  # and round again, without end
    names = [f"{place.relative_to(tmp_path)}/{name}" for place in inside for name in ("endless.png", "pipe")]
    faults = [fault for fault in check(layout, tmp_path) if "no file but a pipe" in fault.problem]
    at_root = ["endless.png", "pipe", "stray/endless.png", "stray/pipe"]
    assert sorted(fault.path.relative_to(tmp_path).as_posix() for fault in faults) == sorted(
        [name.removeprefix("./") for name in names] + at_root
    )
    told = open_category(layout, tmp_path, category.name).notes()
    assert sum(note.startswith(f"{len(names)} pipes, sockets or devices are not opened: ") for note in told) == 1
    at_root_told = [note for note in root_notes(layout, tmp_path) if "not opened" in note]
    assert at_root_told == [f"4 pipes, sockets or devices are not opened: {', '.join(at_root)}"]


@pytest.mark.parametrize(
    ("values", "palette"),
    [
        (np.maximum(square(), 1), []),
        (255 - square(), []),
        (np.maximum(square(), 40)[..., None] * np.array([1, 1, 0], np.uint8), []),
        (square(1), [220, 220, 220, 200, 0, 0]),
        (square(1), [1, 0, 0, 0, 0, 0]),
        (1 - square(1), [0, 0, 0, 255, 255, 255]),
    ],
    ids=[
        "value 1",
        "value 255",
        "colour",
        "light palette",
        "nearly black palette",
        "light, not the first of its palette",
    ],
)
def test_a_ground_that_is_not_black_is_told_of_every_kind_of_mask(
    tmp_path: Path, values: np.ndarray, palette: list[int]
) -> None:
    nut = sound(tmp_path / "nut")
    draw(nut, 4, values, palette)
    (fault,) = check("folder", tmp_path, resize=Resize(SIDE))
    assert fault.path == nut / "ground_truth/dent/4_mask.png"
    assert "of its image, as an inverted mask would: only the defect may have another value than 0" in fault.problem
    category = open_category("folder", tmp_path, "nut")
    (sample,) = (sample for sample in category.test if sample.name == "test/dent/4.png")
    category.read_mask(sample)
    (note,) = category.noticed()
    assert note == (
        "1 mask marks most of its image or its whole border, as an inverted one does: ground_truth/dent/4_mask.png"
    )


def test_several_masks_are_refused_in_a_run_and_a_folder_of_them_is_joined(tmp_path: Path) -> None:
    nut = sound(tmp_path / "nut")
    one, other = square(), np.roll(square(), 12, 1)
    for index, names in enumerate(
        (["0_mask_1.png", "0_mask_2.png"], ["1_mask.png", "1.bmp"], ["2_mask.png", "2/000.png"])
    ):
        draw(nut, index, one).unlink()
        for name in names:
            path = nut / "ground_truth/dent" / name
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(one).save(path)
        with pytest.raises(
            DatasetError, match=rf"dent/{index}.png has 2 masks in .*ground_truth/dent: .*{names[1]}; keep"
        ):
            open_category("folder", tmp_path, "nut")
        for name in names:
            (nut / "ground_truth/dent" / name).unlink()
        draw(nut, index, one)
    before = open_category("folder", tmp_path, "nut").fingerprint()
    (nut / "ground_truth/dent/0_mask.png").unlink()
    (nut / "ground_truth/dent/0").mkdir()
    for name, values in (("000.png", one), ("001.png", other)):
        Image.fromarray(values).save(nut / "ground_truth/dent/0" / name)
    category = open_category("folder", tmp_path, "nut")
    joined = category.read_mask(next(sample for sample in category.test if sample.name == "test/dent/0.png"))
    assert joined is not None and np.array_equal(joined, (one | other) // 255)
    assert category.fingerprint() != before and check("folder", tmp_path, resize=Resize(SIDE)) == []


@pytest.mark.parametrize("orientation", [2, 3, 6])
def test_a_turn_is_no_fault_where_the_mask_shows_that_it_is_right(tmp_path: Path, orientation: int) -> None:
    nut = sound(tmp_path / "nut")
    turned(nut / "test/dent/0.png", orientation)
    (fault,) = check("folder", tmp_path, resize=Resize(SIDE))
    assert "is turned by its EXIF tag" in fault.problem
    turned(nut / "ground_truth/dent/0_mask.png", orientation)
    assert check("folder", tmp_path, resize=Resize(SIDE)) == [], "image and mask are turned alike"
    wide = np.zeros((SIDE, 2 * SIDE), np.uint8)
    wide[4:20, 4:20] = 255
    Image.fromarray(wide).save(nut / "test/dent/1.png")
    turned(nut / "test/dent/1.png", 6)
    draw(nut, 1, np.rot90(wide, -1))
    assert check("folder", tmp_path, resize=Resize(SIDE)) == [], "an upright mask has another shape"


def test_sixteen_bits_are_no_fault_where_they_are_used_throughout(tmp_path: Path) -> None:
    nut = sound(tmp_path / "nut")
    for number, path in enumerate(sorted(nut.glob("t*/*/*.png"))):
        grey16(path, 65535 if number % 2 else 300, number)
    assert check("folder", tmp_path, resize=Resize(SIDE)) == [], "dark images beside bright ones"
    for bits in (8, 10, 12):
        for number, path in enumerate(sorted(nut.glob("t*/*/*.png"))):
            grey16(path, (1 << bits) - 1, number)
        faults = check("folder", tmp_path, resize=Resize(SIDE))
        assert len(faults) == 15 and all(f"as of {bits} bits" in fault.problem for fault in faults)


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_names_match_in_any_form_of_unicode(tmp_path: Path, forms: tuple[str, str]) -> None:
    stem, masked = (unicodedata.normalize(form, "prüf") for form in forms)
    kind, place = (unicodedata.normalize(form, "größe") for form in forms)
    nut = folder_category(tmp_path, unicodedata.normalize(forms[0], "Gehäuse"))
    image(nut / f"test/{kind}/{stem}.png", value=200)
    mask(nut / f"ground_truth/{place}/{masked}_mask.png")
    assert category_names("folder", tmp_path) == ["Gehäuse"] and check("folder", tmp_path) == []
    typed = unicodedata.normalize(forms[1], "Gehäuse")
    names = FolderSettings(bad=(unicodedata.normalize(forms[1], "größe"),))
    assert sum(sample.label for sample in open_category("folder", tmp_path, typed, own=names).test) == 1


def test_a_name_that_is_no_text_fails_its_category_alone_and_a_file_of_such_a_name_is_read(tmp_path: Path) -> None:
    sound(tmp_path / "nut")
    shutil.copytree(tmp_path / "nut", tmp_path / os.fsdecode(b"sch\xf6n"))
    assert category_names("folder", tmp_path) == ["nut", "sch\\udcf6n"]
    with pytest.raises(DatasetError, match=r"the name of folder .*/sch\\udcf6n is no UTF-8: rename it"):
        open_category("folder", tmp_path, "sch\\udcf6n")
    for place, name in (("test/dent", "8.png"), ("ground_truth/dent", "8_mask.png")):
        path = tmp_path / "nut" / place / name
        path.rename(path.with_name(os.fsdecode(b"8\xff.png")))
    category = open_category("folder", tmp_path, "nut")
    assert len(category.fingerprint()) == 64 and len(category.test) == 12
    assert category.read_mask(category.test[8]) is not None
    (tmp_path / "nut/test/dent" / os.fsdecode(b"8\xff.png")).write_bytes(b"?")
    with pytest.raises(DatasetError, match=r"8\\udcff.png cannot be read"):
        category.read_image(category.test[8])


def test_large_images_are_read_up_to_the_limit_of_their_data_set(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    nut = folder_category(tmp_path)
    Image.new("L", (16000, 12000)).save(nut / "train/good/000.png")  # beyond Pillow's own limit
    category = open_category("folder", tmp_path, "nut")
    assert category.read_image(category.train[0]).size == (16000, 12000) and not recwarn.list
    small = open_category("folder", tmp_path, "nut", own=FolderSettings(max_pixels=191_999_999))
    with pytest.raises(
        DatasetError, match=r"16000×12000 pixels, more than 192 million; .* raise `max_pixels` .* to 192000000"
    ):
        small.read_image(small.train[0])
    assert small.fingerprint() == category.fingerprint(), "no result depends on the limit"


def test_the_limit_of_pillow_is_nothing_to_images_and_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever it is set to by others in the process; here so small that even these are twice beyond it."""
    sound(tmp_path / "nut")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", SIDE)
    category = open_category("folder", tmp_path, "nut")
    sample = category.test[0]
    assert sample.label
    drawn = category.read_mask(sample)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", SIDE)
    assert drawn is not None and drawn.sum() == 64 and category.read_image(sample).size == (SIDE, SIDE)
    small = open_category("folder", tmp_path, "nut", own=FolderSettings(max_pixels=SIDE))
    with pytest.raises(DatasetError, match=r"40×40 pixels, more than 4e-05 million; .* raise `max_pixels` .* to 1600"):
        small.read_mask(sample)
    assert not recwarn.list and capfd.readouterr() == ("", "")


def test_a_termination_signal_ends_a_check_at_once(bench: Bench) -> None:
    sound(bench.folder / "endless/nut")
    code = (
        "import sys, threading\n"
        "from fod_bench.cli.app import main\n"
        "from fod_bench.datasets import checks\n"
        "checks.read_rgb_and_depth = lambda *_: threading.Event().wait()  # a disk that does not answer\n"
        "sys.argv = ['fod-bench', 'data', 'check', 'endless']\n"
        "main()\n"
    )
    running = bench.start_process(sys.executable, "-c", code)
    wait_for(lambda: "nut: 3 train" in running.said(), "the check to begin")
    running.signal(signal.SIGTERM)
    done = running.finished()
    assert done.code == 130 and "interrupted" in done.err and "no fault found" not in done.err
