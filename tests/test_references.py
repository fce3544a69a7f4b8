"""Each kind of reference against its equations written down slowly, or a property that only the right one has."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from trial_builders import CPU

from fod_bench import memory
from fod_bench.errors import DamagedObjectError, TrialError
from fod_bench.job.references import CodebookReference, reference_spec
from fod_bench.references import reference_key, reference_name
from fod_bench.references.base import ChosenReference, FixedReference, LevelReference, References
from fod_bench.references.build import build_references
from fod_bench.references.codebook import Codebook, quantise
from fod_bench.references.coreset import greedy_coreset, near_origin
from fod_bench.references.nearest import nearest
from fod_bench.references.prototype import write
from fod_bench.references.stored import load_references, save_references
from fod_bench.store import ObjectMissingError, open_store
from fod_bench.store.tensors import save_tensors


def features(
    pictures: int = 6, height: int = 3, width: int = 4, channels: int = 5, seed: int = 0
) -> NDArray[np.float32]:
    """Random features (pictures, height, width, channels) far from the origin, read only as a mapped file's are."""
    made = 3 + np.random.default_rng(seed).normal(size=(pictures, height, width, channels)).astype(np.float32)
    made.flags.writeable = False
    return made


TRAIN, TEST = features(), features(4, seed=1)


def built(spec: Any, train: NDArray[np.float32] = TRAIN, test: NDArray[np.float32] = TEST) -> References:
    return build_references(reference_spec(spec), {8: train}, {8: test}, CPU)


def fixed(spec: Any, train: NDArray[np.float32] = TRAIN) -> NDArray[np.float32]:
    """The one level of a reference that is the same for all pictures: (H, W, M, C)."""
    level = built(spec, train).levels[8]
    assert isinstance(level, FixedReference) and level.features.dtype == np.float32
    return level.features


def chosen(spec: Any, train: NDArray[np.float32] = TRAIN) -> ChosenReference:
    level = built(spec, train).levels[8]
    assert isinstance(level, ChosenReference) and level.train.dtype == level.test.dtype == np.int32
    return level


def rows(array: NDArray[Any]) -> set[bytes]:
    """The vectors of an array (..., C)."""
    return {vector.tobytes() for vector in array.reshape(-1, array.shape[-1])}


class TestMean:
    def test_is_the_mean_of_each_position(self) -> None:
        expected = np.zeros(TRAIN.shape[1:])
        for picture in TRAIN:
            expected += picture.astype(np.float64) / len(TRAIN)
        found = fixed("mean")
        assert found.shape == (3, 4, 1, 5)
        np.testing.assert_allclose(found[:, :, 0], expected, rtol=1e-6)

    def test_of_many_loses_nothing_to_rounding(self) -> None:
        many = np.full((4001, 1, 1, 1), 1e4 + 1 / 3, np.float32)
        many[0] = 3.0
        expected = (3.0 + 4000 * float(np.float32(1e4 + 1 / 3))) / 4001
        assert fixed("mean", many).item() == np.float32(expected)

    def test_reads_one_picture_after_the_other(self) -> None:
        """A training set larger than the memory passes through, and gives the bits of numpy's mean over all at once."""
        at_once = []

        class Watched(np.ndarray):
            def __getitem__(self, key: Any) -> Any:
                found = super().__getitem__(key)
                at_once.append(1 if isinstance(key, int) else len(found))
                return np.asarray(found)

            def __array_ufunc__(self, *_: Any, **__: Any) -> Any:
                raise AssertionError("all pictures at once")

        found = fixed("mean", TRAIN.view(Watched))
        assert np.array_equal(found[:, :, 0], TRAIN.mean(0, dtype=np.float64).astype(np.float32))
        assert set(at_once) <= {1}


