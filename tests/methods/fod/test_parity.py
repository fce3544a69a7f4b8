"""The network against numbers computed with the authors' code, through the same code that trains.

`FOD_PARITY_FIXTURES` may name a folder with further `*.npz` files of the same form and any sizes. `FOD_BENCH_CORRELATION` chooses
the implementation of the correlation operator, as for any run; without it they are taken in turn, but for triton's, which
takes several minutes where it is interpreted.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fod_bench.methods.fod.correlation import VARIABLE
from fod_bench.methods.fod.network import FODNetwork, NetworkShape, position_code
from fod_bench.methods.fod.score import image_scores, patch_scores, upsample, upsample_smoothed
from fod_bench.methods.fod.train import LevelTrainer, LossWeights, losses

VIEWS = ("patch", "intra", "inter", "full")


def _fixtures() -> list[Path]:
    paths = sorted((Path(__file__).parents[2] / "fixtures").glob("*.npz"))
    extra = os.environ.get("FOD_PARITY_FIXTURES")
    if extra:
        found = sorted(Path(extra).glob("*.npz"))
        assert found, f"FOD_PARITY_FIXTURES={extra}: no *.npz there"
        paths += found
    return paths


@pytest.fixture(
    autouse=True, params=[os.environ[VARIABLE]] if os.environ.get(VARIABLE) else ["plain", "tiled", "numba"]
)
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, request.param)


class Fixture:
    """One file: its arrays as tensors, its `meta`."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as arrays:
            self.arrays = {name: arrays[name] for name in arrays.files}
        self.meta: dict[str, Any] = json.loads(str(self.arrays.pop("meta")))
        self.reference = self["reference"][None]  # (1, N, C)
        self.weights = LossWeights(self.meta["lambda1"], self.meta["lambda2"])

    def __getitem__(self, name: str) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.arrays[name]))

    def under(self, prefix: str) -> dict[str, torch.Tensor]:
        return {name.removeprefix(prefix): self[name] for name in self.arrays if name.startswith(prefix)}

    def network(self, view: Any) -> FODNetwork:
        meta = self.meta
        shape = NetworkShape(
            meta["height"], meta["width"], meta["in_channels"], meta["d_model"], meta["heads"], meta["layers"], view
        )
        network = FODNetwork(shape)
        given = self.under(f"{view}/param/")
        network.load_state_dict({name: given[name] for name in network.state_dict()})
        return network


@pytest.fixture(scope="module", params=_fixtures(), ids=lambda path: path.stem)
def fixture(request: pytest.FixtureRequest) -> Fixture:
    return Fixture(request.param)


def close(actual: torch.Tensor, expected: torch.Tensor, relative: float = 1e-4) -> None:
    """Within `relative` of the tensor's own scale."""
    scale = float(expected.abs().max()) or 1.0
    assert actual.shape == expected.shape
    torch.testing.assert_close(actual.to(expected.dtype), expected, rtol=relative, atol=relative * scale * 1e-2)


def test_position_code(fixture: Fixture) -> None:
    meta = fixture.meta
    actual = position_code(meta["d_model"], meta["height"], meta["width"])
    torch.testing.assert_close(actual, fixture["position_embedding"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("view", VIEWS)
def test_output(fixture: Fixture, view: str) -> None:
    close(fixture.network(view)(fixture["x_train"], fixture.reference).reconstruction, fixture[f"{view}/output"])


@pytest.mark.parametrize("view", VIEWS)
def test_gradients_of_both_phases(fixture: Fixture, view: str) -> None:
    network = fixture.network(view)
    terms = losses(network(fixture["x_train"], fixture.reference), fixture["x_train"], fixture.weights)
    terms.total.backward()
    actual = {name: parameter.grad for name, parameter in network.named_parameters()}
    expected = fixture.under(f"{view}/grad/")
    assert {name for name, gradient in expected.items() if gradient.any()} <= set(actual)
    for name, gradient in actual.items():
        assert gradient is not None, name
        tolerance = 1e-6 + 1e-3 * float(expected[name].abs().max())
        assert float((gradient - expected[name]).abs().max()) <= tolerance, name


@pytest.mark.parametrize("view", VIEWS)
def test_steps(fixture: Fixture, view: str) -> None:
    trainer = LevelTrainer(fixture.network(view), fixture.weights, fixture.meta["lr"])
    rows = [trainer.step(fixture["x_train"], fixture.reference) for _ in range(fixture.meta["steps"])]
    columns = fixture.meta["views"][view]["history_columns"]
    names = {"phase1_loss": "phase1", "phase2_loss": "phase2"}
    actual = torch.tensor([[float(getattr(row, names.get(column, column))) for column in columns] for row in rows])
    torch.testing.assert_close(actual.double(), fixture[f"{view}/history"].double(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("view", VIEWS)
def test_scores(fixture: Fixture, view: str) -> None:
    with torch.inference_mode():
        parts = patch_scores(fixture.network(view)(fixture["x_test"], fixture.reference), fixture["x_test"])
    expected = fixture.under(f"{view}/score/")
    close(parts.score("rec" if view == "patch" else "rec_div"), expected.pop("final"))
    for name, value in expected.items():
        close(getattr(parts, name), value)


def test_maps_and_image_scores(fixture: Fixture) -> None:
    levels = [name for name in fixture.arrays if name.startswith("post/level")]
    if not levels:
        pytest.skip("this file holds no maps of levels")
    size = fixture["post/pixel_scores"].shape[-1]
    maps = torch.stack([upsample(fixture[name], size) for name in levels]).mean(0)
    close(maps, fixture["post/pixel_scores"])
    smoothed = torch.stack([upsample_smoothed(fixture[name], size) for name in levels]).mean(0)
    close(smoothed, fixture["post/smoothed"])
    close(image_scores(smoothed), fixture["post/image_scores"])
