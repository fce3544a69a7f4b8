"""Against numbers of the authors' code, through the code that trains and scores.

The source is timm's VGG-16 with the fixture's widths, its weights read from a file in torchvision's names.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm.models.vgg
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score

from fod_bench.features import network as timm_networks
from fod_bench.features import offered
from fod_bench.features.weights import Weights
from fod_bench.methods.maps import gaussian
from fod_bench.methods.mkd import saliency
from fod_bench.methods.mkd.loss import differences, total
from fod_bench.methods.mkd.method import MkdDetector, train_step
from fod_bench.methods.mkd.network import Cloner, Source, make_source
from fod_bench.methods.mkd.settings import MkdSettings
from tests.helpers.rival_fixtures import fixture_files, read_fixture

torch.set_num_threads(1)

LEVEL = {3: 4, 6: 8, 9: 16, 12: 32}
"""Place in the official lists of maps to stride."""


def blocks(widths: list[Any]) -> list[list[int]]:
    """[[4, 4], [4, 8], ...] of [4, 4, "M", 4, 8, "M", ...]."""
    found: list[list[int]] = [[]]
    for width in widths:
        if width == "M":
            found.append([])
        else:
            found[-1].append(width)
    return found[:-1]


class Fixture:
    """One file: its arrays as tensors, and the networks they were computed with."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.meta, self.arrays = read_fixture(path)
        self.settings = self.meta["settings"]
        self.weight: float = self.settings["lamda"]
        file = folder / "vgg16.safetensors"
        save_file(self.under("source."), file)
        self.source: Source = make_source(Weights("vgg16", "sha256:0", file, None), (4, 8, 16, 32), 128)

    def __getitem__(self, name: str) -> torch.Tensor:
        array = self.arrays[name]
        return torch.from_numpy(array.astype(np.float32) if array.dtype == np.float16 else array)

    def under(self, prefix: str) -> dict[str, torch.Tensor]:
        return {name.removeprefix(prefix): self[name] for name in self.arrays if name.startswith(prefix)}

    def maps(self, prefix: str) -> dict[int, torch.Tensor]:
        return {LEVEL[place]: self[f"{prefix}{place}"] for place in self.settings["critical_positions"]}

    def cloner(self) -> Cloner:
        widths = blocks(self.settings["cloner_widths"])
        made = Cloner(widths, (4, 8, 16, 32), linear=False, bias=self.settings["use_bias"])
        given = self.under("cloner.")
        missing = made.load_state_dict(given, strict=False)
        assert not missing.unexpected_keys
        assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
        return made

    def detector(self, localisation: str = "gradients", **changes: Any) -> MkdDetector:
        """As published: no normalisation of the input, σ = 4 (the images are smaller than 128 pixels)."""
        settings = MkdSettings.complete(
            {
                "backbone": "vgg16",
                "image_size": 128,
                "input_normalisation": "none",
                "localisation": localisation,
                "mse_weight": self.weight,
                "opening": False,
                **changes,
            }
        )
        assert settings.training()["map_sigma"] == 4
        assert settings.scored_levels == tuple(LEVEL[place] for place in self.settings["score_positions"])
        return MkdDetector(settings.training(), self.cloner(), self.source)


