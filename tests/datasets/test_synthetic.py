"""The synthetic set: reproducible, the same at any size, with masks that are exactly what was changed."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from scipy import ndimage

from fod_bench.datasets import SyntheticSettings, category_names, check, open_category, write_synthetic
from fod_bench.datasets.synthetic.objects import BOARD, GAUGE, OBJECT_DEFECTS, TRAY, Blueprint, draw_object
from fod_bench.datasets.synthetic.textures import TEXTURE_DEFECTS, draw_texture, tiling, weave, wood
from fod_bench.errors import DatasetError

SMALL = SyntheticSettings(train=2, test_good=1, test_defect_per_type=1, size=64)


def test_categories_and_their_kinds_of_defect() -> None:
    names = category_names("synthetic")
    assert len(names) >= 6 and {"weave", "board", "tray"} == set(names[:3])
    for name in names:
        kinds = {s.defect.split("_")[0] for s in open_category("synthetic", None, name).test if s.label}
        assert kinds in ({"local", "global"}, {"local", "logical"})


def test_counts_follow_the_settings_and_limits() -> None:
    settings = SyntheticSettings(train=5, test_good=3, test_defect_per_type=2, size=64)
    category = open_category("synthetic", None, "weave", synthetic=settings)
    assert len(category.train) == 5 and len(category.test) == 3 + 2 * len(TEXTURE_DEFECTS)
    assert len({sample.name for sample in category.samples}) == len(category.samples)
    assert sum(sample.label for sample in category.test) == 2 * len(TEXTURE_DEFECTS)


@pytest.mark.parametrize("name", category_names("synthetic"))
def test_a_image_is_the_same_whenever_it_is_made(name: str) -> None:
    first = open_category("synthetic", None, name, synthetic=SMALL)
    second = open_category("synthetic", None, name, synthetic=SMALL.model_copy(update={"train": 9, "test_good": 4}))
    expected = {sample.name: np.asarray(first.read_image(sample)) for sample in first.samples}
    assert len({image.tobytes() for image in expected.values()}) == len(expected)
    for sample in reversed(second.samples):
        if sample.name in expected:
            assert np.array_equal(np.asarray(second.read_image(sample)), expected[sample.name])
    other = open_category("synthetic", None, name, synthetic=SMALL.model_copy(update={"seed": 1}))
    assert not np.array_equal(np.asarray(other.read_image(other.samples[0])), expected[other.samples[0].name])


@pytest.mark.parametrize("name", category_names("synthetic"))
@pytest.mark.parametrize("size", [64, 100, 256])
def test_images_and_masks_at_any_size(name: str, size: int) -> None:
    settings = SyntheticSettings(train=1, test_good=1, test_defect_per_type=1, size=size)
    category = open_category("synthetic", None, name, synthetic=settings)
    for sample in category.samples:
        image, mask = category.read_image(sample), category.read_mask(sample)
        assert image.mode == "RGB" and image.size == (size, size)
        if sample.label:
            assert mask is not None and mask.shape == (size, size) and mask.dtype == np.uint8
            assert 0.001 < mask.mean() < 0.3 and mask.max() == 1
        else:
            assert mask is None


@pytest.mark.parametrize("name", category_names("synthetic"))
def test_another_size_shows_the_same_content(name: str) -> None:
    def read(size: int) -> tuple[np.ndarray, np.ndarray]:
        settings = SyntheticSettings(train=1, test_good=1, test_defect_per_type=1, size=size)
        category = open_category("synthetic", None, name, synthetic=settings)
        sample = next(sample for sample in category.test if sample.label)
        mask = category.read_mask(sample)
        assert mask is not None
        shrunk = category.read_image(sample).resize((64, 64), Image.Resampling.BOX)
        return np.asarray(shrunk, dtype=float), np.asarray(Image.fromarray(mask * 255).resize((64, 64))) / 255

    small, small_mask = read(128)
    large, large_mask = read(512)
    assert np.abs(small - large).mean() < 4
    assert np.abs(small_mask - large_mask).mean() < 0.01


def _twins(name: str, defect: str, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A defective scene, the same scene without its defect, and the mask."""
    sources = {"weave": weave, "tiling": tiling, "wood": wood, "board": BOARD, "tray": TRAY, "gauge": GAUGE}
    source = sources[name]

    def draw(kind: str) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([index, zlib.crc32(defect.encode())])
        if isinstance(source, Blueprint):
            return draw_object(source, rng, kind, 128)
        return draw_texture(source, rng, kind, 128)

    (broken, mask), (sound, nothing) = draw(defect), draw("good")
    assert not nothing.any()
    return broken, sound, mask


