"""`fod-bench store gc`: what goes, and what does not, on hand-made stores with real claims."""

from __future__ import annotations

from pathlib import Path

import pytest

from fod_bench.errors import FodBenchError, StoreError
from fod_bench.records.claims import Claim, take
from fod_bench.records.upkeep import find_garbage, remove_garbage
from fod_bench.store import Store, open_store
from fod_bench.store.folder.store import LocalStore
from tests.helpers.commands import Bench
from tests.helpers.store_builders import (
    FAR,
    LOST,
    age,
    call,
    collected,
    damage,
    names,
    save_features,
    save_plan,
    save_run_of,
    save_state,
    save_trial,
    whole_store,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def whole(store: Store) -> Store:
    return whole_store(store)


class TestGarbage:
    def test_a_store_whose_runs_need_everything_loses_nothing(self, whole: Store) -> None:
        assert not collected(whole)

    def test_nothing_is_deleted_unless_it_is_said(self, whole: Store) -> None:
        save_trial(whole, "b1")
        age(whole)
        before = names(whole)
        done = call("gc", "--store", whole.uri)
        assert names(whole) == before
        assert "trials: no run needs it: 5 objects" in done.stdout and "trials/b1" in done.stdout
        assert "5 objects" in done.stderr and "--delete" in done.stderr

    def test_what_no_plan_names_goes(self, whole: Store) -> None:
        save_trial(whole, "b1")
        save_features(whole, "f2", "r2")
        whole.put("trials/b2/failure.json", b"{}")
        whole.put("trials/b2/failure.log", b"")
        whole.put("trials/b3/checkpoints/00000001-ab-000001.safetensors", b"state")
        whole.put("probe/abc/1", b"")
        age(whole)
        gone = collected(whole)
        assert {name.split("/")[1].split(".")[0] for name in gone} == {"b1", "b2", "b3", "f2", "r2", "abc"}
        assert not call("verify", "--store", whole.uri).stdout

    def test_leftovers_of_what_is_done_go(self, whole: Store) -> None:
        left = {
            "trials/a1/checkpoints/00000001-ab-000001.safetensors",
            "trials/a1/failure.json",
            f"trials/a1/{LOST}/last.safetensors",
            f"trials/a1/{LOST}/curves.json",
            f"features/f1/{LOST}/train.safetensors",
            "claims/a1/00000001.json",
            "claims/f1/00000001.json",
            "runs/tiny-1/state/d1.json",
        }
        for name in left:
            whole.put(name, b"{}")
        save_state(whole, "tiny-1", process=FAR)
        age(whole)
        assert collected(whole) == left

    def test_a_trial_that_may_go_on_keeps_its_claims_and_checkpoints(self, whole: Store) -> None:
        save_plan(whole, "tiny-1", ["a1", "a2", "a3"])
        claim = take(whole, "a3", attempt="mine:1")
        assert isinstance(claim, Claim)
        claim.release()
        whole.put(f"trials/a3/checkpoints/{claim.name}-000001.safetensors", b"state")
        whole.put(f"trials/a3/{claim.name}/last.safetensors", b"written just before it died")
        whole.put("trials/a2/failure.json", b"{}")
        age(whole)
        assert collected(whole) == {"trials/a2/failure.json"}

    def test_what_is_claimed_stays(self, whole: Store) -> None:
        save_trial(whole, "b1")
        save_features(whole, "f2", "r2")
        age(whole)
        take(whole, "b1", attempt="mine:1")
        assert not collected(whole), "the features of a claimed trial that no plan names are not known"
        said = call("gc", "--store", whole.uri).stderr
        assert "somebody is at work on b1" in said

    def test_a_claim_that_comes_right_before_the_deletion_keeps_it(self, whole: Store) -> None:
        save_trial(whole, "b1")
        age(whole)
        garbage = find_garbage(whole)
        assert [heap.name for heap in garbage.heaps] == ["trials/b1"]
        take(whole, "b1", attempt="mine:1")
        assert remove_garbage(whole, garbage, lambda heap: None) == ["trials/b1"]
        assert whole.exists("trials/b1/record.json")

    def test_something_new_right_before_the_deletion_keeps_it(self, whole: Store) -> None:
        whole.put("trials/b1/checkpoints/00000001-ab-000001.safetensors", b"state")
        age(whole)
        garbage = find_garbage(whole)
        save_trial(whole, "b1")
        assert remove_garbage(whole, garbage, lambda heap: None) == ["trials/b1"]

    def test_a_run_that_begins_right_before_the_deletion_ends_it(self, whole: Store) -> None:
        save_trial(whole, "b1")
        age(whole)
        garbage = find_garbage(whole)
        save_plan(whole, "late-1", ["b1"], job="late")
        with pytest.raises(FodBenchError, match=r"run late-1 was begun meanwhile.*start again"):
            remove_garbage(whole, garbage, lambda heap: None)
        assert whole.exists("trials/b1/record.json")

    def test_the_young_stays_until_it_is_old(self, whole: Store) -> None:
        save_trial(whole, "b1")
        assert not collected(whole)
        assert "1 more would go, but are younger" in call("gc", "--store", whole.uri).stderr
        age(whole, "trials/b1/", 20)
        assert len(collected(whole, "--older-than", "10")) == 5

    def test_names_it_does_not_know_are_left_alone_and_said(self, whole: Store) -> None:
        whole.put("trials/b1/notes.txt", b"by hand")
        age(whole)
        assert not collected(whole)
        assert "trials/b1/notes.txt: not an object of fod-bench" in call("gc", "--store", whole.uri).stderr

    def test_a_plan_that_cannot_be_read_forbids_it(self, whole: Store) -> None:
        damage(whole, "runs/tiny-1/plan.json")
        said = call("gc", "--store", whole.uri, "--delete", code=1).stderr
        assert "runs/tiny-1/plan.json" in said and "nothing is deleted" in said and said.count("\n") == 1

    def test_a_plan_of_an_older_version_is_completed_from_the_records(self, whole: Store) -> None:
        save_plan(whole, "tiny-1", ["a1", "a2"], features=(), references=())
        save_features(whole, "f2", "r2")
        age(whole)
        assert {name.split("/")[1].split(".")[0] for name in collected(whole)} == {"f2", "r2"}
        for name in names(whole, "trials/a2/"):
            whole.delete(name)
        save_features(whole, "f2", "r2")
        age(whole)
        assert not collected(whole), "the features of a2 are not known"
        assert "older version" in call("gc", "--store", whole.uri).stderr

    def test_what_makes_a_set_whole_goes_first(self, whole: Store) -> None:
        class Dying(LocalStore):
            def delete(self, name: str) -> None:
                if name.endswith(".safetensors"):
                    raise StoreError("the power is gone")
                super().delete(name)

        save_trial(whole, "b1")
        save_features(whole, "f2", "r2")
        age(whole)
        with pytest.raises(StoreError, match="power"):
            remove_garbage(Dying(Path(whole.uri)), find_garbage(whole), lambda heap: None)
        assert not whole.exists("trials/b1/record.json")
        assert not call("verify", "--store", whole.uri).stdout

    def test_an_empty_store(self, store: Store) -> None:
        assert "there is no folder" in call("gc", "--store", store.uri, code=1).stderr
        assert not Path(store.uri).exists(), "looking makes no store"
        Path(store.uri).mkdir()
        assert "0 objects" in call("gc", "--store", store.uri).stderr


class TestGarbageBesideJobs:
    @pytest.fixture
    def job(self, bench: Bench, whole: Store) -> str:
        """A job whose run is kept; the store has another's, with a trial, features and a reference of its own."""
        save_plan(whole, "other-1", ["a2", "b1"], job="other", features=["f1", "f2"], references=["r1", "r2"])
        save_trial(whole, "b1", features="f2", reference="r2")
        save_features(whole, "f2", "r2")
        path = bench.folder / bench.job("tiny", store=whole.uri)
        save_run_of(whole, path, ["a1", "a2"])
        for name in names(whole, "runs/tiny-1/"):
            whole.delete(name)
        age(whole)
        return str(path)

    def test_a_run_of_another_setting_of_the_job_goes(self, whole: Store, job: str) -> None:
        other = save_run_of(
            whole, Path(job), ["a1", "b1"], ["epochs=7"], features=["f1", "f2"], references=["r1", "r2"]
        )
        age(whole)
        assert other in {name.split("/")[1] for name in collected(whole, job)}
        gone = call("gc", job, "--set", "epochs=7", code=1).stderr
        assert "no run of job 'tiny' as it is given here" in gone

    def test_what_only_other_jobs_need_goes(self, whole: Store, job: str) -> None:
        assert not collected(whole), "without a job every run counts"
        gone = {name.split("/")[1].split(".")[0] for name in collected(whole, job)}
        assert gone == {"other-1", "b1", "f2", "r2"}
        assert not call("verify", "--store", whole.uri).stdout

    def test_a_run_that_is_under_way_stays(self, whole: Store, job: str) -> None:
        save_state(whole, "other-1")
        assert not collected(whole, job)

    def test_a_run_on_which_a_worker_is_left_at_work_stays(self, whole: Store, job: str) -> None:
        take(whole, "b1", attempt="mine:1")
        assert not collected(whole, job)

    def test_a_job_without_a_run_is_refused(self, whole: Store, bench: Bench) -> None:
        job = str(bench.folder / bench.job("mistyped", store=whole.uri))
        assert "no run of job 'mistyped'" in call("gc", job, "--delete", code=1).stderr
