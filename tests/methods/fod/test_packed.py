"""Trainings that share their steps are those trained apart: losses, weights, moments, scores.

In float64, where 1e-6 tells a mistake from rounding. In float32 Adam makes steps of full length of the rounding of gradients that
are zero, such as those of a key's bias.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fod_bench.methods.base import Split
from fod_bench.methods.fod import packed
from fod_bench.methods.fod.correlation import VARIABLE
from fod_bench.methods.fod.method import FodMethod
from fod_bench.methods.fod.references.base import References
from fod_bench.methods.fod.references.specs import reference_spec
from fod_bench.methods.fod.train import LevelTrainer
from fod_bench.trials.data import TrialData
from tests.helpers.trial_builders import STEPS, VIEWS, feature_data, method, score_maps, trial_data

TOLERANCE: dict[str, float] = {"rtol": 1e-6, "atol": 1e-7}
LAMBDAS = ((0.5, 0.5), (0.1, 0.0), (0.0, 0.7), (2.0, 1.0))


def precise(data: TrialData, seed: int, **changes: Any) -> FodMethod:
    """The method in float64."""
    assert data.context.reference is not None
    learnt, tested = (
        {level: array.astype(np.float64) for level, array in part.items()}
        for part in (data.train.pooled, data.test.pooled)
    )
    references = {}
    for level, part in data.context.reference.levels.items():
        arrays = {name: a.astype(np.float64) if a.dtype.kind == "f" else a for name, a in part.arrays().items()}
        references[level] = type(part)(**arrays)
    made = method(
        feature_data(learnt, tested, data.truth.masks, data.truth.labels, References(references, {})), seed, **changes
    )
    for network in made.networks:
        network.double()
    return made


def members(count: int = 4, **changes: Any) -> list[FodMethod]:
    """Trainings of two categories, each with λ and a seed of its own."""
    data = [trial_data(seed=2), trial_data(seed=7)]
    lambdas = [dict(zip(("lambda1", "lambda2"), pair, strict=True)) for pair in LAMBDAS[:count]]
    return [precise(data[index % 2], 100 + index, **changes, **own) for index, own in enumerate(lambdas)]


def moves(count: int, epochs: int = 2) -> list[list[tuple[int, int]]]:
    """What each of `count` members does at once, step by step."""
    return [[(epoch, step)] * count for epoch in range(epochs) for step in range(STEPS)]


def compare(together: list[FodMethod], apart: list[FodMethod]) -> None:
    test = {level: array.astype(np.float64) for level, array in trial_data().test.pooled.items()}
    shown = replace(trial_data(), test=Split(pooled=test))  # images that are new to all of them
    for one, other in zip(together, apart, strict=True):
        found, expected = one.state(), other.state()
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, **TOLERANCE, err_msg=name)
        for ours, theirs in zip(score_maps(one, shown), score_maps(other, shown), strict=True):
            torch.testing.assert_close(ours.pixels, theirs.pixels, **TOLERANCE)


def losses_of(taken: Any) -> torch.Tensor:
    assert all(isinstance(each, torch.Tensor) for each in taken), taken
    return torch.stack(taken)


@pytest.mark.parametrize("optimization", ["two_phase", "direct"])
@pytest.mark.parametrize("views", VIEWS)
@pytest.mark.parametrize("batch_size", [1, 2])
def test_every_kind_of_training(views: str, optimization: str, batch_size: int) -> None:
    changes = {"views": views, "optimization": optimization, "batch_size": batch_size}
    together, apart = members(**changes), members(**changes)
    pack = FodMethod.pack(together)
    for move in moves(4):
        found = losses_of(pack.step(move))
        expected = torch.stack([each.step(*at) for each, at in zip(apart, move, strict=True)])
        torch.testing.assert_close(found, expected, **TOLERANCE)
    compare(together, apart)


@pytest.mark.parametrize("implementation", ["plain", "tiled", "numba", "triton"])
def test_every_implementation_of_the_operator(implementation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, all that triton takes; the second step's losses tell of the first one's gradients."""

    def made() -> list[FodMethod]:
        return [method(trial_data(seed=seed), seed, learning_rate=1e-3, levels=[16]) for seed in (1, 2)]

    apart = made()
    expected = [torch.stack([each.step(0, step) for each in apart]) for step in range(2)]
    monkeypatch.setenv(VARIABLE, implementation)
    together = made()
    assert together[0].correlation == implementation
    pack = FodMethod.pack(together)
    for step in range(2):
        torch.testing.assert_close(losses_of(pack.step([(0, step)] * 2)), expected[step], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["nearest", "codebook", {"kind": "coreset", "per_position": 2}])
