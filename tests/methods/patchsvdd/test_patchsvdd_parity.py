"""PatchSVDD against numbers computed with the authors' code, through the same code that trains and scores.

`FOD_RIVAL_FIXTURES` may name a folder with further `patchsvdd*.npz` of the same form and any sizes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fod_bench.methods.base import Batch
from fod_bench.methods.patchsvdd.cost import PATCHES
from fod_bench.methods.patchsvdd.detector import PatchSvddDetector, bank_of, embeddings
from fod_bench.methods.patchsvdd.network import Networks, quadrants, side_by_side
from fod_bench.methods.patchsvdd.sampling import (
    Patches,
    mean_image,
    perturbed,
    position_pair,
    standardised,
    svdd_pair,
)
from fod_bench.methods.patchsvdd.score import score_maps, to_pixels
from fod_bench.methods.patchsvdd.search import Bank
from fod_bench.methods.patchsvdd.train import Trainer, losses
from tests.helpers.rival_fixtures import fixture_files, read_fixture

LARGEST_DRAWN = (190, 230)
"""Height and width of the image that `coords` is of."""


class Fixture:
    """One file: its settings, its arrays as tensors."""

    def __init__(self, path: Path) -> None:
        self.meta, self.arrays = read_fixture(path)

    def __getitem__(self, name: str) -> Tensor:
        array = self.arrays[name]
        return torch.from_numpy(array.astype(np.float32) if array.dtype == np.float16 else array)

    def networks(self) -> Networks:
        networks = Networks(self.meta["settings"]["D"])
        networks.load_state_dict({name: self[given] for name, given in names(networks).items()})
        return networks

    def patches(self) -> dict[int, Patches]:
        return {
            patch: Patches(
                (self[f"pos_{patch}.x1"], self[f"pos_{patch}.x2"]),
                self[f"pos_{patch}.y"],
                (self[f"svdd_{patch}.x1"], self[f"svdd_{patch}.x2"]),
            )
            for patch in PATCHES
        }

    def banks(self) -> tuple[Networks, Tensor, dict[int, Bank]]:
        networks, mean = self.networks(), mean_image(self["images.train"].numpy())
        return networks, mean, dict(bank_of(networks.encoder, self["images.train"], mean))

    def same(self, name: str, found: Tensor, tolerance: float = 1e-4) -> None:
        close(found, self[name], tolerance, name)


def names(networks: Networks) -> dict[str, str]:
    """Every array of the networks, and what the authors' code calls it."""
    found = {}
    for name in networks.state_dict():
        given = name.replace("encoder.join", "enc.conv1").replace("encoder.out", "enc.conv2")
        given = given.replace("classifiers.", "cls")
        for layer in range(8):
            given = given.replace(f"encoder.small.layers.{layer}.", f"enc.enc.conv{layer + 1}.")
        found[name] = given
    return found


def close(found: Tensor, expected: Tensor, tolerance: float, name: str) -> None:
    """max|a − b| ≤ tolerance · max|b|."""
    assert found.shape == expected.shape, name
    distance, scale = (found.double() - expected.double()).abs().max().item(), expected.double().abs().max().item()
    print(f"{name}: {distance / scale if scale else distance:.1e}")
    assert distance <= tolerance * scale, f"{name}: {distance / scale if scale else distance:.1e} of the largest"


def in_double(patches: Patches) -> Patches:
    position, svdd = ((first.double(), second.double()) for first, second in (patches.position, patches.svdd))
    return Patches(position, patches.label, svdd)


def digest(tensor: Tensor) -> NDArray[np.float64]:
    values = tensor.detach().double().flatten().numpy()
    cosines = np.cos(np.arange(len(values)))
    return np.array([np.sqrt((values**2).sum()), np.abs(values).sum(), values.sum(), (values * cosines).sum()])


def same_digest(name: str, found: Tensor, expected: NDArray[np.float64]) -> None:
    got = digest(found)
    relative = np.abs(got - expected) / [expected[0], expected[1], expected[1], expected[1]]
    print(f"{name}: {relative.max():.1e}")
    assert relative.max() <= 1e-4, f"{name}: {relative}"


@pytest.fixture(params=fixture_files("patchsvdd"), ids=lambda path: path.stem)
def fixture(request: pytest.FixtureRequest) -> Fixture:
    return Fixture(request.param)


@torch.no_grad()
def test_embeddings_and_logits(fixture: Fixture) -> None:
    networks, patches = fixture.networks(), fixture.patches()
    for number in (0, 1):
        large, small = networks.encoder(patches[64].position[number], patches[32].position[number])
        fixture.same(f"emb64.x{number + 1}", large[:, :, None, None])
        fixture.same(f"emb32.x{number + 1}", small[:, :, None, None])
    inner = networks.encoder.small(quadrants(patches[64].position[0]))
    fixture.same("emb32.quadrants", side_by_side(inner))
    for patch in PATCHES:
        pair = [fixture[f"emb{patch}.x{number}"].flatten(1) for number in (1, 2)]
        fixture.same(f"logits{patch}", networks.classifiers[str(patch)](*pair))


def test_gradients_of_the_first_step(fixture: Fixture) -> None:
    networks = fixture.networks()
    terms = losses(networks, fixture.patches(), fixture.meta["settings"]["lambda_value"])
    terms.total.backward()
    found = torch.stack([*terms[1:], terms[0]]).detach()
    close(found, fixture["train.losses"][0], 1e-5, "train.losses[0]")
    trained = dict(networks.named_parameters())
    expected = {name for name in fixture.arrays if name.startswith("train.graddigest.")}
    assert {f"train.graddigest.{names(networks)[name]}" for name in trained} == expected
    for name, parameter in trained.items():
        given = f"train.graddigest.{names(networks)[name]}"
        assert parameter.grad is not None
        same_digest(given, parameter.grad, fixture[given].numpy())


