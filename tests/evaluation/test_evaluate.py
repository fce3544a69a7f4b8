"""From score maps to metrics: every scoring by itself, and what a test split leaves undefined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from fod_bench.evaluation.evaluate import Truth, evaluate
from fod_bench.evaluation.maps import ScoreMaps
from fod_bench.evaluation.metric import METRICS
from fod_bench.evaluation.on_device import metrics_of_row, pixel_row
from fod_bench.evaluation.ranking import NonFiniteScoresError, aupro, f1_max, pixel_metrics
from tests.helpers.trial_builders import DEVICE

LABELS = np.array([0, 0, 1, 1, 1], np.uint8)
MASKS = np.zeros((5, 16, 16), np.uint8)
MASKS[2:, 4:9, 3:7] = 1


def scoring(name: str, seed: int, images: int = 5) -> ScoreMaps:
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(images, 16, 16)).astype(np.float32) + MASKS[:images]
    return ScoreMaps(name, torch.from_numpy(maps), torch.from_numpy(rng.normal(size=images).astype(np.float32)))


def test_every_scoring_gets_every_metric() -> None:
    given = [scoring("rec@8", 1), scoring("rec_div@8", 2)]
    found, undefined = evaluate(iter(given), Truth(LABELS, MASKS))
    assert list(found) == ["rec@8", "rec_div@8"] and undefined == {}
    for maps in given:
        values, images, pixels = found[maps.score], maps.images.numpy(), maps.pixels.numpy()
        assert tuple(values) == tuple(METRICS)
        assert values["image_auroc"] == pytest.approx(roc_auc_score(LABELS, images))
        assert values["pixel_auroc"] == pytest.approx(roc_auc_score(MASKS.ravel(), pixels.ravel()))
        assert values["pixel_aupro"] == aupro(pixels, MASKS)
        assert values["image_f1_max"] == f1_max(images, LABELS)
        assert values["pixel_f1_max"] == f1_max(pixels, MASKS)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_scorings_side_by_side_get_what_they_get_one_after_the_other(count: int) -> None:
    given = [scoring(f"rec@{seed}", seed) for seed in range(count)]
    expected = [evaluate([one], Truth(LABELS, MASKS))[0] for one in given]
    torch.set_num_threads(2)
    try:
        found, undefined = evaluate(iter(given), Truth(LABELS, MASKS))
        given[-1].pixels[0, 0, 0] = np.nan
        with pytest.raises(NonFiniteScoresError):
            evaluate(iter(given), Truth(LABELS, MASKS))
    finally:
        torch.set_num_threads(1)
    assert undefined == {} and found == {name: values for one in expected for name, values in one.items()}
    assert list(found) == [one.score for one in given]


@pytest.mark.parametrize(
    ("chosen", "reasons"),
    [
        (
            slice(0, 2),
            {"image": "no defect in the test split: no image", "pixel": "no defect in the test split: no pixel"},
        ),
        (slice(2, 5), {"image": "no normal image in the test split"}),
    ],
    ids=["no defect", "no good image"],
)
def test_a_class_that_is_missing_leaves_its_metrics_undefined(chosen: slice, reasons: dict[str, str]) -> None:
    labels, masks = LABELS[chosen], MASKS[chosen]
    found, undefined = evaluate(
        [scoring("rec@8", 1, len(labels)), scoring("div@8", 2, len(labels))], Truth(labels, masks)
    )
    for name in METRICS:
        reason = reasons.get(name.split("_")[0])
        assert (name in undefined) == (reason is not None)
        if reason is not None:
            assert undefined[name].startswith(reason)
        assert all((values[name] is None) == (reason is not None) for values in found.values())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_an_error_even_where_nothing_is_defined(value: float) -> None:
    broken = scoring("rec@8", 1)
    broken.pixels[1, 2, 3] = value
    with pytest.raises(NonFiniteScoresError, match="1 of 1280 pixel scores are not finite"):
        evaluate([broken], Truth(LABELS, MASKS))
    with pytest.raises(NonFiniteScoresError, match="1 of 5 image scores are not finite"):
        evaluate([broken._replace(images=torch.tensor([0, 0, 0, 0, value]))], Truth(np.zeros(5, np.uint8), MASKS))


WITHOUT_MASK = np.array([True, True, True, False, True])
NO_MASKS = np.array([True, True, False, False, False])


@pytest.mark.parametrize("elsewhere_too", [False, True], ids=["host", "device"])
def test_images_without_a_mask_are_left_out_of_pixel_metrics_only(
    elsewhere_too: bool, elsewhere: Callable[[ScoreMaps], ScoreMaps]
) -> None:
    given = scoring("rec@8", 1)
    expected, _ = evaluate([given], Truth(LABELS, MASKS))
    chosen = ScoreMaps("rec@8", given.pixels[WITHOUT_MASK], given.images[WITHOUT_MASK])
    pixels, _ = evaluate([chosen], Truth(LABELS[WITHOUT_MASK], MASKS[WITHOUT_MASK]))
    truth = Truth(LABELS, MASKS[WITHOUT_MASK], WITHOUT_MASK)
    found, undefined = evaluate([elsewhere(given) if elsewhere_too else given], truth)
    assert undefined == {}
    for name, value in found["rec@8"].items():
        wanted = (expected if name.startswith("image_") else pixels)["rec@8"][name]
        assert value == pytest.approx(wanted, rel=1e-13)


@pytest.mark.parametrize("goods", [2, 0], ids=["beside normal ones", "nothing but defects"])
@pytest.mark.parametrize("elsewhere_too", [False, True], ids=["host", "device"])
def test_without_masks_pixel_metrics_are_undefined_for_that_reason(
    goods: int, elsewhere_too: bool, elsewhere: Callable[[ScoreMaps], ScoreMaps]
) -> None:
    given, kept = scoring("rec@8", 1), slice(2 - goods, 5)
    given = ScoreMaps("rec@8", given.pixels[kept], given.images[kept])
    truth = Truth(LABELS[kept], np.zeros((goods, 16, 16), np.uint8), NO_MASKS[kept])
    found, undefined = evaluate([elsewhere(given) if elsewhere_too else given], truth)
    reasons = {undefined[name] for name in METRICS if name.startswith("pixel_")}
    assert reasons == {"data set has no masks: none of the 3 defective test images has one"}
    assert (found["rec@8"]["image_auroc"] is None) == (goods == 0) and found["rec@8"]["pixel_auroc"] is None


def test_masks_without_a_pixel_have_a_reason_of_their_own() -> None:
    _, undefined = evaluate([scoring("rec@8", 1)], Truth(LABELS, np.zeros_like(MASKS)))
    assert undefined["pixel_auroc"] == "no mask marks a pixel at 16×16: every defect vanishes at this image size"


def test_nothing_to_score_gives_nothing() -> None:
    assert evaluate([], Truth(LABELS, MASKS)) == ({}, {})


@pytest.mark.gpu
@pytest.mark.parametrize("levels", [None, 7], ids=["no ties", "many ties"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.9, 1.0], ids="{:.0%} of the defect above the rest".format)
def test_metrics_on_a_device_are_numpys(levels: int | None, share: float) -> None:
    rng = np.random.default_rng(3)
    maps = rng.normal(size=(5, 16, 16)).astype(np.float32)
    maps[(MASKS > 0) & (rng.random(maps.shape) < share)] += 4
    if levels is not None:
        maps = np.round(maps * levels) / levels  # zeros of both signs among them
    truth = Truth(LABELS, MASKS)
    row = pixel_row(torch.from_numpy(maps).to(DEVICE), truth.on_device(DEVICE))
    found, expected = metrics_of_row(row.tolist()), pixel_metrics(maps, MASKS)
    assert found["pixel_auroc"] == expected["pixel_auroc"] and found["pixel_f1_max"] == expected["pixel_f1_max"]
    assert found["pixel_aupro"] == pytest.approx(expected["pixel_aupro"], rel=1e-13, abs=1e-13)


class Elsewhere:
    """Maps that say they are not a CPU's; all else is a tensor's."""

    device = torch.device("meta")

    def __init__(self, pixels: torch.Tensor) -> None:
        self.pixels = pixels

    def __getattr__(self, name: str) -> Any:
        return getattr(self.pixels, name)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable[[ScoreMaps], ScoreMaps]:
    """Makes scorings go the way of a device's."""
    on_device = Truth.on_device
    monkeypatch.setattr(Truth, "on_device", lambda truth, _: on_device(truth, torch.device("cpu")))

    def moved(given: ScoreMaps) -> ScoreMaps:
        return given._replace(pixels=Elsewhere(given.pixels))  # type: ignore[arg-type]

    return moved


