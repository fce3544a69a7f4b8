"""PaDiM against numbers of the published code it is measured against, through the method that fits and scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fod_bench.methods.base import Context, Split
from fod_bench.methods.padim.gaussian import RIDGE, kept_channels, unpacked, vectors
from fod_bench.methods.padim.method import PadimMethod
from fod_bench.records.checkpoints import State
from tests.helpers.rival_fixtures import fixture_files, read_fixture

CPU = torch.device("cpu")
BOUND = 1e-4


class Fitted:
    """One file, and the method fitted to its training features."""

    def __init__(self, path: Path) -> None:
        self.meta, self.arrays = read_fixture(path)
        about = self.meta["settings"]
        self.numbers = range(len(about["levels"]))
        self.setting = {
            "method": "padim",
            "levels": [8 << number for number in self.numbers],
            "image_size": about["map_size"],
            "channels": about["kept_channels"],
            "channels_seed": about["sample_seed"],
        }
        context = Context(about["map_size"])
        method = PadimMethod(self.setting, self.split("train"), context, 0, CPU)
        for step in range(method.steps_per_epoch):
            method.step(0, step)
        self.weights: State = method.weights()
        self.parts = method.detector().parts(self.split("test").batch(slice(None), CPU))
        self.scores = next(method.scorings(self.setting, self.parts, about["map_size"]))

    def split(self, name: str) -> Split:
        found = {8 << number: self.arrays[f"{name}/level{number}"].transpose(0, 2, 3, 1) for number in self.numbers}
        return Split(unpooled={level: np.ascontiguousarray(array) for level, array in found.items()})

    def factors(self) -> torch.Tensor:
        """In float64, of the positions that the file has covariances of: (positions, d, d)."""
        factor = unpacked(torch.from_numpy(self.weights["factor"]), self.setting["channels"])
        return factor[torch.from_numpy(self.arrays["positions"])].double()


@pytest.fixture(scope="module", params=fixture_files("padim"), ids=lambda path: path.stem)
def fitted(request: pytest.FixtureRequest) -> Fitted:
    return Fitted(request.param)


def near(found: Any, expected: NDArray[Any]) -> None:
    found = np.asarray(found)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= BOUND * np.abs(expected).max()


def test_the_same_channels_are_kept(fitted: Fitted) -> None:
    assert fitted.weights["channels"].tolist() == fitted.arrays["channels"].tolist()
    for name, expected in fitted.arrays.items():
        if name.startswith("channels_of_the_code/"):
            total, keep = map(int, name.rpartition("/")[2].split("_"))
            assert kept_channels(total, keep, 1024) == expected.tolist()


@pytest.mark.parametrize(("split", "which", "image"), [("train", "first", slice(1)), ("test", "last", slice(-1, None))])
def test_levels_are_laid_over_the_finest(fitted: Fitted, split: str, which: str, image: slice) -> None:
    levels = fitted.split(split).batch(image, CPU).unpooled
    expected = fitted.arrays[f"embed/{split}_{which}_image"]  # (T, H, W)
    every = torch.arange(len(expected))
    made = vectors(levels, every, torch.arange(expected[0].size))  # (1, P, T)
    assert np.array_equal(made[0].T.reshape(expected.shape).numpy(), expected)


def test_means(fitted: Fitted) -> None:
    near(fitted.weights["mean"].T, fitted.arrays["mean"])


def test_covariances(fitted: Fitted) -> None:
    assert fitted.meta["settings"]["ridge"] == RIDGE
    factor = fitted.factors()
    near(factor @ factor.mT, fitted.arrays["covariance"])


def test_inverse_covariances(fitted: Fitted) -> None:
    near(torch.cholesky_inverse(fitted.factors()), fitted.arrays["inverse_covariance"])


def test_distances(fitted: Fitted) -> None:
    near(fitted.parts["distance"], fitted.arrays["distance"])


def test_maps(fitted: Fitted) -> None:
    near(fitted.scores.pixels, fitted.arrays["map"])


def test_maps_before_the_blur(fitted: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fod_bench.methods.padim.method.gaussian", lambda maps, sigma: maps)
    size = fitted.setting["image_size"]
    [scores] = PadimMethod.scorings(fitted.setting, fitted.parts, size)
    near(scores.pixels, fitted.arrays["upsampled"])


def test_image_scores(fitted: Fitted) -> None:
    near(fitted.scores.images, fitted.arrays["image"])


def test_published_scores_are_these_after_one_shift_and_one_scale(fitted: Fitted) -> None:
    least, most = fitted.scores.pixels.min(), fitted.scores.pixels.max()
    near((fitted.scores.pixels - least) / (most - least), fitted.arrays["map_normalised"])
    near((fitted.scores.images - least) / (most - least), fitted.arrays["image_normalised"])