def test_losses_and_parameters_over_three_steps(fixture: Fixture) -> None:
    """In float64: in float32 the order of sums, which is another with other threads, moves the last losses by up to 3e-5."""
    settings, networks = fixture.meta["settings"], fixture.networks().double()
    patches = {patch: in_double(given) for patch, given in fixture.patches().items()}
    adam, weight = settings["adam"], settings["lambda_value"]
    trainer = Trainer(networks, adam["lr"], weight)
    made = trainer.optimizer.param_groups[0]
    assert (made["betas"], made["eps"], made["weight_decay"]) == (tuple(adam["betas"]), adam["eps"], 0)
    rows = [trainer.step(patches) for _ in range(3)]
    rows.append(losses(networks, patches, weight))
    # their order: both position losses, both SVDD losses, the total
    found = torch.stack([torch.stack([*row[1:], row[0]]).detach() for row in rows])
    close(found, fixture["train.losses"], 1e-5, "train.losses")
    after = networks.state_dict()
    for name, given in names(networks).items():
        same_digest(f"train.paramdigest.{given}", after[name], fixture[f"train.paramdigest.{given}"].numpy())
        if "fc3" in given:
            fixture.same(f"train.after.{given}", after[name])
        if given.endswith("fc3.weight"):
            assert torch.equal(after[name].float(), fixture[given]), "the last layer's weight is never trained"


@pytest.mark.parametrize("patch", PATCHES)
def test_corners_of_pairs(fixture: Fixture, patch: int) -> None:
    drawn, out = (fixture[f"coords.pos{patch}.{part}"].numpy() for part in ("draws", "out"))
    pair = position_pair(drawn[:, :2], drawn[:, 2], drawn[:, 3:5], patch, LARGEST_DRAWN)
    assert np.array_equal(np.concatenate([pair.first, pair.second, drawn[:, 2:3]], 1), out)
    drawn, out = (fixture[f"coords.svdd{patch}.{part}"].numpy() for part in ("draws", "out"))
    pair = svdd_pair(drawn[:, :2], drawn[:, 2:4], patch, LARGEST_DRAWN)
    assert np.array_equal(np.concatenate(pair, 1), out)


def test_perturbation(fixture: Fixture) -> None:
    for number in (1, 2):
        shift = fixture[f"perturb.shift{number}"].float().flatten()[None]
        clean, noise = (fixture[f"perturb.{part}{number}"][None] for part in ("clean", "noise"))
        fixture.same(f"perturb.out{number}", perturbed(clean, shift, noise)[0])


def test_standardised_images(fixture: Fixture) -> None:
    mean = mean_image(fixture["images.train"].numpy())
    found = standardised(fixture["images.test"], mean).permute(0, 2, 3, 1)[:, ::7, ::7]
    fixture.same("images.test_standardized", found)


@torch.no_grad()
def test_dense_embeddings(fixture: Fixture) -> None:
    networks, mean, _ = fixture.banks()
    for split in ("train", "test"):
        found = list(embeddings(networks.encoder, fixture[f"images.{split}"], mean))
        for patch in PATCHES:
            name = f"dense.{split}{patch}"
            fixture.same(name, torch.stack([each[patch] for each in found])[: len(fixture[name])])


@torch.no_grad()
def test_nearest_patches(fixture: Fixture) -> None:
    networks, mean, banks = fixture.banks()
    found = list(embeddings(networks.encoder, fixture["images.test"], mean))
    for patch, bank in banks.items():
        queries = torch.stack([each[patch] for each in found])  # (n, rows, columns, D)
        distances, numbers = bank.nearest(queries.flatten(0, 2))
        fixture.same(f"nn.map{patch}", distances.reshape(queries.shape[:3]))
        expected = fixture[f"nn.index{patch}"].long().flatten()
        for query, mine, theirs in zip(queries.flatten(0, 2) - bank.centre, numbers, expected, strict=True):
            if mine != theirs:
                tied = [float((query - bank.rows[row]).norm()) for row in (mine, theirs)]
                assert abs(tied[0] - tied[1]) < 1e-5


@torch.no_grad()
def test_maps_and_image_scores(fixture: Fixture) -> None:
    networks, mean, banks = fixture.banks()
    parts = PatchSvddDetector(networks.encoder, mean, lambda: banks).parts(Batch(images=fixture["images.test"]))
    for patch in PATCHES:
        fixture.same(f"nn.map{patch}", parts[f"patch{patch}"])
    height, width = fixture["images.test"].shape[1:3]
    found = {rule.removeprefix("patch"): made for rule, *made in score_maps(parts, (height, width))}
    assert found.keys() == {"64", "32", "sum", "mult"}
    for rule, (maps, images) in found.items():
        fixture.same(f"map.{rule}", maps)
        fixture.same(f"score.{rule}", images)


@pytest.mark.parametrize("patch", PATCHES)
def test_scores_spread_over_pixels(fixture: Fixture, patch: int) -> None:
    expected = fixture[f"distribute.{patch}.map"]
    scores = fixture[f"distribute.{patch}.scores"]
    fixture.same(f"distribute.{patch}.map", to_pixels(scores, patch, tuple(expected.shape[1:])))
    assert (expected == 0).any(), "some pixels have no patch"
