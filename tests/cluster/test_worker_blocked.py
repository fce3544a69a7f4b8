"""A worker in whose store something stands in an object's place: what needs the object fails, what was made with it is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fod_bench.cluster.worker import Worker
from fod_bench.features.request import FeatureRequest
from fod_bench.plan import TrialJob
from fod_bench.records.claims import Claim, take
from fod_bench.records.failures import Failure
from fod_bench.records.names import manifest_name, record_name, reference_name
from fod_bench.runs.messages import Attempt, Done, Outcome, Prepared, SetTask, Taken
from fod_bench.store import Store, open_store
from tests.helpers.simulation import planned

LEASE = 60.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrialJob:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return next(iter(planned(tmp_path).trials.values()))


def block(store: Store, name: str) -> Path:
    place = Path(store.location(name))
    place.mkdir(parents=True)
    return place


def prepared(store: Store, trial: TrialJob) -> dict[str, Prepared | Taken | Failure]:
    """What becomes of the training's features, with its reference, and of the same before smoothing: one pass makes both."""
    assert trial.wanted is not None
    (pooled,) = trial.wanted.sets
    assert isinstance(pooled, FeatureRequest)
    unpooled = replace(pooled, pooled=False)
    tasks = [
        SetTask(pooled, [trial.settings.reference], Attempt("a", None, LEASE)),  # type: ignore[attr-defined]
        SetTask(unpooled, [], Attempt("b", None, LEASE)),
    ]
    return dict(zip(("pooled", "unpooled"), Worker(store.uri, 1, gpu=False).prepare(tasks), strict=True))


def trained(store: Store, trial: TrialJob) -> Outcome:
    (outcome,) = Worker(store.uri, 1, gpu=False).train([(trial.trial(1e9), Attempt("c", None, LEASE))])
    return outcome


def test_one_of_two_sets(store: Store, trial: TrialJob) -> None:
    assert trial.wanted is not None
    place = block(store, manifest_name(trial.wanted.sets[0].key))
    outcomes = prepared(store, trial)
    failure = outcomes["pooled"]
    assert isinstance(failure, Failure) and failure.kind == "object" and f"move {place} away" in failure.reason
    assert isinstance(outcomes["unpooled"], Prepared)
    place.rmdir()
    outcomes = prepared(store, trial)
    assert outcomes["pooled"] == replace(outcomes["pooled"], made=False), "what was decided then is there now"
    assert isinstance(trained(store, trial), Done)


def test_the_claims_of_a_set(store: Store, trial: TrialJob) -> None:
    assert trial.wanted is not None
    place = Path(store.location(f"claims/{trial.wanted.sets[0].key}"))
    place.parent.mkdir(parents=True)
    place.write_text("by hand")
    outcomes = prepared(store, trial)
    failure = outcomes["pooled"]
    assert isinstance(failure, Failure) and failure.kind == "object" and str(place) in failure.reason
    assert isinstance(outcomes["unpooled"], Prepared)


@pytest.mark.parametrize("checksum", [False, True])
def test_a_reference(store: Store, trial: TrialJob, checksum: bool) -> None:
    """The trainings that need it fail; the features are there for others."""
    name = reference_name(trial.reference_key or "")
    place = Path(store.location(name))
    if checksum:
        prepared(store, trial)
        place = place.parents[1] / ".checksums" / name
        place.unlink()
    place.mkdir(parents=True)
    outcome = prepared(store, trial)["pooled"]
    assert isinstance(outcome, Prepared)
    failure = outcome.unmade[trial.reference_key or ""]
    assert failure.kind == "object" and f"move {place} away" in failure.reason


def test_a_record_is_written_when_the_way_is_free(store: Store, trial: TrialJob) -> None:
    """It appears while the training runs: the result is kept in the commit."""
    prepared(store, trial)
    place = block(store, record_name(trial.key))
    failure = trained(store, trial)
    assert isinstance(failure, Failure) and failure.kind == "object" and f"move {place} away" in failure.reason
    place.rmdir()
    done = trained(store, trial)
    assert isinstance(done, Done) and not done.ours and not list(store.list("claims/"))


def test_a_training_lets_go_of_its_claim(store: Store, trial: TrialJob) -> None:
    prepared(store, trial)
    (place := Path(store.location(f"trials/{trial.key}"))).parent.mkdir(exist_ok=True)
    place.symlink_to("nowhere")
    failure = trained(store, trial)
    assert isinstance(failure, Failure) and failure.kind == "object" and str(place) in failure.reason
    assert isinstance(take(store, trial.key, attempt="another", lease=600.0), Claim)
