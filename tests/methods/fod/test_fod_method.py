"""FOD as a method: batches, independence of levels, its state, and every way of scoring."""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from fod_bench.errors import JobError, TrialError
from fod_bench.methods.base import Split
from fod_bench.methods.fod.method import FodMethod
from fod_bench.methods.fod.network import View
from fod_bench.methods.fod.references.base import References
from fod_bench.methods.fod.references.build import build_references
from fod_bench.methods.fod.references.specs import MeanReference
from fod_bench.methods.fod.rules import rules
from fod_bench.methods.fod.score import SMOOTHING_SIGMA, patch_scores, upsample
from fod_bench.methods.fod.train import LevelTrainer, LossWeights, losses
from fod_bench.methods.registry import BUILT_IN, method_class
from fod_bench.records.checkpoints import State
from fod_bench.trials.data import TrialData
from tests.helpers.trial_builders import CHANNELS, CPU, SIZE, VIEWS, feature_data, method, score_maps, trial_data


def train(detector: FodMethod, epochs: int, first: int = 0) -> list[torch.Tensor]:
    steps = range(detector.steps_per_epoch)
    return [detector.step(epoch, step) for epoch in range(first, first + epochs) for step in steps]


def equal(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Batches of images that `countable` data's level 16 is trained on, in order."""
    batches: list[list[int]] = []
    step = LevelTrainer.step

    def watched(self: LevelTrainer, features: torch.Tensor, reference: torch.Tensor | None) -> object:
        if features.shape[-1] == CHANNELS[16]:
            batches.append(features[:, 0, 0].round().int().tolist())
        return step(self, features, reference)

    monkeypatch.setattr(LevelTrainer, "step", watched)
    return batches


def countable(images: int) -> TrialData:
    """Training images whose first feature is their number."""
    data = trial_data(train=images)
    learnt = {level: array.copy() for level, array in data.train.pooled.items()}
    for array in learnt.values():
        array[:, 0, 0, 0] = np.arange(images)
    return replace(data, train=Split(pooled=learnt))


def with_level_4(data: TrialData) -> TrialData:
    """The same with a third level, which is level 8 twice as fine."""
    learnt, tested = (
        part | {4: part[8].repeat(2, axis=-2).repeat(2, axis=-3)} for part in (data.train.pooled, data.test.pooled)
    )
    references = build_references(MeanReference(), learnt, tested, CPU)
    return feature_data(learnt, tested, data.truth.masks, data.truth.labels, references)


class TestBatches:
    def test_an_epoch_shows_every_image_once(self, seen: list[list[int]]) -> None:
        detector = method(countable(7), batch_size=3)
        assert detector.steps_per_epoch == 3
        train(detector, 1)
        assert [len(batch) for batch in seen] == [3, 3, 1]
        assert sorted(image for batch in seen for image in batch) == list(range(7))

    def test_order_follows_seed_and_epoch_and_nothing_else(self, seen: list[list[int]]) -> None:
        orders = {}
        for seed in (1, 2):
            for epoch in (0, 1):
                train(method(countable(9), seed=seed), 1, first=epoch)
                orders[seed, epoch] = seen.copy()
                seen.clear()
        assert len({str(order) for order in orders.values()}) == 4
        torch.manual_seed(99)  # a global generator elsewhere, epochs before it, other levels, another network
        train(method(countable(9), seed=2, levels=[16], layers=2), 2)
        assert seen == orders[2, 0] + orders[2, 1]

    def test_a_batch_larger_than_the_set_is_the_set(self, seen: list[list[int]]) -> None:
        detector = method(countable(3), batch_size=50)
        train(detector, 1)
        assert detector.steps_per_epoch == 1 and sorted(seen[0]) == [0, 1, 2]

    def test_read_only_shared_arrays_are_used_without_a_warning(self) -> None:
        torch.set_warn_always(True)  # by default torch says it once per process
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                detector = method()
                train(detector, 1)
                score_maps(detector)
                method().load_state({name: frozen(array) for name, array in detector.state().items()})
        finally:
            torch.set_warn_always(False)

    @pytest.mark.parametrize("kind", ["mean", "nearest", "codebook"])
    def test_where_shared_arrays_lie_changes_no_bit(self, kind: str) -> None:
        data = trial_data(good=8, defective=8, reference=kind)
        assert data.context.reference is not None
        detectors, placed = [method(data)], []
        for offset in (4, 8):
            learnt, tested = (
                {level: misplaced(array, offset) for level, array in part.items()}
                for part in (data.train.pooled, data.test.pooled)
            )
            references = {
                level: type(part)(**{name: misplaced(array, offset) for name, array in part.arrays().items()})
                for level, part in data.context.reference.levels.items()
            }
            moved = feature_data(learnt, tested, data.truth.masks, data.truth.labels, References(references, {}))
            placed.append(moved)
            detectors.append(method(moved))
        scores = []
        for detector, shown in zip(detectors, [data, *placed], strict=True):
            train(detector, 2)
            scores.append({maps.score: maps.pixels for maps in score_maps(detector, shown)})
        for detector, found in zip(detectors[1:], scores[1:], strict=True):
            assert equal(detector.state(), detectors[0].state())
            assert equal(found, scores[0])


def frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def misplaced(array: np.ndarray, offset: int) -> np.ndarray:
    """The same values `offset` bytes after a multiple of 64 in memory, as in a mapped file."""
    memory = np.empty(array.nbytes + 128, np.uint8)
    start = -memory.ctypes.data % 64 + offset
    view = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


class TestLevels:
    def test_a_level_trains_as_if_it_were_alone(self) -> None:
        together, alone = method(levels=[8, 16]), method(levels=[16])
        train(together, 3)
        losses_alone = train(alone, 3)
        weights = {name: array for name, array in together.weights().items() if name.startswith("16/")}
        assert equal(weights, alone.weights())
        scores = {maps.score: maps.pixels for maps in score_maps(together)}
        assert equal(
            {maps.score: maps.pixels for maps in score_maps(alone)}, {k: scores[k] for k in scores if k[-3:] == "@16"}
        )
        assert len(losses_alone[0]) == len(alone.loss_names) == 8

    def test_the_first_loss_is_the_mean_reconstruction_of_the_levels(self) -> None:
        detector = method()
        values = dict(zip(detector.loss_names, detector.step(0, 0).tolist(), strict=True))
        assert detector.loss_names[0] == "reconstruction" and len(values) == 15
        assert values["reconstruction"] == pytest.approx((values["8/reconstruction"] + values["16/reconstruction"]) / 2)

    def test_zero_gradient_steps_are_one_adam_over_all_levels(self) -> None:
        """The published loop under PyTorch 1: zeroed gradients are zeros, so the other level moves by its momentum."""
        detector, twin = (method(trial_data(train=1), batch_size=1, zero_gradient_step=on) for on in (True, False))
        parameters = [p for trainer in twin.trainers.values() for p in trainer.network.parameters()]
        adam = torch.optim.Adam(parameters, lr=1e-2, foreach=False)
        for epoch in range(4):
            detector.step(epoch, 0)
            for level, trainer in twin.trainers.items():
                given = twin.train[level]
                terms = losses(trainer.network(given, twin.references[level].of(None)), given, LossWeights())
                adam.zero_grad(set_to_none=False)  # on the first round the later level's gradients are still None
                terms.total.backward()
                adam.step()
        actual, expected = detector.weights(), twin.weights()
        for name in (name for name in expected if not name.endswith("key.bias")):  # whose gradient is rounding alone
            np.testing.assert_allclose(actual[name], expected[name], rtol=1e-4, atol=1e-5, err_msg=name)
        # 4 steps of its own and one per step of the other level, but for level 16 none before its first
        state = detector.state()
        assert state["8/out.bias/step"] == 8 and state["16/out.bias/step"] == 7
        plain = method(trial_data(train=1), batch_size=1)
        train(plain, 4)
        assert not np.allclose(plain.weights()["8/out.bias"], expected["8/out.bias"], atol=1e-4)


class TestState:
    @pytest.mark.parametrize("view", VIEWS)
    def test_the_next_step_is_the_same_to_the_bit(self, view: View) -> None:
        original, restored = method(views=view), method(views=view, seed=1)
        train(original, 2)
        state = original.state()
        restored.load_state(state)
        restored.seed = original.seed  # the order of images; the weights came with the state
        assert equal(restored.state(), state)
        for _ in range(2):
            assert torch.equal(original.step(2, 0), restored.step(2, 0))
        assert equal(restored.state(), original.state()) and not equal(state, original.state())

    def test_before_the_first_step_there_are_no_moments(self) -> None:
        detector = method(zero_gradient_step=True)
        start = detector.state()
        assert equal(start, detector.weights())
        undisturbed = method(zero_gradient_step=True)
        assert torch.equal(detector.step(0, 0), undisturbed.step(0, 0))
        assert equal(detector.state(), undisturbed.state()), "asking for the state changed the training"
        detector.load_state(start)  # back to the start, with no momentum left
        train(detector, 1)
        train(undisturbed := method(zero_gradient_step=True), 1)
        assert equal(detector.state(), undisturbed.state())

    def test_a_state_is_a_copy(self) -> None:
        detector = method()
        train(detector, 1)
        state = detector.state()
        kept = {name: array.copy() for name, array in state.items()}
        train(detector, 1)
        assert equal(state, kept)
        other = method()
        other.load_state(state)
        train(other, 1)
        assert equal(state, kept)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"d_model": {"8": 16, "16": 16}}, r"8/embed\.bias: \(16,\), not \(8,\)"),
            ({"layers": 2}, r"layers\.1\..*, not absent"),
            ({"views": "intra"}, r"inter.*: absent, not"),
            ({"levels": [8]}, r"the first is 16/.*: absent"),
        ],
    )
    def test_a_state_of_other_networks_is_refused_and_changes_nothing(self, changes: dict, message: str) -> None:
        other, detector = method(**changes), method()
        train(other, 1)
        train(detector, 1)
        before = detector.state()
        for state in (other.state(), other.weights()):
            with pytest.raises(ValueError, match=message):
                detector.load_state(state)
            assert equal(detector.state(), before)

    def test_an_array_that_would_broadcast_is_refused(self) -> None:
        detector = method()
        train(detector, 1)
        for name in ("8/embed.weight", "8/embed.weight/exp_avg"):
            state = detector.state()
            state[name] = state[name][:1]
            with pytest.raises(ValueError, match=rf"1 arrays differ, the first is {name}: \(1, 6\), not \(8, 6\)"):
                detector.load_state(state)