def slow_nearest(pictures: NDArray[np.float32], side: int, exclude_self: bool) -> NDArray[np.int64]:
    """Eqs. 14 and 15, one feature against the other."""
    count, height, width, _ = TRAIN.shape
    found = np.zeros(pictures.shape[:3], np.int64)
    for q, i, j in itertools.product(range(len(pictures)), range(height), range(width)):
        around = [
            (k, y, x)
            for k in range(count)
            for y in range(i - side // 2, i + side // 2 + 1)
            for x in range(j - side // 2, j + side // 2 + 1)
            if 0 <= y < height and 0 <= x < width and not (exclude_self and k == q)
        ]
        k, y, x = min(around, key=lambda at: math.dist(pictures[q, i, j], TRAIN[at]))
        found[q, i, j] = (k * height + y) * width + x
    return found


class TestNearest:
    @pytest.mark.parametrize("side", [1, 3, 5, 9])
    def test_follows_equations_14_and_15(self, side: int) -> None:
        found = nearest(torch.from_numpy(TEST.copy()), torch.from_numpy(TRAIN.copy()), side)
        assert np.array_equal(found, slow_nearest(TEST, side, exclude_self=False))

    @pytest.mark.parametrize("exclude_self", [True, False])
    def test_of_the_training_pictures(self, exclude_self: bool) -> None:
        found = chosen({"kind": "nearest", "exclude_self": exclude_self})
        assert np.array_equal(found.train, slow_nearest(TRAIN, 3, exclude_self))
        assert np.array_equal(found.test, slow_nearest(TEST, 3, exclude_self=False))
        own = found.train // 12 == np.arange(6)[:, None, None]
        assert own.all() if not exclude_self else not own.any()
        assert found.table is None, "the training features are not kept twice"

    def test_small_differences_far_from_the_origin_count(self) -> None:
        moved = TRAIN * np.float32(0.01) + np.float32(100)
        found = nearest(torch.from_numpy(moved[:2]), torch.from_numpy(moved), 3)
        expected = nearest(torch.from_numpy(moved[:2]).double(), torch.from_numpy(moved).double(), 3)
        assert torch.equal(found, expected)

    def test_in_blocks_it_is_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = chosen("nearest")
        monkeypatch.setattr("fod_bench.references.nearest._BLOCK_ELEMENTS", 130)  # two pictures at a time
        blocked = chosen("nearest")
        assert np.array_equal(blocked.train, whole.train) and np.array_equal(blocked.test, whole.test)

    def test_a_lone_picture_cannot_find_another(self) -> None:
        with pytest.raises(TrialError, match=r"needs two training pictures.*`exclude_self: false` would do"):
            built("nearest", TRAIN[:1])
        alone = chosen({"kind": "nearest", "exclude_self": False}, TRAIN[:1])
        assert np.array_equal(alone.train[0], np.arange(12).reshape(3, 4))


def slow_greedy(points: NDArray[np.float64], count: int, first: int) -> list[int]:
    """Eq. 17, with all distances."""
    picked = [first]
    while len(picked) < count:
        left = [at for at in range(len(points)) if at not in picked]
        picked.append(max(left, key=lambda at: min(math.dist(points[at], points[other]) for other in picked)))
    return picked


def radius(points: NDArray[np.float64], picked: list[int]) -> float:
    """The value of Eq. 16: how far any point is from its nearest picked one."""
    return max(min(math.dist(point, points[other]) for other in picked) for point in points)


class TestCoreset:
    @pytest.mark.parametrize(("count", "first"), [(1, 0), (7, 3), (40, 39)])
    def test_each_is_the_farthest_from_those_before(self, count: int, first: int) -> None:
        points = np.random.default_rng(3).normal(size=(40, 3))
        found, largest = greedy_coreset(torch.from_numpy(points), count, first)
        assert found.tolist() == slow_greedy(points, count, first)
        assert largest == pytest.approx(radius(points, found.tolist()), abs=1e-7)

    @pytest.mark.parametrize("rows_of_a_block", [1, 7, 39])
    def test_in_blocks_it_is_the_same(self, monkeypatch: pytest.MonkeyPatch, rows_of_a_block: int) -> None:
        """Some of them with one far-off point each, some with none, so that blocks are looked at in any order."""
        points = np.random.default_rng(3).normal(size=(40, 3)) * np.random.default_rng(4).choice([0.1, 1, 9], (40, 1))
        monkeypatch.setattr("fod_bench.references.coreset._BLOCK_ROWS", rows_of_a_block)
        found, largest = greedy_coreset(torch.from_numpy(points), 25, 11)
        assert found.tolist() == slow_greedy(points, 25, 11)
        assert largest == pytest.approx(radius(points, found.tolist()))

    def test_is_at_most_twice_as_far_as_the_best_of_all_subsets(self) -> None:
        points = np.random.default_rng(4).normal(size=(11, 2))
        best = min(radius(points, list(subset)) for subset in itertools.combinations(range(11), 3))
        for first in range(11):
            _, largest = greedy_coreset(torch.from_numpy(points), 3, first)
            assert best <= largest + 1e-9 <= 2 * best

    def test_equal_points_are_chosen_once_each(self) -> None:
        found, largest = greedy_coreset(torch.zeros(5, 2), 5, 2)
        assert sorted(found.tolist()) == list(range(5)) and found[0] == 2 and largest == 0

    @pytest.mark.parametrize("layout", ["selection", "origin"])
    @pytest.mark.parametrize("count", [1, 2])
    def test_is_made_of_different_training_features(self, layout: str, count: int) -> None:
        found = fixed({"kind": "coreset", "layout": layout, "per_position": count})
        assert found.shape == (3, 4, count, 5)
        assert len(rows(found)) == 12 * count and rows(found) <= rows(TRAIN)
        facts = built({"kind": "coreset", "layout": layout, "per_position": count}).facts
        flat = TRAIN.reshape(-1, 5).astype(float)
        places = [at for at, feature in enumerate(TRAIN.reshape(-1, 5)) if feature.tobytes() in rows(found)]
        assert facts["radius"]["8"] == pytest.approx(radius(flat, places), rel=1e-5)

    def test_a_larger_one_begins_with_the_smaller(self) -> None:
        small, large = fixed("coreset"), fixed({"kind": "coreset", "per_position": 3})
        assert np.array_equal(large[:, :, 0], small[:, :, 0])
        assert rows(fixed({"kind": "coreset", "seed": 1})) != rows(small)
        assert np.array_equal(fixed("coreset"), small)

    def test_the_order_of_selection_fills_the_grid_row_by_row(self) -> None:
        flat = TRAIN.reshape(-1, 5)
        first = fixed("coreset")[0, 0, 0]
        start = next(at for at, feature in enumerate(flat) if np.array_equal(feature, first))
        expected = flat[slow_greedy(flat.astype(float), 12, start)]
        assert np.array_equal(fixed("coreset").reshape(12, 5), expected)

    def test_origins_move_as_little_as_possible(self) -> None:
        rng = np.random.default_rng(5)
        for origins in (rng.integers(0, 6, 6), np.repeat(np.arange(3), 2), np.arange(6)[::-1]):
            found = near_origin(origins, 2, 3)

            def moved(order: Any, origins: NDArray[np.int64] = origins) -> int:
                pairs = ((divmod(cell, 3), divmod(int(origins[at]), 3)) for cell, at in enumerate(order))
                return sum((y - v) ** 2 + (x - u) ** 2 for (y, x), (v, u) in pairs)

            assert sorted(found) == list(range(6))
            assert moved(found) == min(moved(order) for order in itertools.permutations(range(6)))

    def test_on_the_grid_they_lie_near_their_origins(self) -> None:
        train = features(6, 2, 3, 5, seed=14)
        origin = {train[at].tobytes(): np.array(at[1:]) for at in np.ndindex(6, 2, 3)}
        cells = list(np.ndindex(2, 3))

        def moved(layout: str) -> tuple[int, int]:
            """Of the features on the grid: how far they were moved, and how far the best order would move them."""
            grid = fixed({"kind": "coreset", "layout": layout}, train)
            places = [origin[grid[y, x, 0].tobytes()] for y, x in cells]
            costs = [[int(((place - cell) ** 2).sum()) for cell in cells] for place in places]
            orders = itertools.permutations(range(6))
            return sum(costs[at][at] for at in range(6)), min(
                sum(costs[at][cell] for at, cell in enumerate(order)) for order in orders
            )

        near, best = moved("origin")
        assert near == best < moved("selection")[0]

    def test_a_projection_keeps_distances_and_takes_less_memory(self) -> None:
        wide = features(8, 2, 2, 400, seed=7)
        plain, projected = (fixed({"kind": "coreset", "projection": to}, wide) for to in ("none", 64))
        assert rows(projected) <= rows(wide) and rows(projected) != rows(plain), "64 of 400 dimensions are not all"
        # three tight groups: any projection that keeps distances takes one feature of each first
        centres = 50 * np.random.default_rng(8).normal(size=(4, 400))
        grouped = (centres[np.arange(32) % 4] + np.random.default_rng(9).normal(size=(32, 400))).astype(np.float32)
        found = fixed({"kind": "coreset", "projection": 16}, grouped.reshape(8, 2, 2, 400)).reshape(4, 400)
        nearest_centre = ((found[:, None] - centres) ** 2).sum(-1).argmin(1)
        assert sorted(nearest_centre) == [0, 1, 2, 3]
        assert np.array_equal(
            fixed({"kind": "coreset", "projection": 5}), fixed({"kind": "coreset", "projection": "none"})
        )

    def test_what_does_not_fit_is_refused_with_the_number_before_it_starts(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        huge = np.broadcast_to(np.float32(0), (20_000, 64, 64, 320))  # 81.9 million features
        monkeypatch.setattr("fod_bench.references.coreset.available_memory", lambda device: 8 * 2**30)
        with pytest.raises(
            TrialError, match=r"level 8 needs 39\.7 GiB for 81920000 features in 128 dim.*8\.0 GiB are there"
        ):
            built("coreset", huge, huge[:1])

    def test_more_features_than_pictures_have_are_refused(self) -> None:
        with pytest.raises(TrialError, match="there are 6, so set `per_position` to 6 at most"):
            built({"kind": "coreset", "per_position": 7})
        assert rows(fixed({"kind": "coreset", "per_position": 6})) == rows(TRAIN)


def test_the_memory_of_a_container_counts_where_it_is_less(tmp_path: Path) -> None:
    machine = memory.available_memory(CPU)
    assert machine is not None and 2**20 < machine < 2**50
    for name, text in (("max", "1000\n"), ("current", "700\n"), ("stat", "anon 500\ninactive_file 150\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert memory._container(tmp_path) == 450
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._container(tmp_path) is None and memory._container(tmp_path / "none") is None


def slow_write(prototypes: NDArray[np.float64], given: NDArray[np.float64]) -> NDArray[np.float64]:
    """Eqs. 18 to 21 at one position, to the letter: prototypes (M, C), features (K, C)."""
    count, size = len(given), len(prototypes)
    similar = np.exp(given @ prototypes.T)  # (K, M)
    w = [[similar[k, m] / sum(similar[k]) for m in range(size)] for k in range(count)]
    v = [[similar[k, m] / sum(similar[:, m]) for m in range(size)] for k in range(count)]
    written = prototypes.copy()
    for m in range(size):
        own = [k for k in range(count) if max(range(size), key=lambda other: w[k][other]) == m]
        for k in own:
            written[m] += v[k][m] / max(v[other][m] for other in own) * given[k]
        written[m] /= np.linalg.norm(written[m])
    return written


class TestPrototypes:
    @pytest.mark.parametrize("size", [1, 2, 4])
    def test_are_written_by_equations_18_to_21(self, size: int) -> None:
        rng = np.random.default_rng(6)
        prototypes, given = rng.normal(size=(3, size, 5)), rng.normal(size=(3, 7, 5))
        prototypes, given = (part / np.linalg.norm(part, axis=-1, keepdims=True) for part in (prototypes, given))
        found = write(torch.from_numpy(prototypes), torch.from_numpy(given))
        for position in range(3):
            np.testing.assert_allclose(found[position], slow_write(prototypes[position], given[position]), rtol=1e-12)

    def test_one_that_is_nobodys_nearest_stays_as_it_is(self) -> None:
        prototypes = functional.normalize(torch.tensor([[[1.0, 0.1], [-1.0, 0.0]]]), dim=-1)
        found = write(prototypes, torch.tensor([[[1.0, 0.0], [0.8, 0.6]]]))
        assert torch.equal(found[0, 1], prototypes[0, 1]) and not torch.equal(found[0, 0], prototypes[0, 0])

    def test_the_whole_way_is_batches_of_writing_from_pictures_of_the_set(self) -> None:
        """The slow way through all passes, for the order of pictures that belongs to the seed."""
        spec = {"kind": "prototype", "per_position": 2, "passes": 3, "batch_size": 4, "seed": 9, "rescale": False}
        generator = torch.Generator().manual_seed((9 << 16) + 8)
        unit = TRAIN / np.linalg.norm(TRAIN, axis=-1, keepdims=True)
        unit = unit.reshape(6, 12, 5).transpose(1, 0, 2).astype(np.float64)  # (N, n, C)
        prototypes = unit[:, torch.randperm(6, generator=generator)[:2].numpy()]
        for _ in range(3):
            order = torch.randperm(6, generator=generator).numpy()
            for batch in (order[:4], order[4:]):
                prototypes = np.stack([slow_write(*at) for at in zip(prototypes, unit[:, batch], strict=True)])
        found = fixed(spec)
        np.testing.assert_allclose(found, prototypes.reshape(3, 4, 2, 5), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, rtol=1e-6)

    def test_each_has_the_mean_length_of_the_features_nearest_to_it(self) -> None:
        spec = {"kind": "prototype", "per_position": 3, "batch_size": 4}
        unit, scaled = fixed({**spec, "rescale": False}), fixed(spec)
        for y, x in itertools.product(range(3), range(4)):
            nearest_one = (TRAIN[:, y, x] @ unit[y, x].T).argmax(1)
            lengths = np.linalg.norm(TRAIN[:, y, x], axis=-1)
            for m in range(3):
                own = lengths[nearest_one == m] if (nearest_one == m).any() else lengths
                np.testing.assert_allclose(scaled[y, x, m], unit[y, x, m] * own.mean(), rtol=1e-5)

    def test_find_the_patterns_of_a_position(self) -> None:
        """Two directions at every position, in pictures of either sort: one prototype for each."""
        rng = np.random.default_rng(10)
        patterns = rng.normal(size=(2, 3, 4, 16))
        mixed = (patterns[rng.permutation(np.arange(40) % 2)] + 0.05 * rng.normal(size=(40, 3, 4, 16))).astype(
            np.float32
        )
        for seed in range(20):  # from first pictures of either sort or, in others, of both
            found = fixed({"kind": "prototype", "seed": seed}, mixed)
            distance = np.linalg.norm(found[:, :, :, None] - patterns.transpose(1, 2, 0, 3)[:, :, None], axis=-1)
            if (distance.argmin(-1) == [0, 1]).all() or (distance.argmin(-1) == [1, 0]).all():
                assert distance.min(-1).max() < 0.5
                return
        pytest.fail("no seed began with pictures of both sorts")

    def test_need_a_picture_each(self) -> None:
        with pytest.raises(TrialError, match="there are 6, so set `per_position` to 6 at most"):
            built({"kind": "prototype", "per_position": 7})


class TestCodebook:
    def test_quantising_finds_the_nearest_code(self) -> None:
        codes = np.random.default_rng(11).normal(size=(9, 5)).astype(np.float32) + 3
        found = quantise(torch.from_numpy(TEST.copy()), torch.from_numpy(codes))
        assert found.shape == (4, 3, 4)
        for place in np.ndindex(4, 3, 4):
            assert int(found[place]) == min(range(9), key=lambda code: math.dist(TEST[place], codes[code]))

    def codebook(self, encoder: Any = "none") -> tuple[Codebook, Tensor]:
        torch.manual_seed(12)
        made = Codebook(torch.randn(4, 5), encoder).double()
        return made, torch.randn(2, 3, 3, 5, dtype=torch.float64, requires_grad=True)

    def test_the_objective_is_equation_23(self) -> None:
        made, given = self.codebook()
        found, cosines, distances = made.objective(given), [], []
        for x in given.detach().reshape(-1, 5):
            e = min(made.codes.detach(), key=lambda code: math.dist(x, code))
            o = made.decoder(e)
            cosines.append((o @ x / o.norm() / x.norm()).item())
            distances.append(math.dist(x, e))
        assert found.cosine.item() == pytest.approx(np.mean(cosines))
        assert found.code_commitment.item() == found.feature_commitment.item() == pytest.approx(np.mean(distances))
        assert found.loss().item() == pytest.approx(2 * np.mean(distances) - np.mean(cosines))

    def test_gradients_go_where_equation_23_lets_them(self) -> None:
        made, given = self.codebook()
        codes, decoder = made.codes, list(made.decoder.parameters())
        cosine, to_codes, to_features = made.objective(given)
        asked = [given, codes, decoder[0]]

        def reached(term: Tensor) -> list[bool]:
            return [
                part is not None and bool(part.any())
                for part in torch.autograd.grad(term, asked, retain_graph=True, allow_unused=True)
            ]

        assert reached(to_codes) == [False, True, False]
        assert reached(to_features) == [True, False, False]
        assert reached(cosine) == [True, False, True], "straight through: past the code, to what was quantised"

    def test_the_decoders_gradient_is_copied_from_the_code_to_the_feature(self) -> None:
        made, given = self.codebook()
        code = made.codes[quantise(given, made.codes)].detach().requires_grad_()
        fixed_target = given.detach()
        at_code = functional.cosine_similarity(made.decoder(code), fixed_target, dim=-1).mean()
        (expected,) = torch.autograd.grad(at_code, code)
        straight = made.objective(given).cosine
        (found,) = torch.autograd.grad(straight, given)
        (as_target,) = torch.autograd.grad(  # what the feature gets as the target of the cosine
            functional.cosine_similarity(made.decoder(code.detach()), given, dim=-1).mean(), given
        )
        torch.testing.assert_close(found - as_target, expected)

    def test_with_an_encoder_all_of_it_learns_and_begins_as_the_identity(self) -> None:
        made, given = self.codebook("linear")
        torch.testing.assert_close(made.encode(given), given)
        made.objective(given.detach()).loss().backward()
        assert all(p.grad is not None and bool(p.grad.any()) for p in made.parameters())

    def test_each_position_gets_its_nearest_code(self) -> None:
        found = chosen({"kind": "codebook", "codes": 7})
        assert found.table is not None and found.table.shape == (7, 5)
        for rows_of, given in ((found.train, TRAIN), (found.test, TEST)):
            distance = np.linalg.norm(given[..., None, :] - found.table, axis=-1)
            assert np.array_equal(rows_of, distance.argmin(-1))

    def test_learning_brings_codes_to_the_features_and_the_decoder_to_its_task(self) -> None:
        train = features(16, 6, 6, 8, seed=13)
        spec = {"kind": "codebook", "codes": 20, "learning_rate": 1e-2, "batch_size": 2}

        def quality(epochs: int) -> tuple[float, float]:
            references = built({**spec, "epochs": epochs}, train, train)
            level = references.levels[8]
            assert isinstance(level, ChosenReference) and level.table is not None
            return float(np.linalg.norm(train - level.table[level.train], axis=-1).mean()), references.facts["cosine"][
                "8"
            ]

        (first, first_cosine), (last, last_cosine) = quality(1), quality(30)
        assert last < 0.97 * first and last_cosine > max(first_cosine, 0.93)

    def test_dead_codes_are_counted_and_told(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level("WARNING", logger="fod_bench"):
            well = built({"kind": "codebook", "codes": 8})
        assert well.facts["codes"] == {"8": 8} and well.facts["codes_used"]["8"] >= 4 and not caplog.text
        same = np.broadcast_to(TRAIN[:1, :1, :1], TRAIN.shape)  # one feature everywhere: one code will do
        with caplog.at_level("WARNING", logger="fod_bench"):
            poor = built({"kind": "codebook", "codes": 8}, same)
        assert poor.facts["codes_used"] == {"8": 1}
        assert "level 8: only 1 of 8 codes are in use" in caplog.text

    def test_the_seed_decides(self) -> None:
        one, same, other = (chosen(CodebookReference(codes=6, seed=seed)).table for seed in (1, 1, 2))
        assert one is not None and other is not None
        assert np.array_equal(one, same) and not np.array_equal(one, other)  # type: ignore[arg-type]

    def test_has_no_more_codes_than_there_are_features(self) -> None:
        assert built("codebook").facts["codes"] == {"8": 72}

    def test_random_numbers_drawn_elsewhere_change_nothing_and_are_not_changed(self) -> None:
        torch.manual_seed(1)
        expected = torch.rand(3)
        torch.manual_seed(1)
        first = chosen({"kind": "codebook", "codes": 6})
        assert torch.equal(torch.rand(3), expected)
        assert np.array_equal(chosen({"kind": "codebook", "codes": 6}).table, first.table)  # type: ignore[arg-type]


KINDS: list[Any] = [
    "mean",
    "nearest",
    {"kind": "coreset", "per_position": 2},
    "prototype",
    {"kind": "codebook", "codes": 6},
]


def arrays(level: LevelReference) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in level.arrays().items()}


@pytest.mark.parametrize("spec", KINDS, ids=str)
class TestEveryKind:
    def test_a_level_does_not_depend_on_the_others(self, spec: Any) -> None:
        train, test = {8: TRAIN, 16: features(6, 2, 2, 9, seed=2)}, {8: TEST, 16: features(4, 2, 2, 9, seed=3)}
        together = build_references(reference_spec(spec), train, test, CPU)
        alone = build_references(reference_spec(spec), {16: train[16]}, {16: test[16]}, CPU)
        assert arrays(together.levels[16]) == arrays(alone.levels[16])

    def test_is_read_back_as_it_was_written(self, spec: Any, tmp_path: Path) -> None:
        store, made = open_store(str(tmp_path / "store")), built(spec)
        with pytest.raises(ObjectMissingError):
            load_references(store, "k")
        save_references(store, "k", made, {"kind": "any"})
        found = load_references(open_store(store.uri), "k")
        assert found.facts == made.facts and list(found.levels) == [8]
        assert type(found.levels[8]) is type(made.levels[8])
        assert arrays(found.levels[8]) == arrays(made.levels[8])


def test_what_is_no_reference_is_damage(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    save_tensors(store, reference_name("k"), {"level_8": TRAIN}, {"facts": "{}"})
    with pytest.raises(DamagedObjectError, match="no references"):
        load_references(store, "k")


def test_the_key_follows_features_and_every_setting() -> None:
    specs = ["mean", "nearest", {"kind": "nearest", "neighbourhood": 5}, "coreset", {"kind": "coreset", "seed": 1}]
    keys = [reference_key("a", reference_spec(spec)) for spec in specs]
    assert len({*keys, reference_key("b", reference_spec("mean"))}) == len(specs) + 1
    assert reference_key("a", reference_spec({"kind": "coreset", "seed": 0})) == keys[3]
