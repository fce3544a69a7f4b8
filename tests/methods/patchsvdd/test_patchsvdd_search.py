"""Nearest neighbours against all distances, and the map against a loop over patches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fod_bench.methods.patchsvdd import search
from fod_bench.methods.patchsvdd.cost import PATCHES, STRIDES
from fod_bench.methods.patchsvdd.score import score_maps, to_pixels
from fod_bench.methods.patchsvdd.search import GROUP, KEPT, Bank


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_hand(queries: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Every distance in float64."""
    distances = (queries.double()[:, None] - rows.double()).norm(dim=2)
    least = distances.min(1)
    return least.values, least.indices


@pytest.mark.parametrize("rows", [1, 2, GROUP, GROUP + 1, 64 * GROUP + 5, 5000])
def test_nearest_of_all(rows: int) -> None:
    queries, bank = noise(300, 16), noise(rows, 16, seed=1) + 3
    found = Bank.of(bank).nearest(queries)
    expected = by_hand(queries, bank)
    torch.testing.assert_close(found[0].double(), expected[0], rtol=1e-5, atol=0)
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("spread", [1e-5, 1e-3, 1.0])
def test_near_duplicates_far_from_the_origin(spread: float) -> None:
    """As embeddings of a network that has hardly been trained are: by ‖a‖² + ‖b‖² − 2ab in float32 they are all one point."""
    bank = 0.3 + spread * noise(3000, 32)
    queries = bank[:200] + 0.01 * spread * noise(200, 32, seed=1)
    found, _ = Bank.of(bank).nearest(queries)
    expected, _ = by_hand(queries, bank)
    torch.testing.assert_close(found.double(), expected, rtol=1e-2 if spread < 1e-4 else 1e-3, atol=0)
    plain = (queries.square().sum(1)[:, None] + bank.square().sum(1) - 2 * queries @ bank.T).amin(1).clamp(min=0).sqrt()
    if spread < 1:
        assert ((plain - expected).abs() > 0.5 * expected).float().mean() > 0.5, (
            "the plain form is not good enough here"
        )


def test_rows_that_are_there_themselves_have_distance_zero() -> None:
    bank = noise(700, 8)
    bank = torch.cat([bank, bank])
    distances, numbers = Bank.of(bank).nearest(bank[100:200])
    assert (distances == 0).all()
    assert torch.equal(numbers % 700, torch.arange(100, 200))


def test_more_equal_rows_than_are_compared_directly() -> None:
    """Flat images: one row many times over, and the one that is nearer by far among them."""
    bank = torch.ones(GROUP * (KEPT + 20), 4)
    bank[GROUP * (KEPT + 10)] = 0.5
    distances, numbers = Bank.of(bank).nearest(torch.tensor([[0.4, 0.4, 0.4, 0.4], [1.1, 1.1, 1.1, 1.1]]))
    torch.testing.assert_close(distances, torch.tensor([0.2, 0.2]))
    assert numbers[0] == GROUP * (KEPT + 10)


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, bank = noise(300, 16), noise(3000, 16, seed=1)
    found = Bank.of(bank).nearest(queries)
    monkeypatch.setattr(search, "_QUERIES", 7)
    monkeypatch.setattr(search, "_BLOCK", {"cpu": GROUP})
    again = Bank.of(bank).nearest(queries)
    assert torch.equal(found[0], again[0]) and torch.equal(found[1], again[1])


def test_spread_is_a_part_of_the_embeddings_size() -> None:
    bank = noise(500, 8) * torch.arange(1.0, 9.0) + 5
    size = np.sqrt((bank.numpy().mean(0) ** 2).mean())
    assert Bank.of(bank).spread() == pytest.approx(np.std(bank.numpy(), axis=0).mean() / size, rel=1e-5)
    assert Bank.of(torch.zeros(3, 8)).spread() == 0.0


def spread_by_hand(scores: Tensor, patch: int, height: int, width: int) -> Tensor:
    """One patch after the other."""
    total, count = torch.zeros(len(scores), height, width, dtype=torch.double), torch.zeros(height, width)
    for i in range(scores.shape[1]):
        for j in range(scores.shape[2]):
            rows, columns = (slice(STRIDES[patch] * at, STRIDES[patch] * at + patch) for at in (i, j))
            total[:, rows, columns] += scores[:, i, j, None, None]
            count[rows, columns] += 1
    return total / count.clamp(min=1)


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 131), (101, 77)])
def test_pixels_by_a_loop_over_patches(patch: int, height: int, width: int) -> None:
    rows, columns = (1 + (side - patch) // STRIDES[patch] for side in (height, width))
    scores = noise(2, rows, columns).abs()
    found = to_pixels(scores, patch, (height, width))
    torch.testing.assert_close(found.double(), spread_by_hand(scores, patch, height, width), rtol=1e-5, atol=1e-6)


def test_rules_of_both_sizes() -> None:
    parts = {"patch64": noise(3, 2, 2).abs(), "patch32": noise(3, 13, 13, seed=1).abs()}
    large, small = (spread_by_hand(parts[f"patch{patch}"], patch, 80, 80) for patch in PATCHES)
    found: dict[str, tuple[Tensor, Tensor]] = {
        rule: (maps, images) for rule, maps, images in score_maps(parts, (80, 80))
    }
    expected = {"patch64": large, "patch32": small, "sum": large + small, "mult": large * small}
    assert found.keys() == expected.keys() and list(found)[-1] == "mult"
    for rule, maps in expected.items():
        torch.testing.assert_close(found[rule][0].double(), maps, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found[rule][1].double(), maps.flatten(1).amax(1), rtol=1e-5, atol=1e-6)
