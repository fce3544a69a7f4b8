"""A worker with several trials: each is claimed, shown, ended and told of by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from fod_bench.cluster import worker as worker_module
from fod_bench.cluster.worker import Worker
from fod_bench.job import load_job
from fod_bench.plan import TrialJob, make_plan
from fod_bench.records.claims import Claim, Held, take
from fod_bench.records.failures import Failure
from fod_bench.records.names import record_name
from fod_bench.records.record import Record
from fod_bench.runs.messages import Attempt, Done, SetTask, Stopped, Taken
from fod_bench.store import Store, open_store
from fod_bench.trials.trial import Assignment, run_trials
from tests.helpers.commands import DRAWN, TINY

LEASE = 600.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def worker(store: Store) -> Worker:
    return Worker(store.uri, 1, gpu=False)


@pytest.fixture
def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worker: Worker) -> list[TrialJob]:
    """Two of one kind on different categories, and one that lasts longer; their features are there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    datasets = {"drawn": {**DRAWN, "categories": ["weave", "board"]}}
    variants = {"short": {}, "long": {"epochs": 6, "heads": 1}}
    Path("job.yaml").write_text(
        yaml.safe_dump({"name": "tiny", "datasets": datasets, "settings": TINY, "variants": variants})
    )
    made = list(make_plan(load_job("job.yaml"), download=False).trials.values())
    for request in {one.key: one for trial in made if trial.wanted for one in trial.wanted.sets}.values():
        worker.prepare([SetTask(request, [made[0].settings.reference], Attempt("features", None, LEASE))])
    return [trial for trial in made if trial.rows == ["short"] or trial.category == "weave"]


def tasks(trials: list[TrialJob], seconds: float = 1e9) -> list[Any]:
    return [(asked.trial(seconds), Attempt(f"t{number}", None, LEASE)) for number, asked in enumerate(trials)]


def test_each_has_its_record_and_what_can_share_steps_does(
    worker: Worker, store: Store, trials: list[TrialJob]
) -> None:
    outcomes = worker.train(tasks(trials))
    assert [(type(outcome), outcome.key) for outcome in outcomes] == [(Done, trial.key) for trial in trials]
    records = [Record.model_validate_json(store.get(record_name(trial.key))) for trial in trials]
    by_epochs = {record.setting["epochs"]: record.run.packed for record in records}
    assert by_epochs == {2: 2, 6: 1}
    assert not list(store.list("claims/")) and worker.status()[0].doing == "idle"
    assert all(isinstance(outcome, Done) and not outcome.ours for outcome in worker.train(tasks(trials)))


def test_one_whose_features_are_gone_or_that_another_has_leaves_the_others(
    worker: Worker, store: Store, trials: list[TrialJob]
) -> None:
    gone = next(trial for trial in trials if trial.category == "board")
    here = [trial for trial in trials if trial is not gone]
    for info in list(store.list(f"features/{gone.wanted.sets[0].key}")):  # type: ignore[union-attr]
        store.delete(info.name)
    fresh = Worker(store.uri, 1, gpu=False)  # which holds nothing yet
    assert not isinstance(take(store, here[0].key, attempt="another", lease=600.0), Held)
    outcomes = dict(zip([trial.key for trial in trials], fresh.train(tasks(trials)), strict=True))
    assert isinstance(outcomes[here[0].key], Taken) and isinstance(outcomes[here[1].key], Done)
    failure = outcomes[gone.key]
    assert isinstance(failure, Failure) and failure.kind == "features" and "are gone from the store" in failure.reason


def test_the_claim_of_one_that_has_ended_is_renewed_no_more_while_others_go_on(
    worker: Worker, trials: list[TrialJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A heartbeat would take back what was let go of."""
    events: list[tuple[str, str]] = []

    def watched(asked: Sequence[Assignment], device: torch.device) -> Iterator[tuple[int, Record | Exception]]:
        for number, came in run_trials(asked, device):
            events.append(("over", asked[number].trial.key))
            worker.stop()
            yield number, came

    @contextmanager
    def beating(claim: Claim) -> Iterator[Claim]:
        events.append(("beats", claim.key))
        yield claim
        events.append(("still", claim.key))

    monkeypatch.setattr(worker_module, "run_trials", watched)
    monkeypatch.setattr(Claim, "beating", beating)
    outcomes = worker.train(tasks(trials))
    assert {type(outcome) for outcome in outcomes} == {Done, Stopped}
    assert events[:3] == [("beats", trial.key) for trial in trials]
    over = [key for event, key in events if event == "over"]
    assert events[3:] == [(event, key) for key in over for event in ("over", "still")]


def test_its_status_has_a_line_for_each(
    worker: Worker, trials: list[TrialJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    report = worker.report

    def noted(key: str, **progress: Any) -> None:
        report(key, **progress)
        seen.append({status.key: (status.epoch, status.epochs, status.step) for status in worker.status()})

    monkeypatch.setattr(worker, "report", noted)
    worker.train(tasks(trials))
    assert all(status.keys() == {trial.key for trial in trials} for status in seen)
    short = next(trial.key for trial in trials if trial.rows == ["short"])
    of_short = list(dict.fromkeys(status[short] for status in seen))  # epochs, of how many, and steps
    assert of_short[:3] == [(0, 2, 0), (0, 2, 1), (0, 2, 2)] and of_short[-1] == (2, 2, 0)
