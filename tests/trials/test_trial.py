"""A trial from data to record: complete, its numbers those of training by hand, and done once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from fod_bench.errors import DivergedError
from fod_bench.evaluation.metric import METRICS
from fod_bench.methods.base import Split
from fod_bench.records.claims import LostClaimError
from fod_bench.records.curves import EpochResult
from fod_bench.records.names import record_name
from fod_bench.records.record import Counts, Record, Training
from fod_bench.store import Store, open_store
from fod_bench.store.tensors import load_tensors
from tests.helpers.trial_builders import (
    EPOCHS,
    STEPS,
    Watcher,
    curves,
    epochs,
    method,
    names,
    run,
    score_maps,
    trial,
    trial_data,
    weights_name,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


Undisturbed = tuple[Record, list[EpochResult]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    store = open_store(str(tmp_path_factory.mktemp("undisturbed")))
    record = run(store)
    return record, epochs(store, record)


class TestRecord:
    def test_is_complete_and_stored_last(self, store: Store) -> None:
        asked, watcher = trial(), Watcher()
        record = run(store, asked, watcher=watcher)
        assert Record.model_validate_json(store.get(record_name("a1"))) == record
        assert names(store) == [
            "*/best_image.safetensors",
            "*/best_pixel.safetensors",
            "*/curves.json",
            "*/last.safetensors",
            "*/scores-best_image.safetensors",
            "*/scores-best_pixel.safetensors",
            "*/scores-last.safetensors",
            "record.json",
        ]
        for field in Training.model_fields:
            assert getattr(record, field) == getattr(asked, field)
        assert record.counts == Counts(train=5, test_good=3, test_defect=4)
        assert record.primary_score == "rec_div@8+16" and record.undefined == {}
        results = epochs(store, record)
        assert record.epochs == EPOCHS and [result.epoch for result in results] == [1, 2, 3, 4]
        assert len(record.scores()) == 12
        for result in results:
            assert list(result.losses) == method().loss_names and result.metrics is not None
            assert all(tuple(values) == tuple(METRICS) for values in result.metrics.values())
        assert record.run.resumed_after == [] and record.run.device.startswith("cpu")
        assert record.run.correlation == "numba"
        assert 0 < record.run.seconds_per_step == pytest.approx(record.run.train_seconds / (EPOCHS * STEPS))
        assert watcher.steps == EPOCHS * STEPS
        assert watcher.reports[:4] == [
            (0, EPOCHS, 1, STEPS, None),
            (0, EPOCHS, 2, STEPS, None),
            (0, EPOCHS, 3, STEPS, None),
            (1, EPOCHS, 0, STEPS, results[0].losses["reconstruction"]),
        ]

    def test_numbers_are_those_of_training_by_hand(self, undisturbed: Undisturbed) -> None:
        record, results = undisturbed
        data, detector = trial_data(), method()
        images, pixels = [], []
        for epoch, result in enumerate(results):
            losses = torch.stack([detector.step(epoch, step) for step in range(STEPS)])
            assert list(result.losses.values()) == losses.double().mean(0).tolist()
            maps = next(maps for maps in score_maps(detector, data) if maps.score == "rec_div@8+16")
            images.append(roc_auc_score(data.truth.labels, maps.images))
            pixels.append(roc_auc_score(data.truth.masks.ravel(), maps.pixels.ravel()))
        for metric, values in (("image_auroc", images), ("pixel_auroc", pixels)):
            best = int(np.argmax(values))  # the first of equals
            for found, epoch in ((record.best, best), (record.last, EPOCHS - 1)):
                value, at = found("rec_div@8+16", metric)  # type: ignore[arg-type]
                assert value == pytest.approx(values[epoch]) and at == epoch + 1
            assert best != EPOCHS - 1, "best and last are one: the data no longer tell them apart"

    def test_kept_weights_give_the_recorded_numbers(self, store: Store) -> None:
        record, data = run(store), trial_data()
        score = record.primary_score
        for part, metric, (expected, _) in (
            ("best_image", "image_auroc", record.best(score, "image_auroc")),
            ("best_pixel", "pixel_auroc", record.best(score, "pixel_auroc")),
            ("last", "image_auroc", record.last(score, "image_auroc")),
            ("last", "pixel_auroc", record.last(score, "pixel_auroc")),
        ):
            weights, about = load_tensors(store, weights_name(store, part))
            assert about == {"key": "a1"}
            detector = method(seed=1)
            detector.load_state(weights)
            maps = next(maps for maps in score_maps(detector, data) if maps.score == score)
            truth, scores = (
                (data.truth.labels, maps.images) if metric == "image_auroc" else (data.truth.masks, maps.pixels)
            )
            assert roc_auc_score(truth.ravel(), scores.ravel()) == pytest.approx(expected, abs=1e-12)

    def test_of_equal_epochs_the_first_is_kept(self, store: Store) -> None:
        data = trial_data()
        far = {level: array + 30 * data.truth.labels[:, None, None, None] for level, array in data.test.pooled.items()}
        data = replace(data, test=Split(pooled={level: array.astype(np.float32) for level, array in far.items()}))
        record, detector = run(store, data=data), method(data)
        assert curves(store, record).metrics["rec_div@8+16"]["image_auroc"] == [1.0] * EPOCHS
        for step in range(STEPS):
            detector.step(0, step)
        kept, _ = load_tensors(store, weights_name(store, "best_image"))
        expected = detector.weights()
        assert kept.keys() == expected.keys()
        assert all(np.array_equal(kept[name], expected[name]) for name in kept)

    def test_only_due_epochs_and_the_last_are_evaluated(self, store: Store, undisturbed: Undisturbed) -> None:
        record, (_, results) = run(store, trial(evaluate_every=3)), undisturbed
        found = epochs(store, record)
        assert curves(store, record).evaluated == [3, 4]
        assert [result.losses for result in found] == [result.losses for result in results]
        assert [result.metrics for result in found] == [None, None, results[2].metrics, results[3].metrics]
        image = max((2, 3), key=lambda index: (value(results[index]), -index))
        assert record.best("rec_div@8+16", "image_auroc") == (value(results[image]), image + 1)

    @pytest.mark.parametrize(
        ("good", "defective", "undefined", "kept"),
        [
            (4, 0, {"image": "no defect in the test split", "pixel": "no defect in the test split"}, ["last"]),
            (0, 4, {"image": "no normal image in the test split"}, ["best_pixel", "last"]),
        ],
        ids=["no defects", "no good image"],
    )
    def test_a_missing_class_leaves_metrics_undefined_with_the_reason(
        self, store: Store, good: int, defective: int, undefined: dict[str, str], kept: list[str]
    ) -> None:
        record = run(store, trial(epochs=2), trial_data(good=good, defective=defective))
        assert {name.split("_")[0] for name in record.undefined} == set(undefined)
        for name, reason in record.undefined.items():
            assert reason.startswith(undefined[name.split("_")[0]])
            assert record.best(record.primary_score, name) == record.last(record.primary_score, name) == (None, None)  # type: ignore[arg-type]
        assert names(store) == [
            *sorted(
                [*(f"*/{before}{part}.safetensors" for part in kept for before in ("", "scores-")), "*/curves.json"]
            ),
            "record.json",
        ]


def value(result: EpochResult) -> float:
    found = (result.metrics or {})["rec_div@8+16"]["image_auroc"]
    assert found is not None
    return found


class TestTwice:
    def test_a_finished_trial_is_not_trained_again(self, store: Store) -> None:
        first, watcher = run(store), Watcher()
        assert run(store, watcher=watcher) == first and watcher.reports == []

    def test_of_two_at_work_the_one_that_took_over_stands(self, store: Store) -> None:
        """The other's numbers differ, as on another kind of device; the first goes on and finds out at its end."""

        class Overtaken(Watcher):
            def should_stop(self) -> bool:
                if self.steps == EPOCHS * STEPS and not store.exists(record_name("a1")):
                    self.other = run(store, data=trial_data(seed=5))
                    self.stored = {info.name: store.get(info.name) for info in store.list("trials/")}
                return False

        watcher = Overtaken()
        with pytest.raises(LostClaimError):
            run(store, watcher=watcher)
        assert {info.name: store.get(info.name) for info in store.list("trials/")} == watcher.stored
        assert not list(store.list("claims/"))
        assert run(store) == watcher.other and watcher.other.run.claim.startswith("00000002-")