CASES = [(name, defect) for name in ("weave", "tiling", "wood") for defect in TEXTURE_DEFECTS]
CASES += [(name, defect) for name in ("board", "tray", "gauge") for defect in OBJECT_DEFECTS]


@pytest.mark.parametrize(("name", "defect"), CASES)
def test_masks_are_what_was_changed(name: str, defect: str) -> None:
    for index in range(4):
        broken, sound, mask = _twins(name, defect, index)
        change = np.abs(broken - sound).max(axis=-1)
        # Outside there is nothing but smooth edges and, by a part that moved, its shadow.
        reach = 4 if defect.startswith("logical_") else 1
        outside = ~ndimage.binary_dilation(mask, np.ones((3, 3)), iterations=reach)
        assert change[outside].max() < 6
        assert change[mask].mean() > 12, "a defect that nobody would see"
        if defect.startswith("local_"):
            assert (change[mask] > 6).mean() > 0.8


def test_normal_images_vary_little_and_defects_stand_out() -> None:
    for name in category_names("synthetic"):
        if name in ("board", "tray", "gauge"):  # textures have no fixed places to compare
            category = open_category("synthetic", None, name, synthetic=SyntheticSettings(train=8, size=128))
            stack = np.stack([np.asarray(category.read_image(sample), dtype=float) for sample in category.train])
            spread = stack.std(axis=0).mean()
            assert 0.5 < spread < 8


def test_fingerprint_follows_settings_category_and_limit() -> None:
    def fingerprint(name: str = "weave", **changes: int) -> str:
        return open_category("synthetic", None, name, synthetic=SMALL.model_copy(update=changes)).fingerprint()

    values = [fingerprint(), fingerprint("wood"), fingerprint(seed=1), fingerprint(size=65), fingerprint(train=3)]
    assert len(set(values)) == len(values) and fingerprint() == values[0]


def test_settings_refuse_what_makes_no_sense() -> None:
    for wrong in ({"train": 0}, {"size": 8}, {"size": 5000}, {"seed": -1}, {"colour": 1}, {"test_good": -1}):
        with pytest.raises(ValidationError):
            SyntheticSettings.model_validate(wrong)
    assert SyntheticSettings().model_dump() == {
        "train": 48, "test_good": 16, "test_defect_per_type": 8, "size": 256, "seed": 0
    }  # fmt: skip


def test_unknown_category_names_the_nearest() -> None:
    with pytest.raises(DatasetError, match="did you mean 'weave'"):
        open_category("synthetic", None, "weeve")


def test_written_set_is_sound_and_reads_back_the_same(tmp_path: Path) -> None:
    root = tmp_path / "new" / "set"
    write_synthetic(root, SMALL, ["weave", "tray"])
    assert sorted(path.name for path in root.iterdir()) == ["tray", "weave"]
    assert check("folder", root) == []
    for name in ("weave", "tray"):
        drawn = open_category("synthetic", None, name, synthetic=SMALL)
        stored = open_category("folder", root, name)
        assert stored.samples == drawn.samples
        for sample in drawn.samples:
            assert np.array_equal(np.asarray(stored.read_image(sample)), np.asarray(drawn.read_image(sample)))
            if sample.label:
                assert np.array_equal(stored.read_mask(sample), drawn.read_mask(sample))


def test_writing_refuses_a_folder_in_use_and_a_wrong_name(tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used/mine.txt").write_text("keep")
    for target in (tmp_path / "used", tmp_path / "used/mine.txt"):
        with pytest.raises(DatasetError, match="not an empty folder"):
            write_synthetic(target, SMALL, ["weave"])
    with pytest.raises(DatasetError, match="did you mean 'tray'"):
        write_synthetic(tmp_path / "new", SMALL, ["weave", "trey"])
    assert not (tmp_path / "new").exists() and [p.name for p in (tmp_path / "used").iterdir()] == ["mine.txt"]


def test_a_category_that_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = Image.Image.save
    count = 0

    def full_disk(self: Image.Image, *arguments: object, **options: object) -> None:
        nonlocal count
        count += 1
        if count > 12:
            raise OSError(28, "No space left on device")
        saved(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "save", full_disk)
    settings = SyntheticSettings(train=5, test_good=1, test_defect_per_type=1, size=64)
    with pytest.raises(DatasetError, match="No space left"):
        write_synthetic(tmp_path / "set", settings, ["weave", "wood"])
    assert list((tmp_path / "set").iterdir()) == []