def test_references_that_depend_on_the_image_and_several_per_position(kind: Any) -> None:
    def made() -> list[FodMethod]:
        return [
            precise(trial_data(seed=seed, reference=kind), seed, reference=reference_spec(kind).model_dump())
            for seed in (1, 2)
        ]

    together, apart = made(), made()
    assert together[0].kind == together[1].kind
    pack = FodMethod.pack(together)
    for move in moves(2, 1):
        losses_of(pack.step(move))
        for each, at in zip(apart, move, strict=True):
            each.step(*at)
    compare(together, apart)


def test_the_published_loops_momentum_steps() -> None:
    together, apart = members(3, zero_gradient_step=True), members(3, zero_gradient_step=True)
    pack = FodMethod.pack(together)
    for move in moves(3):
        pack.step(move)
        for each, at in zip(apart, move, strict=True):
            each.step(*at)
    compare(together, apart)


def test_members_may_be_at_different_steps_and_go_on_from_states() -> None:
    """Adam corrects its moments by the number of steps, which each member counts for itself."""
    together, apart = members(3), members(3)
    for at in ((0, 0), (0, 1), (0, 2), (1, 0)):
        together[0].step(*at)
        apart[0].step(*at)
    pack = FodMethod.pack(together)
    ahead: list[tuple[int, int]] = [(1, 1), (0, 0), (0, 0)]
    for shift in range(2):
        losses_of(pack.step([(epoch, step + shift) for epoch, step in ahead]))
        for each, (epoch, step) in zip(apart, ahead, strict=True):
            each.step(epoch, step + shift)
    compare(together, apart)
    assert {int(array) for name, array in together[0].state().items() if name.endswith("/step")} == {6}
    for each in (together, apart):  # into the pack as it stands
        each[1].load_state(apart[2].state())
        each[2].load_state(apart[0].weights())
    losses_of(pack.step([(1, 0)] * 3))
    for member in apart:
        member.step(1, 0)
    compare(together, apart)


def test_batches_of_different_size_are_taken_apart_and_leave_the_pack_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def made() -> list[FodMethod]:
        return [precise(trial_data(train=count), 3) for count in (5, 6)]  # the third batch is of one and of two images

    together, apart = made(), made()
    pack, alone = FodMethod.pack(together), []
    step = LevelTrainer.step
    monkeypatch.setattr(LevelTrainer, "step", lambda *given: (alone.append(len(given[1])), step(*given))[1])
    for move in moves(2):
        losses_of(pack.step(move))
    assert alone == [1, 1, 2, 2] * 2  # two levels in each of two epochs
    for move in moves(2):
        for each, at in zip(apart, move, strict=True):
            each.step(*at)
    compare(together, apart)


def test_a_member_that_diverges_spoils_no_other() -> None:
    together, apart = members(3), members(3)
    for each in (together[1], apart[1]):
        each.load_state({name: np.full_like(array, np.nan) for name, array in each.weights().items()})
    pack = FodMethod.pack(together)
    for move in moves(3, 1):
        found = losses_of(pack.step(move))
        assert [bool(row.isfinite().all()) for row in found] == [True, False, True]
        for each, at in zip(apart, move, strict=True):
            each.step(*at)
    compare(together[::2], apart[::2])


def test_only_one_kind_is_packed() -> None:
    data: TrialData = trial_data()
    kinds = {
        method(data, **changes).kind
        for changes in (
            {"lambda1": 0.1},
            {"lambda2": 0.0},
            {"views": "inter"},
            {"layers": 2},
            {"learning_rate": 1e-3},
            {"batch_size": 1},
            {"optimization": "direct"},
            {"zero_gradient_step": True},
            {"levels": [8]},
        )
    }
    assert len(kinds) == 8
    assert method(data, seed=1).kind == method(trial_data(train=9, seed=3), seed=2).kind
    assert method(data).kind != method(trial_data(reference={"kind": "coreset", "per_position": 2})).kind


