"""What is found in folders of images, tidy and untidy, and that a layout reads it as it was found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from fod_bench.datasets import category_names, open_category
from fod_bench.datasets.recognise import Proposal, arrange, arranged, as_it_lies, published, recognise
from fod_bench.datasets.words import is_masks, says_good, unmasked
from fod_bench.errors import DatasetError
from tests.helpers.dataset_builders import btad_category, folder_category, image, mask, mvtec3d_category

value = 0


def images(root: Path, *names: str) -> None:
    """Images that all differ; those of a mask's name are masks."""
    global value
    for name in names:
        value = (value + 1) % 200
        (mask if "mask" in name or "truth" in name or "gt" in name else image)(root / name, **_value(name, value))


def _value(name: str, number: int) -> dict[str, int]:
    return {} if "mask" in name or "truth" in name or "gt" in name else {"value": number}


def many(pattern: str, count: int) -> list[str]:
    return [pattern.format(number) for number in range(count)]


class Case(NamedTuple):
    """Files, and per category: normal ones, {kind of defect: (images, masks)}; whether a layout reads them as they lie."""

    files: list[str]
    expected: dict[str, tuple[int, dict[str, tuple[int, int]]]]
    direct: bool


CASES = {
    "good and bad": Case([*many("good/{}.png", 5), *many("bad/{}.jpg", 2)], {"parts": (5, {"bad": (2, 0)})}, True),
    "OK and NG": Case([*many("OK/{}.png", 5), *many("NG/{}.png", 2)], {"parts": (5, {"NG": (2, 0)})}, True),
    "names in capitals, kinds below": Case(
        [*many("Good/{}.png", 5), *many("Defects/scratch/{}.png", 2), "Defects/dent/0.png"],
        {"parts": (5, {"scratch": (2, 0), "dent": (1, 0)})},
        True,
    ),
    "kinds beside the normal ones": Case(
        [*many("normal/{}.png", 5), *many("rust/{}.png", 2), "hole/0.png"],
        {"parts": (5, {"rust": (2, 0), "hole": (1, 0)})},
        True,
    ),
    "MVTec AD's form": Case(
        [*many("train/good/{}.png", 4), *many("test/good/{}.png", 2), *many("test/crack/{}.png", 2),
         *many("ground_truth/crack/{}_mask.png", 2)],
        {"parts": (6, {"crack": (2, 2)})},
        True,
    ),
    "a split of other names": Case(
        [*many("Train/OK/{}.png", 4), *many("Test/OK/{}.png", 2), *many("Test/NG/{}.png", 2)],
        {"parts": (6, {"NG": (2, 0)})},
        False,
    ),
    "a split without a folder for normal ones": Case(
        [*many("train/{}.png", 4), *many("test/good/{}.png", 2), *many("test/bent/{}.png", 2)],
        {"parts": (6, {"bent": (2, 0)})},
        False,
    ),
    "several products": Case(
        [f"{name}/{each}" for name in ("bolt", "nut") for each in (*many("good/{}.png", 3), *many("bad/{}.png", 2))],
        {"bolt": (3, {"bad": (2, 0)}), "nut": (3, {"bad": (2, 0)})},
        True,
    ),
    "several products, each otherwise": Case(
        [*many("bolt/OK/{}.png", 3), "bolt/NG/0.png", *many("nut/good/{}.png", 3), "nut/bad/0.png"],
        {"bolt": (3, {"NG": (1, 0)}), "nut": (3, {"bad": (1, 0)})},
        True,
    ),
    "products below the kinds": Case(
        [*many("good/bolt/{}.png", 3), *many("bad/bolt/{}.png", 2)],
        {"parts": (3, {"bolt": (2, 0)})},
        True,
    ),
    "one folder down": Case([*many("images/OK/{}.png", 3), "images/NG/0.png"], {"images": (3, {"NG": (1, 0)})}, True),
    "a flat folder of telling names": Case(
        [*many("ok_{}.png", 4), *many("NG-{}.png", 2), "scratch_7.png"],
        {"parts": (4, {"ng": (2, 0), "scratch": (1, 0)})},
        False,
    ),
    "a flat folder, only the defective ones are named": Case(
        [*many("{}.png", 4), *many("{}_defect.png", 2)], {"parts": (4, {"defect": (2, 0)})}, False
    ),
    "a flat folder that tells nothing": Case(many("IMG_{}.png", 6), {"parts": (6, {})}, False),
    "normal ones beside a folder of defects": Case(
        [*many("{}.png", 4), *many("defects/{}.png", 2)], {"parts": (4, {"defects": (2, 0)})}, False
    ),
    "masks beside their images": Case(
        [*many("good/{}.png", 4), *many("bad/{}.png", 2), *many("bad/{}_mask.png", 2)],
        {"parts": (4, {"bad": (2, 2)})},
        False,
    ),
    "masks in a folder of their own": Case(
        [*many("good/{}.png", 4), *many("bad/x{}.png", 3), *many("masks/x{}.png", 2)],
        {"parts": (4, {"bad": (3, 2)})},
        False,
    ),
    "masks by kind": Case(
        [*many("good/{}.png", 4), *many("scratch/{}.png", 2), *many("dent/{}.png", 2),
         *many("gt/scratch/{}.png", 2), *many("gt/dent/{}.png", 2)],
        {"parts": (4, {"scratch": (2, 2), "dent": (2, 2)})},
        False,
    ),
    "several masks of an image": Case(
        [*many("good/{}.png", 4), "bad/a.png", "masks/a_mask_1.png", "masks/a_mask_2.png"],
        {"parts": (4, {"bad": (1, 1)})},
        False,
    ),
    "negated": Case(
        [*many("not_ok/{}.png", 2), *many("defect-free/{}.png", 4)], {"parts": (4, {"not_ok": (2, 0)})}, True
    ),
    "other files and hidden ones": Case(
        [*many("good/{}.png", 4), "bad/0.png", ".cache/0.png"], {"parts": (4, {"bad": (1, 0)})}, True
    ),
}  # fmt: skip


