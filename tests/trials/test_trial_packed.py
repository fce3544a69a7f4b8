"""Trials that train in lock-step: each ends as it would have alone, whatever becomes of the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fod_bench.errors import DivergedError
from fod_bench.methods.base import Split
from fod_bench.methods.fod import packed
from fod_bench.methods.fod.train import LevelTrainer
from fod_bench.records.claims import LostClaimError
from fod_bench.records.names import record_name
from fod_bench.records.record import Record, Trial
from fod_bench.store import Store, open_store
from fod_bench.trials.data import TrialData
from fod_bench.trials.trial import Assignment, Interrupted, run_trials
from tests.helpers.trial_builders import (
    CPU,
    EPOCHS,
    STEPS,
    Killed,
    Watcher,
    claim,
    epochs,
    names,
    run,
    trial,
    trial_data,
)

KEYS = ("a1", "b2", "c3", "d4")
LOSSES = {"rel": 1e-4, "abs": 1e-6}
METRICS = {"abs": 1e-3}
"""Of float32, after twelve steps of a learning rate of 1e-3; no image's rank changes."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "other"))


def trials(checkpoint_seconds: float = 1e9, **changes: Any) -> list[Trial]:
    """Four of one kind, with λ and seeds of their own."""
    made = []
    for index, key in enumerate(KEYS):
        asked = trial(checkpoint_seconds, key, **{"learning_rate": 1e-3, "lambda1": 0.2 * index} | changes)
        made.append(asked.model_copy(update={"seed": 10 + index}))
    return made


def data_of() -> list[TrialData]:
    """For each its images, of two categories."""
    return [trial_data(seed=2), trial_data(seed=7)] * 2


def run_together(
    store: Store, asked: list[Trial], data: list[TrialData] | None = None, watchers: dict[int, Watcher] | None = None
) -> list[Record | Exception]:
    given = data or data_of()
    assignments = [
        Assignment(each, given[index], claim(store, each.key), (watchers or {}).get(index) or Watcher())
        for index, each in enumerate(asked)
    ]
    outcomes = dict(run_trials(assignments, CPU))
    return [outcomes[index] for index in range(len(asked))]


def as_alone(store: Store, other: Store, asked: Trial, data: TrialData, outcome: Record | Exception) -> Record:
    """Check the record of a trial in `store` against that of the same trial run by itself in `other`."""
    assert isinstance(outcome, Record), outcome
    expected = run(other, asked, data)
    left_out = {"run": True, "selected": True, "curves": True}
    assert outcome.model_dump(exclude=left_out) == expected.model_dump(exclude=left_out)
    for one, alone in zip(epochs(store, outcome), epochs(other, expected), strict=True):
        assert one.losses == pytest.approx(alone.losses, **LOSSES)
        assert one.metrics is not None and alone.metrics is not None
        for score, metrics in alone.metrics.items():
            assert one.metrics[score] == pytest.approx(metrics, **METRICS)
    return outcome


def test_records_are_those_of_trials_run_alone(store: Store, other: Store) -> None:
    asked, watchers = trials(), {index: Watcher() for index in range(4)}
    outcomes = run_together(store, asked, watchers=watchers)
    for index, outcome in enumerate(outcomes):
        record = as_alone(store, other, asked[index], data_of()[index], outcome)
        assert record.run.packed == 4 and record.run.resumed_after == []
        assert watchers[index].steps == EPOCHS * STEPS
    alone = Record.model_validate_json(other.get(record_name("a1")))
    assert alone.run.packed == 1
    assert not list(store.list("claims/")) and not [info for info in store.list() if "checkpoints" in info.name]
    again = run_together(store, asked)
    assert again == outcomes, "what has a record is not trained again"


def test_what_cannot_share_steps_takes_turns(store: Store, other: Store) -> None:
    asked = [*trials()[:2], *trials(views="intra", evaluate_every=2)[2:]]
    asked[3] = asked[3].model_copy(update={"setting": asked[3].setting | {"layers": 2}})
    outcomes = run_together(store, asked)
    assert [outcome.run.packed for outcome in outcomes if isinstance(outcome, Record)] == [2, 2, 1, 1]
    as_alone(store, other, asked[1], data_of()[1], outcomes[1])
    expected = run(other, asked[3], data_of()[3])  # by itself, so to the bit
    assert isinstance(outcomes[3], Record) and outcomes[3].result_digest() == expected.result_digest()


def test_categories_of_different_size_and_one_that_ends_before_the_others(store: Store, other: Store) -> None:
    data = [trial_data(), trial_data(train=8, seed=7), trial_data(), trial_data(train=2)]
    asked = trials()
    for index, outcome in enumerate(run_together(store, asked, data)):
        record = as_alone(store, other, asked[index], data[index], outcome)
        assert record.run.packed == 4