class TestOutOfMemory:
    """The error is injected: on a GPU it comes from the allocator, anywhere in the forward or backward pass."""

    def limit(self, monkeypatch: pytest.MonkeyPatch, fits: dict[int, int]) -> list[tuple[int, int]]:
        """At most so many members of each width fit; returns the list of what was tried."""
        tried: list[tuple[int, int]] = []
        losses = packed.losses

        def limited(output: Any, features: torch.Tensor, weights: Any) -> Any:
            tried.append((len(features), features.shape[-1]))
            made = losses(output, features, weights)
            if len(features) > fits[features.shape[-1]]:
                made.total.sum().backward()  # as though it came at the very end
                raise torch.cuda.OutOfMemoryError("no room")
            return made

        monkeypatch.setattr(packed, "losses", limited)
        return tried

    @pytest.mark.parametrize("fits", [{6: 2, 8: 4}, {6: 4, 8: 1}, {6: 1, 8: 1}], ids=str)
    def test_the_level_that_does_not_fit_is_taken_in_turns(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fits: dict[int, int]
    ) -> None:
        tried = self.limit(monkeypatch, fits)
        together, apart = members(4), members(4)
        pack = FodMethod.pack(together)
        assert pack.together == 4
        for move in moves(4):
            found = losses_of(pack.step(move))
            expected = torch.stack([each.step(*at) for each, at in zip(apart, move, strict=True)])
            torch.testing.assert_close(found, expected, **TOLERANCE)
        compare(together, apart)
        assert pack.together == max(fits.values())
        refused = [width for count, width in tried if count > fits[width]]
        assert sorted(refused) == sorted(width for width, limit in fits.items() for _ in range(4 // limit - 1)), "once"
        assert "4 trainings do not fit the GPU together" in caplog.text

    @pytest.mark.parametrize("made", [0, 1, 20, 21])
    def test_memory_that_runs_out_while_adam_makes_its_moments(
        self, monkeypatch: pytest.MonkeyPatch, made: int
    ) -> None:
        """`made` of them were made: between the two of a parameter, and between parameters."""
        together, apart = members(2), members(2)
        zeros, calls = torch.zeros_like, 0

        def limited(*arguments: Any, **options: Any) -> torch.Tensor:
            nonlocal calls
            calls += 1
            if calls == made + 1:
                raise torch.cuda.OutOfMemoryError("no room")
            return zeros(*arguments, **options)

        monkeypatch.setattr(torch, "zeros_like", limited)
        pack = FodMethod.pack(together)
        losses_of(pack.step([(0, 0)] * 2))
        monkeypatch.undo()
        losses_of(pack.step([(0, 1)] * 2))
        for each in apart:
            each.step(0, 0)
            each.step(0, 1)
        assert calls > made and pack.together == 2, "one level goes on in turns, the other together"
        compare(together, apart)

    def test_members_that_never_fit_are_as_they_were(self, monkeypatch: pytest.MonkeyPatch) -> None:
        together = members(2)
        before = [each.state() for each in together]
        zeros, calls = torch.zeros_like, 0

        def limited(*arguments: Any, **options: Any) -> torch.Tensor:
            nonlocal calls
            calls += 1
            if calls > 20:
                raise torch.cuda.OutOfMemoryError("no room")
            return zeros(*arguments, **options)

        monkeypatch.setattr(torch, "zeros_like", limited)
        taken = FodMethod.pack(together).step([(0, 0)] * 2)
        assert all(isinstance(each, torch.cuda.OutOfMemoryError) for each in taken)
        for each, expected in zip(together, before, strict=True):
            found = each.state()
            assert found.keys() == expected.keys(), "no moments"
            assert all(np.array_equal(found[name], array) for name, array in expected.items())

    def test_one_that_does_not_fit_by_itself_fails_and_no_other(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.limit(monkeypatch, {6: 1, 8: 4})
        together, apart = members(3), members(3)
        step = LevelTrainer.step

        def limited(self: LevelTrainer, features: torch.Tensor, reference: torch.Tensor | None) -> Any:
            if self is together[1].trainers[8]:
                raise torch.cuda.OutOfMemoryError("no room")
            return step(self, features, reference)

        monkeypatch.setattr(LevelTrainer, "step", limited)
        taken = FodMethod.pack(together).step([(0, 0)] * 3)
        assert [type(each) for each in taken] == [torch.Tensor, torch.cuda.OutOfMemoryError, torch.Tensor]
        for each in apart:
            each.step(0, 0)
        compare(together[::2], apart[::2])
