"""Opening categories of every layout: samples, masks, limits, fingerprints, and what is said when they do not fit."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fod_bench.datasets import category_names, expected_counts, open_category
from fod_bench.errors import DatasetError
from tests.helpers.dataset_builders import btad_category, folder_category, image, mask, mvtec3d_category


@dataclass(frozen=True)
class Limit:
    train: int | None = None
    test: int | None = None


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    return cache


def test_folder_lists_train_then_test_by_name(tmp_path: Path) -> None:
    folder_category(tmp_path)
    category = open_category("folder", tmp_path, "nut")
    assert (category.layout, category.name) == ("folder", "nut")
    assert [sample.name for sample in category.train] == [f"train/good/{i:03d}.png" for i in range(3)]
    assert [(s.name, s.label, s.defect) for s in category.test] == [
        ("test/crack/000.png", 1, "crack"),
        ("test/crack/001.png", 1, "crack"),
        ("test/dent/000.png", 1, "dent"),
        ("test/good/000.png", 0, "good"),
        ("test/good/001.png", 0, "good"),
    ]
    assert category.samples == category.train + category.test


def test_masks_have_the_images_own_size_and_are_binary(tmp_path: Path) -> None:
    folder_category(tmp_path)
    category = open_category("folder", tmp_path, "nut")
    values = category.read_mask(category.test[0])
    assert values is not None and values.shape == (10, 12) and values.dtype == np.uint8
    assert values.sum() == 9 and values[:3, :3].all()
    assert category.read_mask(category.test[-1]) is None
    image = category.read_image(category.test[0])
    assert image.mode == "RGB" and image.size == (12, 10) and image.getpixel((0, 0)) == (80, 80, 80)


@pytest.mark.parametrize(
    ("name", "suffix", "mask_suffix"), [("01", ".bmp", ".png"), ("02", ".png", ".png"), ("03", ".bmp", ".bmp")]
)
def test_btad_takes_each_products_file_types(tmp_path: Path, name: str, suffix: str, mask_suffix: str) -> None:
    btad_category(tmp_path, name, suffix, mask_suffix)
    category = open_category("btad", tmp_path, name)
    assert len(category.train) == 2
    assert [(sample.defect, sample.label) for sample in category.test] == [("ko", 1), ("ko", 1), ("good", 0)]
    values = category.read_mask(category.test[0])
    assert values is not None and values.sum() == 9


def test_mvtec3d_reads_the_rgb_part_without_validation(tmp_path: Path) -> None:
    mvtec3d_category(tmp_path)
    category = open_category("mvtec3d", tmp_path, "bagel")
    assert [sample.name for sample in category.samples] == [
        "train/good/rgb/000.png",
        "train/good/rgb/001.png",
        "test/good/rgb/000.png",
        "test/hole/rgb/000.png",
    ]
    values = category.read_mask(category.test[1])
    assert values is not None and values.sum() == 9
    assert category.read_mask(category.test[0]) is None


def test_mvtec3d_takes_any_nonzero_value_for_a_defect(tmp_path: Path) -> None:
    root = mvtec3d_category(tmp_path)
    values = np.zeros((10, 12), dtype=np.uint8)
    values[0, :5] = [1, 2, 3, 4, 0]
    Image.fromarray(values).save(root / "test/hole/gt/000.png")
    category = open_category("mvtec3d", tmp_path, "bagel")
    found = category.read_mask(category.test[1])
    assert found is not None and found.sum() == 4 and set(np.unique(found)) == {0, 1}


def test_mvtec_wants_png_and_the_published_names(tmp_path: Path) -> None:
    folder_category(tmp_path, "bottle", suffix=".jpg")
    with pytest.raises(DatasetError, match=r"bottle.*no training images.*\.png"):
        open_category("mvtec", tmp_path, "bottle")
    with pytest.raises(DatasetError, match="no category 'botle'; did you mean 'bottle'"):
        open_category("mvtec", tmp_path, "botle")


def test_published_counts_add_up_to_the_papers_totals() -> None:
    totals = {}
    for layout in ("mvtec", "btad", "mvtec3d"):
        counts = [expected_counts(layout, name) for name in category_names(layout)]
        totals[layout] = (
            len(counts),
            sum(c.train for c in counts if c),
            sum(c.test_good for c in counts if c),
            sum(c.test_good + c.test_defect for c in counts if c),
        )
    assert totals == {"mvtec": (15, 3629, 467, 1725), "btad": (3, 1799, 451, 741), "mvtec3d": (10, 2656, 249, 1197)}
    assert expected_counts("folder", "nut") is None and expected_counts("synthetic", "weave") is None


def test_category_names_of_a_folder_are_those_on_disk(tmp_path: Path) -> None:
    for name in ("b nut", "a-ring", "größe"):
        folder_category(tmp_path, name)
    (tmp_path / "notes").mkdir()
    (tmp_path / ".hidden" / "train").mkdir(parents=True)
    assert category_names("folder", tmp_path) == ["a-ring", "b nut", "größe"]
    assert len(open_category("folder", tmp_path, "größe").samples) == 8


def test_any_suffix_case_and_both_mask_names_are_taken(tmp_path: Path) -> None:
    category = folder_category(tmp_path, suffix=".PNG")
    image(category / "test/crack/shot.JPG")
    mask(category / "ground_truth/crack/shot.TIF")
    (category / "test/crack/.DS_Store").write_bytes(b"")
    opened = open_category("folder", tmp_path, "nut")
    assert [s.name for s in opened.test if s.defect == "crack"][-1] == "test/crack/shot.JPG"
    assert opened.read_mask(next(s for s in opened.test if "shot" in s.name)) is not None


def test_limit_keeps_the_first_and_spreads_over_defects(tmp_path: Path) -> None:
    category = folder_category(tmp_path)
    for index in range(2, 20):
        image(category / f"test/crack/{index:03d}.png")
        mask(category / f"ground_truth/crack/{index:03d}_mask.png")
    limited = open_category("folder", tmp_path, "nut", limit=Limit(train=2, test=4))
    assert [sample.name for sample in limited.train] == ["train/good/000.png", "train/good/001.png"]
    assert [sample.name for sample in limited.test] == [
        "test/crack/000.png",
        "test/dent/000.png",
        "test/good/000.png",
        "test/good/001.png",
    ]
    whole = open_category("folder", tmp_path, "nut")
    assert len(whole.limited(Limit(test=100)).samples) == len(whole.samples) == 3 + 23
    assert [s.defect for s in whole.limited(Limit(test=2)).test] == ["crack", "good"]


def test_a_mask_missing_outside_the_limit_does_no_harm(tmp_path: Path) -> None:
    category = folder_category(tmp_path)
    (category / "ground_truth/crack/001_mask.png").unlink()
    opened = open_category("folder", tmp_path, "nut", limit=Limit(test=3))
    assert len(opened.test) == 3 and opened.fingerprint()


def test_defect_without_mask_names_image_and_mask(tmp_path: Path) -> None:
    category = folder_category(tmp_path)
    (category / "ground_truth/crack/001_mask.png").unlink()
    with pytest.raises(DatasetError) as caught:
        open_category("folder", tmp_path, "nut")
    assert str(category / "test/crack/001.png") in str(caught.value)
    assert str(category / "ground_truth/crack/001_mask.png") in str(caught.value)


def test_mask_of_another_size_names_both_sizes(tmp_path: Path) -> None:
    category = folder_category(tmp_path)
    mask(category / "ground_truth/dent/000_mask.png", size=(6, 5))
    opened = open_category("folder", tmp_path, "nut")
    with pytest.raises(DatasetError, match=r"000_mask\.png is 6×5, its image .*000\.png is 12×10"):
        opened.read_mask(next(sample for sample in opened.test if sample.defect == "dent"))


def test_unreadable_image_is_named(tmp_path: Path) -> None:
    category = folder_category(tmp_path)
    (category / "train/good/001.png").write_bytes(b"no image")
    whole = (category / "train/good/002.png").read_bytes()
    (category / "train/good/002.png").write_bytes(whole[: len(whole) // 2])
    opened = open_category("folder", tmp_path, "nut")
    for sample in opened.train[1:]:
        with pytest.raises(DatasetError, match=sample.name):
            opened.read_image(sample)


def test_two_images_of_one_stem_cannot_share_a_mask(tmp_path: Path) -> None:
    category = folder_category(tmp_path)
    image(category / "test/crack/000.jpg")
    with pytest.raises(DatasetError, match=r"000\.jpg and .*000\.png share the mask"):
        open_category("folder", tmp_path, "nut")


@pytest.mark.parametrize(
    ("root", "name", "message"),
    [
        ("nowhere", "nut", "does not exist"),
        (".", "nuts", "did you mean 'nut'"),
        ("nut", "good", "is one category, called nut"),
        ("..", "nut", "one folder below"),
        ("nut/train/good/000.png", "nut", "is not a folder"),
    ],
)
def test_wrong_roots_and_names_are_explained(tmp_path: Path, root: str, name: str, message: str) -> None:
    data = tmp_path / "data"
    folder_category(data)
    with pytest.raises(DatasetError, match=message):
        open_category("folder", (data / root).resolve(), name)


def test_root_that_is_needed_or_empty(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="needs a root"):
        category_names("folder")
    with pytest.raises(DatasetError, match="holds no category"):
        category_names("folder", tmp_path)
    with pytest.raises(DatasetError, match="layout 'mvtek'"):
        open_category("mvtek", tmp_path, "bottle")


def test_fingerprint_follows_content_and_names_not_place_or_time(tmp_path: Path) -> None:
    first, second = folder_category(tmp_path / "a"), folder_category(tmp_path / "b")
    os.utime(second / "train/good/000.png", (1, 1))

    def fingerprint(root: str, limit: Limit | None = None) -> str:
        return open_category("folder", tmp_path / root, "nut", limit=limit).fingerprint()

    whole = fingerprint("a")
    assert whole == fingerprint("b") and len(whole) == 64
    assert fingerprint("a", Limit(train=2)) != whole
    image(second / "train/good/000.png", value=61)
    changed = fingerprint("b")
    assert changed != whole
    image(second / "train/good/000.png", value=60)
    mask(second / "ground_truth/dent/000_mask.png", empty=True)
    assert fingerprint("b") not in (whole, changed)
    (first / "train/good/000.png").rename(first / "train/good/0000.png")
    assert fingerprint("a") != whole


def test_fingerprint_does_without_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_category(tmp_path / "data")
    category = open_category("folder", tmp_path / "data", "nut")
    expected = category.fingerprint()
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert category.fingerprint() == expected


def test_categories_travel_between_processes(tmp_path: Path) -> None:
    folder_category(tmp_path)
    category = open_category("folder", tmp_path, "nut")
    other = pickle.loads(pickle.dumps(category))
    assert other.samples == category.samples and other.fingerprint() == category.fingerprint()


def test_import_stays_light() -> None:
    code = "import sys, fod_bench.datasets; print([m for m in ('torch', 'timm', 'ray', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