def test_a_stop_leaves_a_checkpoint_for_each_and_all_go_on(store: Store, other: Store) -> None:
    """One that was stopped elsewhere before joins them, at another step."""
    with pytest.raises(Interrupted):
        run(store, trials()[0], data_of()[0], Watcher(5))
    stopped = run_together(store, trials(), watchers={index: Watcher(2) for index in range(4)})
    assert [type(outcome) for outcome in stopped] == [Interrupted] * 4
    watchers = {index: Watcher() for index in range(4)}
    outcomes = run_together(store, trials(), watchers=watchers)
    assert [watchers[index].steps for index in range(4)] == [EPOCHS * STEPS - 7] + [EPOCHS * STEPS - 2] * 3
    for index, outcome in enumerate(outcomes):
        record = as_alone(store, other, trials()[index], data_of()[index], outcome)
        assert record.run.packed == 4
        assert record.run.resumed_after == ([1, 2] if index == 0 else [0])


def test_killed_and_continued(store: Store, other: Store) -> None:
    with pytest.raises(Killed):
        run_together(store, trials(0.0), watchers={2: Watcher(6, "kill")})
    for index, outcome in enumerate(run_together(store, trials(0.0))):
        as_alone(store, other, trials()[index], data_of()[index], outcome)


def test_one_that_diverges_leaves_the_others(store: Store, other: Store) -> None:
    data = data_of()
    spoilt = {level: array.copy() for level, array in data[1].train.pooled.items()}
    spoilt[8][3] = np.nan
    data[1] = replace(data[1], train=Split(pooled=spoilt))
    outcomes = run_together(store, trials(), data)
    assert isinstance(outcomes[1], DivergedError) and "a loss is not finite in epoch 1" in str(outcomes[1])
    assert not list(store.list("trials/b2/")) and not list(store.list("claims/"))
    for index in (0, 2, 3):
        as_alone(store, other, trials()[index], data[index], outcomes[index])


def test_one_that_is_taken_over_leaves_the_others(store: Store, other: Store) -> None:
    class Overtaken(Watcher):
        def should_stop(self) -> bool:
            if self.steps == 4:
                claim(store, "c3")
            return False

    outcomes = run_together(store, trials(0.0), watchers={2: Overtaken()})
    assert isinstance(outcomes[2], LostClaimError)
    for index in (0, 1, 3):
        as_alone(store, other, trials()[index], data_of()[index], outcomes[index])
    left = [info.name for info in store.list("trials/c3/")]
    assert all("checkpoints/00000001-" in name for name in left) and len(left) <= 2, "what the other went on from"


class TestOutOfMemory:
    def test_a_pack_that_does_not_fit_splits_and_goes_on(
        self, store: Store, other: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        losses, sizes = packed.losses, []

        def limited(output: Any, features: torch.Tensor, weights: Any) -> Any:
            sizes.append(len(features))
            if len(features) > 2:
                raise torch.cuda.OutOfMemoryError("no room")
            return losses(output, features, weights)

        monkeypatch.setattr(packed, "losses", limited)
        outcomes = run_together(store, trials())
        assert sizes.count(4) == 2, "once on each level"
        assert set(sizes) == {4, 2} and "4 trainings do not fit the GPU together" in caplog.text
        for index, outcome in enumerate(outcomes):
            record = as_alone(store, other, trials()[index], data_of()[index], outcome)
            assert record.run.packed == 2

    def test_only_one_that_does_not_fit_alone_has_failed(
        self, store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        losses, step = packed.losses, LevelTrainer.step
        calls = []

        def limited(output: Any, features: torch.Tensor, weights: Any) -> Any:
            if len(calls) < 1 and len(features) > 1:
                raise torch.cuda.OutOfMemoryError("no room")
            return losses(output, features, weights)

        def limited_alone(self: LevelTrainer, *batch: Any) -> Any:
            if not calls:
                calls.append(self)
                raise torch.cuda.OutOfMemoryError("no room")
            return step(self, *batch)

        monkeypatch.setattr(packed, "losses", limited)
        monkeypatch.setattr(LevelTrainer, "step", limited_alone)
        outcomes = run_together(store, trials())
        assert isinstance(outcomes[0], torch.cuda.OutOfMemoryError)
        for index in (1, 2, 3):
            as_alone(store, other, trials()[index], data_of()[index], outcomes[index])


def test_a_step_that_fails_fails_its_pack_and_no_other(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(packed, "losses", broken)
    asked = [*trials()[:2], *trials(views="intra")[2:3]]
    outcomes = run_together(store, asked)
    assert [str(outcome) for outcome in outcomes[:2]] == ["broken", "broken"]
    expected = run(other, asked[2], data_of()[2])
    assert isinstance(outcomes[2], Record) and outcomes[2].result_digest() == expected.result_digest()
    assert names(store)  # its record
