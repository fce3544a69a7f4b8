"""Which images a gallery shows, that overlays lie where defects are, and how much room they take."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fod_bench.datasets import Resize
from fod_bench.evaluation.evaluate import Truth
from fod_bench.features.truth import TruthSet
from fod_bench.report.page.curves import histogram
from fod_bench.report.page.galleries import Gallery, Shown, choose, fill
from fod_bench.report.page.scored import Scored, SideShown, reduced
from fod_bench.report.page.thumbnails import SIDE, outline, overlay, thumbnail

SIZE = 64


def truth(normal: int = 6, defective: int = 8) -> TruthSet:
    """Squares at other places in every defective image."""
    labels = np.repeat(np.array([0, 1], np.uint8), [normal, defective])
    masks = np.zeros((len(labels), SIZE, SIZE), np.uint8)
    for number in range(normal, len(labels)):
        left = 4 * (number - normal)
        masks[number, left : left + 12, 40 - left : 52 - left] = 1
    names = [f"test/{'bad' if label else 'good'}/{number:02}.png" for number, label in enumerate(labels)]
    return TruthSet("t", Truth(labels, masks), {"images": names})


def shown(found: TruthSet, label: str = "row", seed: int = 0) -> Shown:
    """A row whose maps are the masks, and whose scores are drawn."""
    scores = np.random.default_rng(seed).random(len(found.truth.labels))
    side = SideShown(1, None, None, histogram(scores, found.truth.labels.astype(bool), 0, 1), "")
    scored = Scored(scores, 0.5, found.truth.masks * np.uint8(255), 0.0, 1.0, side, side, found)
    return Shown(label, (f"k{seed}",), "score", 3407, 1, scored)


def opened(content: bytes, mode: str = "RGBA") -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(content)).convert(mode))


def gallery(*rows: Shown, images: Any = "not here") -> Gallery:
    return Gallery(1, "mine", "nut", "", truth(), images, list(rows))


def test_the_worst_of_each_kind_come_first_and_none_twice() -> None:
    found = truth()
    row = shown(found)
    picks = choose(row.scored, found.truth.labels)
    scores, labels = row.scored.images, found.truth.labels
    by_score = sorted(range(len(scores)), key=lambda image: scores[image])
    misses = [image for image in by_score if labels[image]]
    alarms = [image for image in by_score[::-1] if not labels[image]]
    assert [pick.image for pick in picks if pick.group == "misses"] == misses[:4]
    assert [pick.image for pick in picks if pick.group == "alarms"] == alarms[:4]
    assert len({pick.image for pick in picks}) == len(picks) == 4 + 4 + 2 + 2
    assert picks[0].image == misses[0] and picks[1].image == alarms[0]
    assert all(labels[pick.image] == (pick.group in ("misses", "defects")) for pick in picks)


@pytest.mark.parametrize(("normal", "defective"), [(1, 1), (3, 0), (0, 2)])
def test_a_small_test_split_is_shown_whole(normal: int, defective: int) -> None:
    found = truth(normal, defective)
    assert len(choose(shown(found).scored, found.truth.labels)) == normal + defective


def test_a_map_and_an_outline_lie_where_the_mask_is() -> None:
    """By their pixels: nothing is shifted, turned or scaled otherwise than the image."""
    found = truth()
    for mask in found.truth.masks[6:]:
        inside = np.asarray(Image.fromarray(mask).resize((SIDE, SIDE), Image.Resampling.NEAREST)).astype(bool)
        traced = opened(outline(mask))
        filled = (traced[..., 3] > 0) & (traced[..., 1] > 200)
        assert (filled == inside).all()
        heat = np.asarray(Image.fromarray(opened(overlay(mask * np.uint8(255)))).resize((SIDE, SIDE)))[..., 3] > 128
        assert (heat & inside).sum() / (heat | inside).sum() > 0.9


@pytest.mark.parametrize("resize", [Resize(64), Resize(64, 64), Resize(64, 80)])
@pytest.mark.parametrize("size", [(200, 100), (90, 150), (64, 64)])
def test_a_thumbnail_shows_the_square_that_the_method_saw(resize: Resize, size: tuple[int, int]) -> None:
    across, up = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    image = Image.fromarray(np.stack([across, up, 0 * up], 2).astype(np.uint8))
    seen = opened(thumbnail(image, resize), "RGB").astype(int)
    square = np.asarray(resize.image(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(seen - square)[..., :2].mean() < 4


def test_maps_are_made_smaller_by_means() -> None:
    maps = np.zeros((1, 256, 256), np.float32)
    maps[0, :2, :2] = 4.0
    maps[0, 255, 255] = 4.0
    small = reduced(maps)
    assert small.shape == (1, 128, 128) and small[0, 0, 0] == 4.0 and small[0, 127, 127] == pytest.approx(1.0)
    assert reduced(maps[:, :100, :100]).shape == (1, 100, 100)


def test_images_stay_within_their_room_and_every_row_gets_its_worst_first() -> None:
    whole = gallery(*(shown(truth(), f"row {seed}", seed) for seed in range(3)))
    total = sum(len(content) for _, content in fill(whole, 10**9))
    assert all(len(row.maps) == len(whole.files) and not row.left_out for row in whole.rows), (
        "side by side, all of them"
    )
    room = total // 3
    small = gallery(*(shown(truth(), f"row {seed}", seed) for seed in range(3)))
    assert sum(len(content) for _, content in fill(small, room)) <= room
    for row in small.rows:
        assert row.picks and row.left_out
        assert [pick.group for pick in row.picks[:2]] == ["misses", "alarms"]
        assert row.picks == choose(row.scored, small.truth.truth.labels)[: len(row.picks)]
    none = gallery(shown(truth()))
    assert list(fill(none, 0)) == [] and none.rows[0].left_out == 12


def test_where_images_are_not_here_there_are_maps_and_outlines(tmp_path: Path) -> None:
    made = gallery(shown(truth()))
    names = [name for name, _ in fill(made, 10**9)]
    assert set(made.files.values()) == {""} and not any(name.endswith("/0.webp") for name in names)
    assert len(made.outlines) == sum(made.labels[image] for image in made.files)
    assert made.defect(0) == "normal" and made.defect(13) == "bad"
