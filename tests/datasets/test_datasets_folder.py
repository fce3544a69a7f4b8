"""Own images in any folders: what is taken as what, with masks or without, and what is said when names do not fit."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from fod_bench.datasets import Category, FolderSettings, category_names, check, describe, open_category
from fod_bench.errors import DatasetError
from tests.helpers.dataset_builders import folder_category, image, mask


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def flat(folder: Path, good: str = "good", bad: str = "bad", counts: tuple[int, int] = (10, 3)) -> Path:
    """Images in two folders, nothing else."""
    for name, count, value in ((good, counts[0], 60), (bad, counts[1], 120)):
        for index in range(count):
            image(folder / name / f"{index:03d}.png", value=value + index)
    return folder


def opened(root: Path, name: str = "nut", limit: object = None, **names: object) -> Category:
    return open_category("folder", root, name, limit=limit, own=FolderSettings(**names))  # type: ignore[arg-type]


def without_masks(root: Path) -> Path:
    nut = folder_category(root)
    for path in sorted(nut.glob("ground_truth/*/*")):
        path.unlink()
    for path in (*nut.glob("ground_truth/*"), nut / "ground_truth"):
        path.rmdir()
    return nut


def test_two_folders_are_a_category_divided_by_name(tmp_path: Path) -> None:
    flat(tmp_path / "nut")
    category = opened(tmp_path)
    assert [sample.name for sample in category.test if not sample.label] == ["good/004.png", "good/009.png"]
    assert [sample.name for sample in category.train] == [f"good/{i:03d}.png" for i in (0, 1, 2, 3, 5, 6, 7, 8)]
    assert [(s.name, s.defect, s.masked) for s in category.test if s.label] == [
        (f"bad/{i:03d}.png", "bad", False) for i in range(3)
    ]
    assert category.found() == (
        "8 train, 2 good and 3 defective test images without masks; good: good, divided by name into train and test; bad: bad"
    )
    assert category.notes() == [] == check("folder", tmp_path)
    assert all(category.read_mask(sample) is None for sample in category.test)


@pytest.mark.parametrize(
    ("images", "share", "held"), [(2, 0.8, 1), (3, 0.99, 1), (5, 0.5, 2), (7, 0.01, 6), (100, 0.8, 20), (1, 0.8, 0)]
)
def test_some_are_held_out_and_some_left_to_train_on(tmp_path: Path, images: int, share: float, held: int) -> None:
    flat(tmp_path / "nut", counts=(images, 1))
    category = opened(tmp_path, train_share=share)
    assert (len(category.train), sum(not sample.label for sample in category.test)) == (images - held, held)


def test_a_root_that_is_a_category_is_a_data_set_of_one(tmp_path: Path) -> None:
    for root in (flat(tmp_path / "bolt"), folder_category(tmp_path, "nut")):
        assert category_names("folder", root) == [root.name] == category_names("folder", root / "." / "")
        category = opened(root, root.name)
        assert category.name == root.name and category.train and check("folder", root) == []
        with pytest.raises(DatasetError, match=f"one category, called {root.name}: it has no category 'other'"):
            opened(root, "other")
    beside = opened(tmp_path, "bolt").fingerprint()
    assert beside == opened(tmp_path / "bolt", "bolt").fingerprint(), "wherever its root is"


def test_without_ground_truth_no_image_has_a_mask(tmp_path: Path) -> None:
    without_masks(tmp_path)
    category = opened(tmp_path)
    assert [sample.masked for sample in category.test] == [False] * 3 + [True] * 2
    assert "3 defective test images without masks; good: train/good, test/good; bad: test/crack" in category.found()
    assert check("folder", tmp_path) == []


def test_one_mask_missing_among_others_is_a_fault_unless_masks_are_optional(tmp_path: Path) -> None:
    nut = folder_category(tmp_path)
    (nut / "ground_truth/crack/001_mask.png").unlink()
    with pytest.raises(DatasetError, match=r"001\.png has no mask: looked for"):
        opened(tmp_path)
    (fault,) = check("folder", tmp_path)
    assert fault.path == nut / "test/crack/001.png" and "without a mask" in fault.problem
    category = opened(tmp_path, masks="optional")
    assert [sample.name for sample in category.test if not sample.masked] == ["test/crack/001.png"]
    assert "3 defective test images, 2 with masks" in category.found()
    assert category.notes() == [
        "1 defective test image has no mask and is left out of the pixel metrics: test/crack/001.png"
    ]
    assert check("folder", tmp_path, own=FolderSettings(masks="optional")) == []


def test_masks_of_other_names_or_types_are_no_data_set_without_masks(tmp_path: Path) -> None:
    for name in ("000.mask.png", "000_mask.npy", "sub/else/000.txt"):
        nut = without_masks(tmp_path / name[:3] / Path(name).suffix)
        path = nut / "ground_truth/crack" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"?")
        with pytest.raises(DatasetError, match=r"000\.png has no mask"):
            opened(nut.parent)


def test_named_folders_and_patterns(tmp_path: Path) -> None:
    nut = flat(tmp_path / "nut", "OK", "NG/scratch")
    image(nut / "NG/dent/000.png")
    image(nut / "2024/x.png")
    mask(nut / "ground_truth/NG/dent/000.png")
    category = opened(tmp_path, good=("OK",), bad=("NG/*",), masks="optional")
    assert category.found().endswith(
        "4 defective test images, 1 with masks; good: OK, divided by name into train and test; bad: NG/dent, NG/scratch"
    )
    assert [sample.defect for sample in category.test if sample.masked and sample.label] == ["NG/dent"]
    left_out, unmasked = category.notes()
    assert left_out == "1 folder is not read: 2024" and unmasked.startswith("3 defective test images have no mask")
    split = folder_category(tmp_path / "split")
    for place in ("train", "test"):
        (split / place / "good").rename(split / place / "normal")
    category = opened(tmp_path / "split", good=("norm*",), bad=("crack",))
    assert (len(category.train), len(category.test)) == (3, 4)
    assert category.notes() == ["2 folders are not read: ground_truth/dent, test/dent"]
    assert opened(tmp_path / "split", good=("train/normal",)).found().endswith("bad: test/crack, test/dent")


def test_the_fingerprint_follows_roles_and_split(tmp_path: Path) -> None:
    flat(tmp_path / "nut")
    prints = {
        opened(tmp_path).fingerprint(),
        opened(tmp_path, train_share=0.5).fingerprint(),
        opened(tmp_path, good=("bad",), bad=("good",)).fingerprint(),
    }
    assert len(prints) == 3
    assert opened(tmp_path, train_share=0.79).fingerprint() in prints, "the same images are held out"
    split = without_masks(tmp_path / "split")
    before = opened(split.parent).fingerprint()
    mask(split / "ground_truth/crack/000_mask.png")
    assert opened(split.parent, masks="optional").fingerprint() != before
    assert opened(split.parent, good=("good",), bad=("crack", "dent"), masks="optional").fingerprint() != before


def test_names_are_part_of_no_key_where_they_are_mvtecs(tmp_path: Path) -> None:
    """The fingerprint of a set in the usual form, computed by hand: keys made before there were names hold."""
    import hashlib

    nut = folder_category(tmp_path)
    files = {path.relative_to(nut).as_posix(): path for path in nut.glob("t*/*/*")}
    files |= {f"mask of test/{path.parent.name}/{path.stem[:3]}.png": path for path in nut.glob("ground_truth/*/*")}
    lines = sorted(f"{hashlib.sha256(path.read_bytes()).hexdigest()} {name}\n" for name, path in files.items())
    assert opened(tmp_path).fingerprint() == hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"bad": ("defcet",)}, r"bad: no folder 'defcet' in .*nut; did you mean 'defect'\? There are defect, good"),
        ({"good": ("Good",)}, r"good: no folder 'Good' in .*nut; did you mean 'good'\?"),
        ({}, r"no defective images: images are in defect \(3 images\), good \(10 images\); .*`good: \[good\], bad: \[defect\]`"),
        ({"bad": ("xyz",)}, r"bad: no folder 'xyz' in .*nut; images are in defect \(3 images\), good"),
    ],
)  # fmt: skip
def test_wrong_names_are_answered_with_the_nearest(tmp_path: Path, names: dict[str, tuple[str]], message: str) -> None:
    flat(tmp_path / "nut", "good", "defect")
    with pytest.raises(DatasetError, match=message):
        opened(tmp_path, **names)
    try:
        said = "\n".join(map(str, check("folder", tmp_path, own=FolderSettings(**names))))  # type: ignore[arg-type]
    except DatasetError as error:  # where nothing else tells that the folder is a category
        said = str(error)
    assert re.search(message.replace("no defective images", "no defective test images"), said)


def test_a_defect_that_another_category_has_need_not_be_in_all(tmp_path: Path) -> None:
    flat(tmp_path / "nut", bad="scratch")
    flat(tmp_path / "bolt", bad="dent")
    for name in ("nut", "bolt"):
        assert len(opened(tmp_path, name, bad=("scratch", "dent")).test) == 5
    with pytest.raises(DatasetError, match=r"no folder 'dnet' in .*bolt; did you mean 'dent'"):
        opened(tmp_path, "bolt", bad=("dnet", "scratch"))


@pytest.mark.parametrize(
    ("good", "bad", "names"),
    [
        ("Good", "Bad", "good: [Good], bad: [Bad]"),
        ("OK", "NG", "good: [OK], bad: [NG]"),
        ("good/a", "bad", "good: [good/*], bad: [bad]"),
    ],
)
def test_folders_of_other_names_are_told_with_what_would_be_right(
    tmp_path: Path, good: str, bad: str, names: str
) -> None:
    flat(tmp_path, good, bad)
    with pytest.raises(DatasetError) as caught:
        opened(tmp_path, category_names("folder", tmp_path)[0])
    assert f"`{names}`" in str(caught.value) and f"{good} (10 images)" in str(caught.value)
    (tmp_path / "more").mkdir()
    for kind in (good.split("/")[0], bad):
        (tmp_path / kind).rename(tmp_path / "more" / kind)
    if "/" not in good:
        with pytest.raises(
            DatasetError, match=r"holds no category: good: no folder 'good' in .*more; images are in"
        ) as caught:
            check("folder", tmp_path / "more" / "..")
        assert f"`{names}`" in str(caught.value)


def test_train_of_another_name_loose_images_and_empty_folders(tmp_path: Path) -> None:
    for index in range(3):
        image(tmp_path / f"a/train/OK/{index}.png")
        image(tmp_path / f"a/test/NG/{index}.png")
        image(tmp_path / f"b/train/{index}.png")
    (tmp_path / "c/good").mkdir(parents=True)
    flat(tmp_path / "d")
    image(tmp_path / "d/good/more/x.png")
    image(tmp_path / "d/x.png")
    (tmp_path / "d/good/note.heic").write_bytes(b"?")
    faults = "\n".join(map(str, check("folder", tmp_path)))
    assert "a: no training images: images are in OK (3 images), NG (3 images)" in faults
    assert "perhaps `good: [OK], bad: [NG]`" in faults
    assert "3 images in train itself: they belong into folders below it" in faults
    assert f"c: {tmp_path}/c/good: holds no image" in faults
    assert "d/good/more: does not belong here: its 1 image is not read; those of good itself are" in faults
    assert "`good/*` names those below" in faults
    assert f"d: {tmp_path}/d/x.png: does not belong here" in faults
    assert f"d: {tmp_path}/d/good/note.heic: does not belong here" in faults
    assert opened(tmp_path, "d").notes() == [
        "1 folder is not read: good/more",
        "2 files are not read: good/note.heic, x.png",
    ]
    assert [line.split(":")[0] for line in describe("folder", tmp_path)] == ["a", "b", "c", "d"]


def test_more_image_types_are_read_where_nothing_is_published(tmp_path: Path) -> None:
    nut = flat(tmp_path / "nut", counts=(4, 1))
    for index, suffix in enumerate((".webp", ".jfif", ".jpe", ".dib", ".WEBP")):
        image(nut / f"bad/{index}.png", value=200 + index).rename(nut / f"bad/{index}{suffix}")
    category = opened(tmp_path)
    assert sum(sample.label for sample in category.test) == 6 and check("folder", tmp_path) == []
    assert np.asarray(category.read_image(category.test[1])).shape == (10, 12, 3)


def test_limits_keep_roles_and_masks(tmp_path: Path) -> None:
    nut = flat(tmp_path / "nut")
    mask(nut / "ground_truth/bad/002.png")

    class Limit:
        train, test = 3, 2

    category = opened(tmp_path, limit=Limit, masks="optional")
    assert [sample.name for sample in category.samples] == [
        "good/000.png", "good/001.png", "good/002.png", "bad/000.png", "good/004.png",
    ]  # fmt: skip
    assert [sample.masked for sample in category.test] == [False, True]


def test_upper_and_lower_case_of_train_and_ground_truth_are_told(tmp_path: Path) -> None:
    nut = folder_category(tmp_path)
    (nut / "ground_truth").rename(nut / "Ground_Truth")
    assert opened(tmp_path).notes() == ["2 folders are not read: Ground_Truth/crack, Ground_Truth/dent"]
    assert any("did you mean 'ground_truth'?" in fault.problem for fault in check("folder", tmp_path))
    (nut / "train").rename(nut / "Train")
    (nut / "test").rename(nut / "TEST")
    with pytest.raises(DatasetError, match=r"rename TEST to test, Train to train in .*nut"):
        opened(tmp_path)
    with pytest.raises(DatasetError, match=r"holds no category: rename TEST to test, Train to train in .*nut"):
        category_names("folder", nut)
    flat(tmp_path / "two/bolt")
    mask(tmp_path / "two/bolt/Ground_truth/bad/000.png")
    category = opened(tmp_path / "two", "bolt", bad=("bad",))
    assert "bad: bad" in category.found() and category.notes() == ["1 folder is not read: Ground_truth/bad"]


def test_images_in_folders_below_are_told_for_published_sets_too(tmp_path: Path) -> None:
    bottle = folder_category(tmp_path, "bottle")
    image(bottle / "test/crack/more/000.png")
    category = open_category("mvtec", tmp_path, "bottle")
    assert category.notes() == ["1 folder is not read: test/crack/more"]
    assert any(fault.path == bottle / "test/crack/more" for fault in check("mvtec", tmp_path, ["bottle"]))
