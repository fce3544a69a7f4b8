"""The references that are learned, prototypes and codebook, against their equations written down slowly."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fod_bench.errors import TrialError
from fod_bench.methods.fod.references.base import ChosenReference
from fod_bench.methods.fod.references.codebook import Codebook, quantise
from fod_bench.methods.fod.references.prototype import write
from fod_bench.methods.fod.references.specs import CodebookReference
from tests.helpers.reference_builders import TEST, TRAIN, built, chosen, features, fixed


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

    def test_the_whole_way_is_batches_of_writing_from_images_of_the_set(self) -> None:
        """The slow way through all passes, for the order of images that belongs to the seed."""
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
        """Two directions at every position, in images of either sort: one prototype for each."""
        rng = np.random.default_rng(10)
        patterns = rng.normal(size=(2, 3, 4, 16))
        mixed = (patterns[rng.permutation(np.arange(40) % 2)] + 0.05 * rng.normal(size=(40, 3, 4, 16))).astype(
            np.float32
        )
        for seed in range(20):  # from first images of either sort or, in others, of both
            found = fixed({"kind": "prototype", "seed": seed}, mixed)
            distance = np.linalg.norm(found[:, :, :, None] - patterns.transpose(1, 2, 0, 3)[:, :, None], axis=-1)
            if (distance.argmin(-1) == [0, 1]).all() or (distance.argmin(-1) == [1, 0]).all():
                assert distance.min(-1).max() < 0.5
                return
        pytest.fail("no seed began with images of both sorts")

    def test_need_a_image_each(self) -> None:
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
