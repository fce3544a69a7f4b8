"""What DRAEM is trained on: samples, and the textures in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fod_bench.errors import DatasetError, TrialError
from fod_bench.methods.draem import samples
from fod_bench.methods.draem.augmenters import AUGMENTERS, augmented
from fod_bench.methods.draem.patterns import PATTERNS, pattern_texture
from fod_bench.methods.draem.samples import Sampler, anomaly_noise
from fod_bench.methods.draem.texture_folder import folder_digest, texture_files
from fod_bench.methods.draem.textures import DrawnTextures, FolderTextures, shuffled_pieces, textures_of

SIDE = 64


class Plain:
    """A texture of one value."""

    def texture(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        return np.full((SIDE, SIDE, 3), 255, np.uint8)


def noisy(count: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def test_a_sample_is_made_of_seed_epoch_and_number_alone() -> None:
    images = noisy()
    sampler = Sampler(images, DrawnTextures(images), 3)
    first = [sampler.sample(2, number) for number in range(6)]
    again = Sampler(images, DrawnTextures(images), 3)
    for number in (5, 0, 3):
        for mine, same in zip(first[number], again.sample(2, number), strict=True):
            assert np.array_equal(mine, same)
    for seed, epoch, number in ((4, 2, 0), (3, 1, 0), (3, 2, 1)):
        other = Sampler(images, DrawnTextures(images), seed).sample(epoch, number)
        assert not np.array_equal(other.clean, first[0].clean) or not np.array_equal(
            other.augmented, first[0].augmented
        )


def test_samples_are_as_often_clean_or_turned_as_published() -> None:
    images = np.full((4, SIDE, SIDE, 3), 100, np.uint8)
    images[:, 0, 0] = 10, 20, 30
    images += np.arange(4, dtype=np.uint8)[:, None, None, None]
    made = [Sampler(images, Plain(), 0).sample(0, number) for number in range(600)]
    anomalous = np.array([sample.mask.any() for sample in made])
    assert 0.42 < anomalous.mean() < 0.54  # a half, less the noises that stay below the threshold
    for sample, has in zip(made, anomalous, strict=True):
        outside = sample.mask == 0
        assert np.array_equal(sample.augmented[outside], sample.clean[outside])
        assert has or np.array_equal(sample.augmented, sample.clean)
    turned = np.array([sample.clean[0, 0, 0] == 0 for sample in made])  # black in the corner
    assert 0.24 < turned.mean() < 0.36
    drawn = np.array([round(float(sample.clean[SIDE // 2, SIDE // 2, 0]) * 255) - 100 for sample in made])
    assert np.bincount(drawn, minlength=4).min() > 110, "every image is drawn"
    sizes = np.array([sample.mask.mean() for sample in made])[anomalous]
    assert 0.03 < sizes.mean() < 0.07


def test_the_texture_has_a_weight_between_a_fifth_and_one() -> None:
    images = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    sampler = Sampler(images, Plain(), 0)
    weights = np.array([sampler.sample(1, number).augmented.max() for number in range(400)])
    weights = weights[weights > 0]
    assert 0.2 < weights.min() < 0.25 and 0.95 < weights.max() <= 1


def test_nothing_is_drawn_for_a_clean_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    real = samples.anomaly_noise
    monkeypatch.setattr(samples, "anomaly_noise", lambda rng, size: made.append(size) or real(rng, size))
    anomalous = [Sampler(noisy(), Plain(), 0).sample(0, number) for number in range(200)]
    with_noise = len(made)
    assert 75 < with_noise < 125
    assert sum(bool(sample.mask.any()) for sample in anomalous) <= with_noise


def test_noise_has_cells_of_every_size_along_each_axis_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[tuple[int, ...]] = set()
    real = samples.perlin
    monkeypatch.setattr(samples, "perlin", lambda h, w, turns: seen.add(turns.shape) or real(h, w, turns))
    for seed in range(300):
        anomaly_noise(np.random.default_rng(seed), SIDE)
    assert seen == {(rows + 1, columns + 1) for rows in samples.SCALES for columns in samples.SCALES}


def test_drawn_textures_are_patterns_and_pieces_of_training_images() -> None:
    textures = DrawnTextures(noisy(1))
    found = [textures.texture(np.random.default_rng(seed)) for seed in range(60)]
    assert all(each.shape == (SIDE, SIDE, 3) and each.dtype == np.uint8 for each in found)
    assert len({each.tobytes() for each in found}) > 55
    image = noisy(1)[0]
    pieces = shuffled_pieces(np.random.default_rng(0), image)
    side = SIDE // 8

    def cut(of: NDArray[np.uint8]) -> list[bytes]:
        return [of[y : y + side, x : x + side].tobytes() for y in range(0, SIDE, side) for x in range(0, SIDE, side)]

    assert cut(pieces) != cut(image) and sorted(cut(pieces)) == sorted(cut(image))


def test_every_pattern_and_augmenter_works_at_any_size() -> None:
    for size in (32, 96):
        for number, pattern in enumerate(PATTERNS):
            for seed in range(3):
                values = pattern(np.random.default_rng(seed), size)
                assert values.shape == (size, size) and np.isfinite(values).all(), number
        texture = pattern_texture(np.random.default_rng(1), size)
        assert texture.std() > 1
        for augmenter in AUGMENTERS:
            given = Image.fromarray(texture)
            out = augmenter(np.random.default_rng(2), given)
            assert out.size == (size, size) and out.mode == "RGB"
            assert np.array_equal(np.asarray(given), texture), "what is given is left as it is"
    assert len(AUGMENTERS) == 10


def test_three_different_augmenters_are_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(20):
        applied: list[int] = []

        def recording(number: int, applied: list[int] = applied) -> object:
            return lambda rng, image: applied.append(number) or image

        recorded = tuple(recording(number) for number in range(10))
        monkeypatch.setattr("fod_bench.methods.draem.augmenters.AUGMENTERS", recorded)
        augmented(np.random.default_rng(seed), noisy(1)[0])
        assert len(applied) == len(set(applied)) == 3


def folder(root: Path) -> Path:
    """Two images in folders of their own and one beside them, of other sizes than the training images."""
    place = root / "textures"
    for name, value in (("b/one.png", 10), ("a/two.jpg", 200), ("three.PNG", 90)):
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (50, 30), (value, value, 0)).save(path)
    (place / "a/notes.txt").write_text("no image")
    return place


def test_a_folder_gives_its_images(tmp_path: Path) -> None:
    place = folder(tmp_path)
    assert [path.relative_to(place).as_posix() for path in texture_files(place)] == [
        "a/two.jpg",
        "b/one.png",
        "three.PNG",
    ]
    setting = {"folder": str(place), "digest": folder_digest(place)}
    textures = textures_of(setting, noisy())
    found = [textures.texture(np.random.default_rng(seed)) for seed in range(10)]
    assert all(each.shape == (SIDE, SIDE, 3) for each in found) and len({each.tobytes() for each in found}) > 3


def test_a_folders_digest_is_of_names_and_contents(tmp_path: Path) -> None:
    place = folder(tmp_path)
    before = folder_digest(place)
    (tmp_path / "elsewhere").mkdir()
    place.rename(tmp_path / "elsewhere/moved")
    place = tmp_path / "elsewhere/moved"
    assert folder_digest(place) == before and len(before) == 16
    (place / "a/notes.txt").write_text("other words")
    assert folder_digest(place) == before, "only images count"
    (place / "three.PNG").rename(place / "four.png")
    renamed = folder_digest(place)
    Image.new("RGB", (50, 30), (91, 90, 0)).save(place / "four.png")
    assert len({before, renamed, folder_digest(place)}) == 3


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"there is no folder .*absent"):
        folder_digest(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"no images \(png, .* in folder .*empty"):
        texture_files(tmp_path / "empty")
    with pytest.raises(TrialError, match=r"there is no folder .*absent"):
        FolderTextures(str(tmp_path / "absent"), "0" * 16, SIDE)
    place = folder(tmp_path)
    with pytest.raises(TrialError, match=f"{place} have the digest {folder_digest(place)}, not `textures_digest: 0000"):
        FolderTextures(str(place), "0" * 16, SIDE)
    (place / "a/two.jpg").write_bytes(b"no image")
    textures = FolderTextures(str(place), folder_digest(place), SIDE)
    with pytest.raises(TrialError, match=r"a/two\.jpg cannot be read"):
        for seed in range(20):
            textures.texture(np.random.default_rng(seed))
