"""The encoder, the classifiers and the losses against plain versions of themselves."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fod_bench.methods.patchsvdd.cost import (
    CHANNELS,
    PATCHES,
    STRIDES,
    bank_bytes,
    image_flops,
    patches_of_image,
    sample_bytes,
    sample_flops,
    search_flops,
    small_encoder_flops,
)
from fod_bench.methods.patchsvdd.network import Encoder, Networks, build_networks, quadrants, side_by_side
from fod_bench.methods.patchsvdd.sampling import Patches
from fod_bench.methods.patchsvdd.train import Trainer, losses, svdd_loss


@pytest.fixture(scope="module")
def networks() -> Networks:
    """Weights ten times as spread as the initial ones, so that embeddings fill much of −1 to 1."""
    made = build_networks(16, seed=3)
    with torch.no_grad():
        for parameter in made.encoder.parameters():
            parameter.mul_(2.2)
    return made


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def large_by_hand(encoder: Encoder, patch: Tensor) -> Tensor:
    """The embedding (D,) of one patch (3, 64, 64): quadrant by quadrant."""
    corners = [
        [encoder.small(patch[None, :, row : row + 32, column : column + 32]) for column in (0, 32)] for row in (0, 32)
    ]
    grid = torch.cat([torch.cat(pair, 3) for pair in corners], 2)  # (1, D, 2, 2)
    return torch.tanh(encoder.out(functional.leaky_relu(encoder.join(grid), 0.1))).flatten()


@torch.no_grad()
def test_patches_of_both_sizes_in_one_pass(networks: Networks) -> None:
    large, small = noise(3, 3, 64, 64), noise(2, 3, 32, 32, seed=1)
    found = networks.encoder(large, small)
    for patch, embedded in zip(large, found[0], strict=True):
        torch.testing.assert_close(embedded, large_by_hand(networks.encoder, patch), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[1], networks.encoder.small(small).flatten(1), rtol=1e-4, atol=1e-5)
    assert found[0].std(0).mean() > 0.01, "embeddings differ, or the comparison says nothing"


def test_quadrants_and_back() -> None:
    patches = torch.arange(2 * 3 * 64 * 64).reshape(2, 3, 64, 64)
    cut = quadrants(patches)
    assert cut.shape == (8, 3, 32, 32)
    assert torch.equal(cut[5], patches[1, :, :32, 32:])
    assert torch.equal(cut[6], patches[1, :, 32:, :32])
    grid = side_by_side(cut[:, :, :1, :1].flatten(1)[:, :, None, None])
    assert torch.equal(grid[1, 0], patches[1, 0, ::32, ::32])


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(64, 64), (65, 97), (96, 80), (79, 131)])
def test_dense_embeddings_are_those_of_the_crops(networks: Networks, height: int, width: int) -> None:
    """Odd sides too: the convolutions see 31×31 pixels, and would find a patch of 32 beyond the last whole one."""
    images = noise(2, 3, height, width)
    found = networks.encoder.dense(images)
    for patch in PATCHES:
        stride, rows = STRIDES[patch], []
        for top in range(0, height - patch + 1, stride):
            crops = [
                images[:, :, top : top + patch, left : left + patch] for left in range(0, width - patch + 1, stride)
            ]
            none = images.new_zeros(0, 3, 96 - patch, 96 - patch)
            pairs = [(crop, none) if patch == 64 else (none, crop) for crop in crops]
            rows.append(torch.stack([networks.encoder(*pair)[0 if patch == 64 else 1] for pair in pairs], 1))
        torch.testing.assert_close(found[patch], torch.stack(rows, 1), rtol=1e-3, atol=1e-5)


@torch.no_grad()
def test_the_classifier_divides_each_column_of_its_last_weight_by_its_norm(networks: Networks) -> None:
    classifier = networks.classifiers["64"]
    first, second = noise(4, 16), noise(4, 16, seed=1)
    hidden = functional.leaky_relu(classifier.fc1(first - second), 0.1)
    hidden = functional.leaky_relu(classifier.fc2(hidden), 0.1)
    weight = classifier.fc3.weight.clone()
    for column in range(weight.shape[1]):
        weight[:, column] /= math.sqrt(float((weight[:, column] ** 2).sum()))
    torch.testing.assert_close(classifier(first, second), hidden @ weight.T + classifier.fc3.bias)


def test_numbers_of_parameters() -> None:
    """401,984 of the encoder; 25,864 of each classifier, of which 8 × 128 are not trained."""
    made = build_networks(64, 0)
    assert sum(parameter.numel() for parameter in made.encoder.parameters()) == 401_984
    for classifier in made.classifiers.values():
        assert sum(tensor.numel() for tensor in classifier.state_dict().values()) == 25_864
        assert sum(parameter.numel() for parameter in classifier.parameters()) == 25_864 - 8 * 128


def test_initial_weights_are_of_the_seed_and_leave_the_global_generator() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, again, other = (build_networks(8, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)
    assert not torch.equal(first["classifiers.64.fc3.weight"], first["classifiers.32.fc3.weight"])


def test_losses_one_pair_after_the_other(networks: Networks) -> None:
    """Different numbers of pairs for each patch size, and one pair of equal patches."""
    patches = {
        patch: Patches(
            (noise(count, 3, patch, patch), noise(count, 3, patch, patch, seed=1)),
            torch.arange(count) % 8,
            (noise(count - 1, 3, patch, patch, seed=2), noise(count - 1, 3, patch, patch, seed=3)),
        )
        for patch, count in ((64, 3), (32, 5))
    }
    patches[32].svdd[1][0] = patches[32].svdd[0][0]
    weight = 0.3
    found = losses(networks, patches, weight)
    total = 0.0
    for patch in PATCHES:

        def embedded(given: Tensor, patch: int = patch) -> Tensor:
            return (
                large_by_hand(networks.encoder, given) if patch == 64 else networks.encoder.small(given[None]).flatten()
            )

        position, svdd = [], []
        for first, second, label in zip(*patches[patch].position, patches[patch].label, strict=True):
            logits = networks.classifiers[str(patch)](embedded(first)[None], embedded(second)[None])[0]
            position.append((torch.logsumexp(logits, 0) - logits[label]).item())
        for first, second in zip(*patches[patch].svdd, strict=True):
            svdd.append((embedded(first) - embedded(second)).square().sum().sqrt().item())
        means = sum(position) / len(position), sum(svdd) / len(svdd)
        assert getattr(found, f"position_{patch}").item() == pytest.approx(means[0], rel=1e-4)
        assert getattr(found, f"svdd_{patch}").item() == pytest.approx(means[1], rel=1e-4)
        total += means[0] + weight * means[1]
    assert found.total.item() == pytest.approx(total, rel=1e-4)
    found.total.backward()
    gradients = [parameter.grad for parameter in networks.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    networks.zero_grad()


def test_the_svdd_loss_is_not_squared_and_equal_embeddings_have_no_gradient() -> None:
    first = torch.tensor([[1.0, 2.0], [0.0, 0.0]], requires_grad=True)
    loss = svdd_loss(first, torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert loss.item() == 2.5
    loss.backward()
    assert first.grad is not None
    torch.testing.assert_close(first.grad, torch.tensor([[0.0, 0.0], [-0.3, -0.4]]))


def test_steps_descend_the_loss_of_a_batch() -> None:
    networks = build_networks(16, seed=3)
    with torch.no_grad():
        for parameter in networks.encoder.parameters():
            parameter.mul_(2.2)
    patches = {
        patch: Patches(
            (noise(8, 3, patch, patch), noise(8, 3, patch, patch, seed=1)),
            torch.arange(8),
            (noise(4, 3, patch, patch, seed=2), noise(4, 3, patch, patch, seed=3)),
        )
        for patch in PATCHES
    }
    trainer = Trainer(networks, 1e-3, 1e-3)
    found = [trainer.step(patches) for _ in range(20)]
    assert found[-1].total < found[0].total - 1
    assert found[-1].position_64 < found[0].position_64 and found[-1].position_32 < found[0].position_32


def test_arithmetic_of_the_estimates() -> None:
    """Counted with the published sizes: 28.35 million multiply-adds of a small patch, 5.2 thousand million of an image of 256."""
    assert small_encoder_flops(32, 64) == pytest.approx(2 * 28.35e6, rel=1e-3)
    assert image_flops(256, 64) == pytest.approx(2 * 5.2e9, rel=0.02)
    assert sample_flops(64) == pytest.approx(3 * 2 * 0.57e9, rel=0.02)
    assert patches_of_image(256) == 57**2 + 13**2
    assert bank_bytes(256, 200, 64) == 200 * (3249 + 169) * 64 * 4
    assert 100 * search_flops(256, 200, 64) == pytest.approx(27e12, rel=0.01)
    assert sample_bytes(64) == pytest.approx(20 * 95e3 * 4, rel=0.05)
    assert len(CHANNELS) == 8


def test_operations_as_torch_counts_them() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    encoder = Encoder(16)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        encoder.dense(noise(1, 3, 96, 96))
    assert counter.get_total_flops() == image_flops(96, 16)