def test_scorings_of_a_device_are_evaluated_as_others(elsewhere: Callable[[ScoreMaps], ScoreMaps]) -> None:
    given = [scoring(name, seed) for seed, name in enumerate(("rec@8", "rec@16", "rec_div@8+16"))]
    found, undefined = evaluate(map(elsewhere, given), Truth(LABELS, MASKS))
    expected, _ = evaluate(given, Truth(LABELS, MASKS))
    assert list(found) == list(expected) and undefined == {}
    for score, values in expected.items():
        assert found[score] == pytest.approx(values, rel=1e-13)


@pytest.mark.parametrize("chosen", [slice(0, 2), slice(2, 5)], ids=["no defect", "no good image"])
def test_on_a_device_too_a_missing_class_is_told(chosen: slice, elsewhere: Callable[[ScoreMaps], ScoreMaps]) -> None:
    labels, masks = LABELS[chosen], MASKS[chosen]
    given = scoring("rec@8", 1, len(labels))
    found, expected = (evaluate([each], Truth(labels, masks)) for each in (elsewhere(given), given))
    assert found[1] == expected[1] != {}
    for name, value in expected[0]["rec@8"].items():
        assert found[0]["rec@8"][name] == (None if value is None else pytest.approx(value, rel=1e-13))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_on_a_device_too_a_score_that_is_not_finite_is_an_error(
    value: float, elsewhere: Callable[[ScoreMaps], ScoreMaps]
) -> None:
    broken = scoring("rec@8", 1)
    broken.pixels[1, 2, 3] = value
    with pytest.raises(NonFiniteScoresError, match="1 of 1280 pixel scores are not finite"):
        evaluate([elsewhere(scoring("div@8", 2)), elsewhere(broken)], Truth(LABELS, MASKS))
