"""`check` lists every fault of a data set on disk, and nothing of a sound one."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from PIL import Image

from fod_bench.datasets import Fault, category_names, check, expected_counts, open_category
from fod_bench.errors import DatasetError
from tests.helpers.dataset_builders import btad_category, folder_category, image, mask, mvtec3d_category


def found(faults: list[Fault], root: Path) -> dict[str, str]:
    """Path below the root -> problem; a path with two problems would hide one, so there must be none."""
    assert len({fault.path for fault in faults}) == len(faults)
    return {fault.path.relative_to(root).as_posix(): fault.problem for fault in faults}


def test_a_sound_folder_has_no_fault(tmp_path: Path) -> None:
    folder_category(tmp_path, "nut")
    folder_category(tmp_path, "ring", suffix=".JPEG")
    (tmp_path / "readme.txt").write_text("notes beside the categories are fine")
    (tmp_path / "nut/license.txt").write_text("and in them")
    assert check("folder", tmp_path) == []


def test_every_fault_is_found_in_one_walk(tmp_path: Path) -> None:
    nut = folder_category(tmp_path)
    (nut / "train/good/001.png").write_bytes(b"no image")
    (nut / "ground_truth/crack/000_mask.png").unlink()
    mask(nut / "ground_truth/crack/001_mask.png", size=(4, 4))
    mask(nut / "ground_truth/crack/777_mask.png")
    mask(nut / "ground_truth/dent/000_mask.png", empty=True)
    mask(nut / "ground_truth/nothing/000_mask.png")
    (nut / "test/good/notes.txt").write_text("?")
    image(nut / "train/bad/000.png")
    (nut / "trian").mkdir()
    (nut / "test/good/001.png").unlink()
    (nut / "test/good/001.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "stray").mkdir()
    faults = check("folder", tmp_path)
    expected = {
        "nut/train/good/001.png": "cannot be read",
        "nut/test/crack/000.png": "without a mask: looked for",
        "nut/ground_truth/crack/001_mask.png": "is 4×4",
        "nut/ground_truth/crack/777_mask.png": "mask without an image",
        "nut/ground_truth/dent/000_mask.png": "empty",
        "nut/ground_truth/nothing": "does not belong here",
        "nut/test/good/notes.txt": "does not belong here",
        "nut/train/bad": "does not belong here",
        "nut/trian": "does not belong here",
        "nut/test/good/001.png": "cannot be read",
        "stray": "not a category",
    }
    problems = found(faults, tmp_path)
    assert problems.keys() == expected.keys()
    for path, words in expected.items():
        assert words in problems[path]
    assert {fault.category for fault in faults} == {"nut", "stray"}
    assert "nut" in str(faults[-1]) and str(faults[-1].path) in str(faults[-1])


@pytest.mark.parametrize(
    ("folder", "problem"),
    [
        ("train", "no training images"),
        ("test/good", "no normal test images"),
    ],
)
def test_an_empty_split_is_a_fault(tmp_path: Path, folder: str, problem: str) -> None:
    nut = folder_category(tmp_path)
    for path in (nut / folder).rglob("*.png"):
        path.unlink()
    fault, empty = check("folder", tmp_path)
    assert problem in fault.problem and fault.path == nut
    assert empty.problem == "holds no image"


def test_no_defects_at_all_is_a_fault(tmp_path: Path) -> None:
    for index in range(2):
        image(tmp_path / f"nut/train/good/{index}.png", value=60 + index)
        image(tmp_path / f"nut/test/good/{index}.png", value=70 + index)
    (fault,) = check("folder", tmp_path)
    assert "no defective test images" in fault.problem


def test_two_images_sharing_a_mask_are_a_fault(tmp_path: Path) -> None:
    nut = folder_category(tmp_path)
    image(nut / "test/crack/000.jpg")
    (fault,) = check("folder", tmp_path)
    assert fault.path.name == "000.png" and "share the mask" in fault.problem


def test_known_sets_are_held_to_their_published_counts(tmp_path: Path) -> None:
    btad_category(tmp_path, "01", ".bmp", ".png")
    problems = [fault.problem for fault in check("btad", tmp_path, ["01"])]
    assert problems == [
        "2 training images, 400 were published",
        "1 normal test images, 21 were published",
        "2 defective test images, 49 were published",
    ]
    missing = [fault.category for fault in check("btad", tmp_path) if "is not in" in fault.problem]
    assert missing == ["02", "03"]


def test_a_complete_btad_category_is_sound(tmp_path: Path) -> None:
    counts = expected_counts("btad", "02")
    assert counts is not None
    colours = itertools.count()
    for split, kind, number in (
        ("train", "ok", counts.train),
        ("test", "ok", counts.test_good),
        ("test", "ko", counts.test_defect),
    ):
        for index in range(number):
            path = image(tmp_path / "02" / split / kind / f"{index:04d}.png", size=(8, 8))
            Image.new("RGB", (8, 8), (*divmod(next(colours), 256), 0)).save(path)
            if kind == "ko":
                mask(tmp_path / "02/ground_truth/ko" / f"{index:04d}.png", size=(8, 8))
    assert check("btad", tmp_path, ["02"]) == []


def test_mvtec3d_expects_its_other_folders_and_empty_masks_of_normal_images(tmp_path: Path) -> None:
    bagel = mvtec3d_category(tmp_path)
    faults = check("mvtec3d", tmp_path, ["bagel"])
    assert all("were published" in fault.problem for fault in faults) and len(faults) == 3
    mask(bagel / "test/good/gt/000.png")
    faults = [fault for fault in check("mvtec3d", tmp_path, ["bagel"]) if "published" not in fault.problem]
    assert [fault.problem for fault in faults] == ["the mask of a normal image marks a defect"]


def test_an_archive_unpacked_one_folder_deeper_is_explained(tmp_path: Path) -> None:
    btad_category(tmp_path / "BTech", "01", ".bmp", ".png")
    faults = check("btad", tmp_path)
    assert any(f"give {tmp_path / 'BTech'} as the root" in fault.problem for fault in faults)


def test_nothing_to_check_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        check("folder", tmp_path / "gone")
    with pytest.raises(DatasetError, match="holds no category"):
        check("folder", tmp_path)
    with pytest.raises(DatasetError, match="not one of those on disk"):
        check("synthetic", tmp_path)


def test_a_missing_category_asked_for_by_name(tmp_path: Path) -> None:
    folder_category(tmp_path)
    (fault,) = check("folder", tmp_path, ["nutt"])
    assert "did you mean 'nut'" in fault.problem and category_names("folder", tmp_path) == ["nut"]


@pytest.mark.parametrize("place", ("train/good/\x1b[31m.png", "test/good/a\nb.png", "test/cra\u202eck/000.png"))
def test_a_image_whose_name_a_terminal_would_act_on_is_refused(tmp_path: Path, place: str) -> None:
    category = folder_category(tmp_path)
    image(category / place, value=200)
    if "cra" in place:
        mask(category / "ground_truth" / "cra\u202eck" / "000_mask.png")
    faults = check("folder", tmp_path)
    assert len(faults) == 1 and "has control characters, or invisible ones, in its name: rename it" in faults[0].problem
    with pytest.raises(DatasetError, match=r"category nut in .* image '.*rename it") as caught:
        open_category("folder", tmp_path, "nut")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ("nut\x1b[2J", "nut\n", "n\u2066ut"))
def test_a_category_whose_name_a_terminal_would_act_on_is_refused(tmp_path: Path, name: str) -> None:
    folder_category(tmp_path, "ring")
    folder_category(tmp_path, name)
    [fault] = check("folder", tmp_path)
    assert "category 'n" in fault.problem and fault.problem.isprintable()
    with pytest.raises(DatasetError, match="rename it") as caught:
        category_names("folder", tmp_path)
    assert str(caught.value).isprintable()