class TestDiverged:
    def test_a_loss_that_is_not_finite_is_named_with_epoch_and_step(self, store: Store) -> None:
        data = trial_data()
        spoilt = {level: array.copy() for level, array in data.train.pooled.items()}
        spoilt[8][3] = np.nan
        data = replace(data, train=Split(pooled=spoilt))
        detector = method(data)
        step = next(step for step in range(STEPS) if not bool(detector.step(0, step).isfinite().all()))
        with pytest.raises(DivergedError, match=rf"a loss is not finite in epoch 1, step {step + 1}$"):
            run(store, data=data)
        assert names(store) == []

    def test_in_a_later_epoch_and_after_a_checkpoint(self, store: Store) -> None:
        asked = trial(0.0, learning_rate=1e30, batch_size=5, evaluate_every=4)
        with pytest.raises(DivergedError, match=r"a loss is not finite in epoch 2, step 1$"):
            run(store, asked)
        with pytest.raises(DivergedError, match=r"a loss is not finite in epoch 2, step 1$"):
            run(store, asked)  # and again: nothing spoilt is taken for a checkpoint
        assert names(store) == []

    def test_a_score_that_is_not_finite(self, store: Store) -> None:
        data = trial_data()
        spoilt = {level: array.copy() for level, array in data.test.pooled.items()}
        spoilt[16][2, 0, 0, 0] = np.inf
        with pytest.raises(DivergedError, match=r"scores are not finite after epoch 1$"):
            run(store, data=replace(data, test=Split(pooled=spoilt)))
        assert names(store) == []