class TestScoring:
    @pytest.mark.parametrize("view", VIEWS)
    @pytest.mark.parametrize("levels", [[8], [8, 16], [4, 8, 16]])
    def test_every_rule_on_every_subset_of_levels(self, view: View, levels: list[int]) -> None:
        data = with_level_4(trial_data(good=6, defective=5))  # more than one pass of the network
        detector = method(data, views=view, levels=levels, d_model={"4": 4, "8": 8, "16": 16})
        train(detector, 1)
        scored = {maps.score: maps for maps in score_maps(detector, data)}
        subsets = [subset for count in (1, 2, 3) for subset in combinations(levels, count)]
        assert list(scored) == [f"{rule}@{'+'.join(map(str, subset))}" for rule in rules(view) for subset in subsets]
        assert detector.primary_score == list(scored)[-1]
        for rule in rules(view):
            for subset in subsets:
                maps = []
                for level in subset:
                    network, side = detector.trainers[level].network, SIZE // level
                    given = torch.from_numpy(data.test.pooled[level].copy()).flatten(1, 2)
                    lookup = detector.references.get(level)
                    reference = lookup.of(None) if lookup else None
                    with torch.no_grad():
                        patches = patch_scores(network(given, reference), given).score(rule)
                    maps.append(upsample(patches.reshape(-1, side, side), SIZE))
                expected = sum(maps[1:], maps[0]) / len(maps)
                found = scored[f"{rule}@{'+'.join(map(str, subset))}"]
                np.testing.assert_allclose(found.pixels, expected.numpy(), rtol=1e-4, atol=1e-6)
                blurred = [gaussian_filter(image.numpy(), SMOOTHING_SIGMA).max() for image in expected]
                np.testing.assert_allclose(found.images, blurred, rtol=1e-4, atol=1e-6)

    def test_scoring_does_not_disturb_training(self) -> None:
        watched, undisturbed = method(), method()
        for epoch in range(2):
            train(watched, 1, first=epoch)
            score_maps(watched)
            train(undisturbed, 1, first=epoch)
        assert equal(watched.state(), undisturbed.state())


def test_the_registry_finds_the_method() -> None:
    assert method_class("fod") is FodMethod and len({method_class(name) for name in BUILT_IN}) == len(BUILT_IN)
    with pytest.raises(JobError, match="did you mean fod"):
        method_class("fodd")


def test_the_correlation_at_work_is_named_and_what_cannot_be_had_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [method(views=view).correlation for view in ("full", "patch")] == ["numba", ""]
    monkeypatch.setenv("FOD_BENCH_CORRELATION", "plain")
    assert method().correlation == "plain"
    with pytest.raises(TrialError, match="precision tf32: this processor does not multiply in it"):
        method(precision="tf32")
    monkeypatch.setenv("FOD_BENCH_CORRELATION", "fast")
    with pytest.raises(TrialError, match="there are plain, tiled, numba, triton"):
        method()