def proposed(root: Path, links: Path) -> tuple[Proposal, bool]:
    found = recognise(root)
    direct = as_it_lies(found)
    if direct is not None:
        return direct, True
    arrange(found, links)
    return arranged(found, links), False


@pytest.mark.parametrize("name", CASES)
def test_what_is_found_is_what_a_layout_reads(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    root = tmp_path / "parts"
    images(root, *case.files)
    (root / "notes.txt").write_text("no image")
    found = recognise(root)
    said = {
        category.name: (
            len(category.good),
            {
                kind: (
                    sum(image.kind == kind for image in category.bad),
                    sum(bool(image.masks) for image in category.bad if image.kind == kind),
                )
                for kind in dict.fromkeys(image.kind for image in category.bad)
            },
        )
        for category in found.categories
    }
    assert {name: (good, dict(sorted(bad.items()))) for name, (good, bad) in said.items()} == {
        name: (good, dict(sorted(bad.items()))) for name, (good, bad) in case.expected.items()
    }
    proposal, direct = proposed(root, tmp_path / "links")
    assert direct == case.direct
    read = {}
    for category in proposal.names:
        opened = open_category(proposal.layout, proposal.root, category, own=proposal.own)
        defects = [sample for sample in opened.test if sample.label]
        read[category] = len(opened.samples) - len(defects), len(defects), sum(sample.masked for sample in defects)
        assert opened.train and any(not sample.label for sample in opened.test)
        for sample in opened.samples:
            opened.read_image(sample)
            opened.read_mask(sample)
    assert read == {
        name: (good, sum(count for count, _ in bad.values()), sum(masks for _, masks in bad.values()))
        for name, (good, bad) in case.expected.items()
    }


@pytest.mark.parametrize(
    ("layout", "make"),
    [
        ("mvtec", lambda root: folder_category(root, "bottle")),
        ("btad", lambda root: btad_category(root, "02", ".png", ".png")),
        ("mvtec3d", lambda root: mvtec3d_category(root, "bagel")),
    ],
)
@pytest.mark.parametrize("below", ["", "mvtec_anomaly_detection"])
def test_published_sets_are_known(tmp_path: Path, layout: str, make: Callable[[Path], Path], below: str) -> None:
    category = make(tmp_path / below)
    proposal = published(tmp_path)
    assert proposal is not None
    assert (proposal.layout, proposal.root, proposal.names) == (layout, tmp_path / below, [category.name])


@pytest.mark.parametrize("below", ["", "mvtec"])
def test_a_whole_set_is_known_beside_others(tmp_path: Path, below: str) -> None:
    for name in category_names("mvtec"):
        folder_category(tmp_path / below, name)
    folder_category(tmp_path, "my-part")
    (tmp_path / "notes").mkdir()
    proposal = published(tmp_path)
    assert proposal is not None and not proposal.categories and proposal.left_out == ("my-part",)


@pytest.mark.parametrize(("set_in", "other_in"), [("", ""), ("sets", ""), ("sets", "sets")])
def test_some_names_of_a_set_beside_others_are_somebodys_own(tmp_path: Path, set_in: str, other_in: str) -> None:
    folder_category(tmp_path / set_in, "screw")
    folder_category(tmp_path / other_in, "bolt")
    assert published(tmp_path) is None
    found = recognise(tmp_path)
    proposal = as_it_lies(found)
    assert len(found.categories) == 2 and (proposal is None or len(proposal.names) == 2)


def test_links_that_make_no_data_set_are_not_left(tmp_path: Path) -> None:
    root, links = tmp_path / "parts", tmp_path / "links"
    images(root, *many("{}_ok.png", 4), "0_ng.png")
    found = recognise(root)
    arrange(found, links)
    before = links.stat().st_ino
    for image_of in found.categories[0].good:
        image_of.path.unlink()
    found.categories[0].images = found.categories[0].bad
    with pytest.raises(DatasetError):
        arrange(found, links)
    assert links.stat().st_ino == before and sorted(path.name for path in tmp_path.iterdir()) == ["links", "parts"]


def test_own_images_are_no_published_set(tmp_path: Path) -> None:
    folder_category(tmp_path, "nut")
    assert published(tmp_path) is None


def test_names_given_go_before_names_read(tmp_path: Path) -> None:
    images(tmp_path, *many("a/{}.png", 3), *many("b/{}.png", 2), *many("good/{}.png", 2))
    found = recognise(tmp_path, good=["a"], bad=["b", "go*"])
    (category,) = found.categories
    assert len(category.good) == 3 and {image.kind for image in category.bad} == {"b", "good"}
    images(tmp_path / "flat", *many("L{}.png", 3), *many("R{}.png", 2))
    (flat,) = recognise(tmp_path / "flat", good=["L*"], bad=["R*"]).categories
    assert len(flat.good) == 3 and len(flat.bad) == 2


def test_folders_that_tell_nothing_are_asked_about(tmp_path: Path) -> None:
    images(tmp_path, *many("a/{}.png", 3), *many("b/{}.png", 2))
    with pytest.raises(
        DatasetError, match=r"nothing tells which of the folders a, b hold normal images.*--good a --bad b"
    ):
        recognise(tmp_path)


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    images(tmp_path, *many("good/{}.png", 3), "bad/0.png", "masks/other.png", "loose.png")
    assert recognise(tmp_path).described() == [
        f"{tmp_path.name}: 3 normal (good), 1 defective (bad), without masks",
        "left out: 1 image tells nothing by its name or folder: loose.png",
        "left out: 1 mask fits no image: masks/other.png",
    ]


@pytest.mark.parametrize("what", ["missing", "file", "empty"])
def test_no_folder_of_images(tmp_path: Path, what: str) -> None:
    place = tmp_path / what
    if what == "file":
        place.write_text("x")
    if what == "empty":
        place.mkdir()
    with pytest.raises(DatasetError, match=r"does not exist|is not a folder|holds no image"):
        recognise(place)


def test_links_replace_links_and_nothing_else(tmp_path: Path) -> None:
    root, links = tmp_path / "parts", tmp_path / "links"
    images(root, *many("{}_ok.png", 4), "0_ng.png")
    arrange(recognise(root), links)
    first = {path.name for path in links.rglob("*.png")}
    images(root, "1_ng.png")
    arrange(recognise(root), links)
    assert {path.name for path in links.rglob("*.png")} == first | {"1_ng.png"}
    assert all(path.is_symlink() for path in links.rglob("*.png"))
    (tmp_path / "mine").mkdir()
    with pytest.raises(DatasetError, match="is there already"):
        arrange(recognise(root), tmp_path / "mine")


def test_images_of_one_name_stay_apart(tmp_path: Path) -> None:
    root = tmp_path / "parts"
    images(
        root,
        *many("train/{}.png", 3),
        *many("test/ok/{}.png", 2),
        "test/bad/a.png",
        "test/bad/b/a.png",
        "test/bad/a.jpg",
    )
    found = recognise(root)
    arrange(found, tmp_path / "links")
    assert len({path.resolve() for path in (tmp_path / "links").rglob("*.*g")}) == 8


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("OK", True), ("NotOK", False), ("n.i.O.", False), ("i.O.", True), ("defect_free", True), ("no-defects", True),
        ("without scratches", True), ("IMG_0012", None), ("goodyear", None), ("Anomalies", False), ("cable_03", None),
    ],
)  # fmt: skip
def test_words(name: str, good: bool | None) -> None:
    assert says_good(name) is good


def test_words_of_masks() -> None:
    assert all(map(is_masks, ("ground_truth", "GroundTruth", "bad_masks", "gt", "Mask")))
    assert not any(map(is_masks, ("masking tape"[:7], "good", "tgt")))
    assert [unmasked(stem) for stem in ("a_mask", "a-mask_2", "mask_a", "a_gt", "a", "mask")] == [
        "a",
        "a",
        "a",
        "a",
        None,
        None,
    ]
