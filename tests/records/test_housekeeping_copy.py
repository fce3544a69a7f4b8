"""`fod-bench store cp` between hand-made stores in folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from fod_bench.errors import StoreError
from fod_bench.records.upkeep import Meter, copy_store
from fod_bench.store import Store, open_store
from fod_bench.store.folder.store import LocalStore
from tests.helpers.commands import Bench
from tests.helpers.store_builders import (
    CLAIM,
    LOST,
    call,
    damage,
    names,
    save_features,
    save_plan,
    save_run_of,
    save_trial,
    whole_store,
)


@pytest.fixture
def whole(tmp_path: Path) -> Store:
    return whole_store(open_store(str(tmp_path / "store")))


class TestCopy:
    @pytest.fixture
    def target(self, tmp_path: Path) -> Store:
        return open_store(str(tmp_path / "target"))

    def test_everything_that_counts_is_copied(self, whole: Store, target: Store) -> None:
        for name in (
            "claims/a1/00000001.json",
            "runs/tiny-1/state/d1.json",
            "trials/a3/checkpoints/00000001-ab-000001.safetensors",
            f"trials/a1/{LOST}/last.safetensors",
            f"trials/a4/{CLAIM}/last.safetensors",
            "trials/a4/failure.json",
        ):
            whole.put(name, b"of this place")
        done = call("cp", whole.uri, target.uri)
        expected = [name for name in names(whole) if whole.get(name) != b"of this place"]
        assert names(target) == expected
        assert all(target.get(name) == whole.get(name) for name in expected if name != "fod-bench.json")
        assert [line.split()[0] for line in done.stdout.splitlines()] == [
            "runs/tiny-1",
            "features/f1",
            "trials/a1",
            "trials/a2",
            "references/r1.safetensors",
        ]
        assert "16 objects" in done.stderr and "0 left out" in done.stderr

    def test_what_is_there_is_not_copied_again(self, whole: Store, target: Store) -> None:
        call("cp", whole.uri, target.uri)
        target.delete("trials/a2/record.json")
        target.delete(f"trials/a2/{CLAIM}/last.safetensors")
        done = call("cp", whole.uri, target.uri)
        assert [line.split()[0] for line in done.stdout.splitlines()] == ["trials/a2"]
        assert "2 objects" in done.stderr and whole.get("trials/a2/record.json") == target.get("trials/a2/record.json")
        assert not call("cp", whole.uri, target.uri).stdout

    def test_a_prefix_chooses_what_belongs_together(self, whole: Store, target: Store) -> None:
        call("cp", whole.uri, target.uri, "trials/a1", "features/f1/manifest.json")
        assert {name.rpartition("/")[0].split("/0")[0] for name in names(target)} == {"trials/a1", "features/f1", ""}
        assert not call("verify", "--store", target.uri).stdout
        assert "nothing to copy" in call("cp", whole.uri, target.uri, "trials/zz", code=1).stderr

    def test_a_job_chooses_what_its_runs_need(self, whole: Store, target: Store, bench: Bench) -> None:
        path = bench.folder / bench.job("other")
        needed = {"features": ["f2"], "references": ["r2"]}
        run = save_run_of(whole, path, ["a2", "b1"], **needed)
        of_another_setting = save_run_of(whole, path, ["a1"], ["epochs=7"])
        save_trial(whole, "b1", features="f2", reference="r2")
        save_features(whole, "f2", "r2")
        call("cp", whole.uri, target.uri, "--job", str(path))
        keys = {name.split("/")[1].split(".")[0] for name in names(target) if "/" in name}
        assert keys == {run, "a2", "b1", "f2", "r2"}
        call("cp", whole.uri, target.uri, "--job", str(path), "--set", "epochs=7")
        assert target.exists(f"runs/{of_another_setting}/plan.json") and target.exists("trials/a1/record.json")
        never = call("cp", whole.uri, target.uri, "--job", str(path), "--set", "epochs=8", code=1).stderr
        assert "no run of job 'other' as it is given here" in never and "it has run there otherwise" in never
        assert not call("verify", "--store", target.uri).stdout
        missing = str(bench.folder / bench.job("mistyped"))
        assert "no run of job 'mistyped'" in call("cp", whole.uri, target.uri, "--job", missing, code=1).stderr

    @pytest.mark.parametrize("part", ["damaged", "missing"])
    def test_a_half_is_left_out_and_named(self, whole: Store, target: Store, part: str) -> None:
        train = f"features/f1/{CLAIM}/train.safetensors"
        last = f"trials/a1/{CLAIM}/last.safetensors"
        for name in (train, last):
            damage(whole, name) if part == "damaged" else whole.delete(name)
        done = call("cp", whole.uri, target.uri, code=1)
        assert train in done.stderr and last in done.stderr and "2 left out" in done.stderr
        assert not target.exists("features/f1/manifest.json") and not target.exists("trials/a1/record.json")
        assert target.exists("trials/a2/record.json"), "the rest is copied"
        assert not call("verify", "--store", target.uri).stdout

    def test_what_makes_a_set_whole_comes_last(self, whole: Store, target: Store) -> None:
        class Dying(LocalStore):
            def put(self, name: str, data: bytes | Path) -> None:
                if name.endswith("test.safetensors"):
                    raise StoreError("the power is gone")
                super().put(name, data)

        dying = Dying(Path(target.uri))
        with pytest.raises(StoreError, match="power"):
            copy_store(whole, dying, meter=Meter("copying", Console(stderr=True)), copied=lambda copied: None)
        assert not target.exists("features/f1/manifest.json")
        call("cp", whole.uri, target.uri)
        assert target.exists("features/f1/manifest.json")

    def test_a_record_of_the_targets_own_stays(self, whole: Store, target: Store) -> None:
        save_trial(target, "a1", claim="00000007-77777777")
        own = names(target), target.get("trials/a1/record.json")
        call("cp", whole.uri, target.uri, "trials/a1")
        assert (names(target, "trials/"), target.get("trials/a1/record.json")) == own

    def test_a_damaged_record_of_the_target_is_replaced(self, whole: Store, target: Store) -> None:
        call("cp", whole.uri, target.uri)
        damage(target, "trials/a1/record.json")
        call("cp", whole.uri, target.uri)
        assert target.get("trials/a1/record.json") == whole.get("trials/a1/record.json")

    def test_a_plan_gives_way_only_to_one_that_names_as_much(self, whole: Store, target: Store) -> None:
        save_plan(target, "tiny-1", ["a1", None])
        call("cp", whole.uri, target.uri)
        full = target.get("runs/tiny-1/plan.json")
        assert full == whole.get("runs/tiny-1/plan.json")
        save_plan(whole, "tiny-1", ["a1", None])
        call("cp", whole.uri, target.uri)
        assert target.get("runs/tiny-1/plan.json") == full

    def test_places_that_will_not_do(self, whole: Store, tmp_path: Path) -> None:
        assert "the same store" in call("cp", whole.uri, whole.uri, code=2).stderr
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "image.png").write_bytes(b"x")
        assert (
            "it holds other things, such as image.png" in call("cp", whole.uri, str(tmp_path / "full"), code=1).stderr
        )
        assert "not both" in call("cp", whole.uri, "t", "trials/", "--job", "x.yaml", code=2).stderr
        empty = str(tmp_path / "empty")
        assert "there is no folder" in call("cp", empty, str(tmp_path / "new"), code=1).stderr
        (tmp_path / "empty").mkdir()
        assert "nothing to copy" in call("cp", empty, str(tmp_path / "new"), code=1).stderr