@pytest.fixture(scope="module", params=fixture_files("mkd"), ids=lambda path: path.stem)
def fixture(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fixture]:
    """The networks are made with the fixture's widths in place of VGG-16's; what is remembered of those is forgotten after."""
    widths = read_fixture(request.param)[0]["settings"]["source_widths"]
    remembered = (
        *(timm_networks.level_maps, timm_networks._outline_maps, timm_networks.offered_maps),
        *(offered._strides_from_timm, offered._problem_seen_by_timm),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(timm.models.vgg.cfgs, "vgg16", widths)
        for cache in remembered:
            cache.cache_clear()
        yield Fixture(request.param, tmp_path_factory.mktemp("weights"))
    for cache in remembered:
        cache.cache_clear()


def agree(ours: torch.Tensor, theirs: torch.Tensor | NDArray[Any], within: float = 1e-4) -> None:
    theirs = torch.as_tensor(theirs).double()
    assert ours.shape == theirs.shape
    difference = float((ours.detach().double() - theirs).abs().max() / theirs.abs().max())
    print(f"relative difference {difference:.1e}")
    assert difference <= within


@pytest.mark.parametrize("name", ["mse_direction", "direction_only"])
def test_losses_and_their_gradients_are_theirs(fixture: Fixture, name: str) -> None:
    cloned = {level: maps.clone().requires_grad_() for level, maps in fixture.maps("loss.pred.").items()}
    parts = differences(cloned, fixture.maps("loss.real."), list(cloned)).mean(1)
    loss = total(parts, fixture.weight if name == "mse_direction" else 0.0)
    loss.backward()
    agree(loss, fixture[f"loss.{name}"])
    for level, wanted in fixture.maps(f"loss.{name}.grad_pred.").items():
        agree(cloned[level].grad, wanted)


def test_both_networks_give_their_maps(fixture: Fixture) -> None:
    images = fixture["net.x"]
    with torch.no_grad():
        cloner, source = fixture.cloner().eval()(images), fixture.source(images)
    for level, wanted in fixture.maps("net.cloner_eval.").items():
        agree(cloner[level], wanted)
    for level, wanted in fixture.maps("net.source.").items():
        agree(source[level], wanted)


def test_the_cloner_has_their_layers(fixture: Fixture) -> None:
    cloner, values, shapes = fixture.cloner().eval(), fixture["net.x"], []
    for number, layer in enumerate(cloner.features):
        values = layer(values)
        if number % 3 == 2:
            shapes.append(list(values.shape))
    assert len(cloner.features) == 39
    assert shapes == fixture["net.shapes"].tolist()


@pytest.mark.parametrize("name", ["mse_direction", "direction_only"])
def test_scores_are_theirs(fixture: Fixture, name: str) -> None:
    detector = fixture.detector(**({"mse_weight": 0.0} if name == "direction_only" else {}))
    _, scores = detector.maps(fixture["net.x"])
    agree(scores, fixture[f"score.{name}"])


def test_gradients_and_maps_are_theirs(fixture: Fixture) -> None:
    detector, images = fixture.detector(), fixture["net.x"]
    gradient, _ = saliency.gradients(detector.scores, images)
    agree(gradient, fixture["grad.vanilla"])
    agree(detector.saliency(images)[0], fixture["grey.vanilla"])
    agree(detector.maps(images)[0], fixture["map.vanilla"])


def test_post_processing_alone_is_theirs(fixture: Fixture) -> None:
    grey = saliency.to_one_channel(fixture["post.grad"], scaled=True)
    agree(grey, fixture["post.grey"])
    agree(saliency.smoothed(grey, 4.0, opening=False), fixture["post.map"])


def test_smooth_grad_is_theirs(fixture: Fixture) -> None:
    detector, image = fixture.detector("smooth_grad"), fixture["net.x"][:1]
    deviation = saliency.noise_deviation(image, detector.noise)
    agree(deviation.sqrt()[0], fixture["smooth.sigma"])
    draws = [noise[0] / deviation for noise in fixture["smooth.noise"]]
    found = saliency.smooth_grad(detector.scores, image, detector.noise, draws, scaled=True)
    agree(found, fixture["smooth.saliency"])
    agree(gaussian(saliency.between_extremes(found), 4.0), fixture["smooth.map"])


def test_smooth_grad_of_a_detector_is_of_its_own_draws(fixture: Fixture) -> None:
    detector, image = fixture.detector("smooth_grad", smooth_grad_samples=2), fixture["net.x"][:1]
    draws = list(saliency.noise_draws(image.shape[1:], 2))
    expected = saliency.smooth_grad(detector.scores, image, 0.05, draws, scaled=True)
    agree(detector.maps(image)[0], gaussian(saliency.between_extremes(expected), 4.0), 1e-6)


def test_guided_backpropagation_is_theirs(fixture: Fixture) -> None:
    detector, images = fixture.detector("gbp"), fixture["net.x"]
    agree(detector.saliency(images)[0], fixture["gbp.grey"])
    agree(detector.maps(images)[0], fixture["gbp.map"])


def test_opened_maps_give_their_thresholded_ones_and_nearly_their_auroc(fixture: Fixture) -> None:
    mask = fixture["auc.mask"].numpy()
    opened = saliency.opened(fixture["auc.map"])
    for threshold in (0.3, 0.5):
        assert np.array_equal((opened >= threshold).numpy(), fixture[f"auc.opened.{threshold}"].numpy())
    exact = roc_auc_score(mask.ravel(), opened.numpy().ravel())
    agree(torch.tensor(exact, dtype=torch.float64), fixture["auc.exact_on_grey_opened_map"], 1e-9)
    found = [(opened >= number * 0.001).numpy() for number in range(1000)]
    hits = np.array([each[mask == 1].mean() for each in found])[::-1]
    false_alarms = np.array([each[mask == 0].mean() for each in found])[::-1]
    official = np.sum(np.diff(false_alarms) * (hits[1:] + hits[:-1]) / 2)
    agree(torch.tensor(official, dtype=torch.float64), fixture["auc.official"], 1e-6)
    assert abs(exact - official) < 1e-3


def digest(values: torch.Tensor) -> torch.Tensor:
    flat = values.detach().double().flatten()
    turned = flat * torch.arange(len(flat), dtype=torch.float64).cos()
    return torch.stack([flat.norm(), flat.abs().sum(), flat.sum(), turned.sum()])


def test_three_steps_of_training_are_theirs(fixture: Fixture) -> None:
    cloner, source = fixture.cloner().double(), deepcopy(fixture.source).double()
    images = fixture["net.x"].double()
    with torch.no_grad():
        wanted = source(images)
    adam = fixture.settings["adam"]
    optimizer = torch.optim.Adam(
        cloner.parameters(), adam["lr"], tuple(adam["betas"]), adam["eps"], adam["weight_decay"]
    )
    losses = []
    for step in range(4):
        before = {name: tensor.clone() for name, tensor in cloner.named_parameters()}
        losses.append(train_step(cloner, optimizer, images, wanted, fixture.weight)[0])
        if step == 0:
            for name, theirs in fixture.under("train.graddigest.").items():
                ours = digest(cloner.get_parameter(name).grad)
                assert torch.allclose(ours[:2], theirs[:2], rtol=1e-4, atol=0), name
                assert (ours[2:] - theirs[2:]).abs().max() <= 1e-4 * theirs[1], name
        if step == 3:  # the fourth is a pass only
            with torch.no_grad():
                for name, tensor in cloner.named_parameters():
                    tensor.copy_(before[name])
    agree(torch.stack(losses), fixture["train.losses"])
    with torch.no_grad():
        after = cloner.eval()(images)
    for level, theirs in fixture.maps("train.cloner_eval_after.").items():
        agree(after[level], theirs)
