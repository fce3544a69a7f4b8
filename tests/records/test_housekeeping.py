"""`fod-bench store ls` and `verify` on hand-made stores, and all of the store's commands on a bucket."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fod_bench.cli.app import app
from fod_bench.errors import StoreError
from fod_bench.records.chosen import AskedResources, ChosenResources, chosen_resources, keep_chosen
from fod_bench.records.names import kind_of, normal_name, resources_name, state_name
from fod_bench.records.normal import NormalScores
from fod_bench.records.record import train_key
from fod_bench.store import Store, open_store
from fod_bench.store.s3.store import S3Store
from tests.helpers.report_builders import SCORE
from tests.helpers.s3_servers import BUCKET, Server
from tests.helpers.store_builders import (
    CLAIM,
    call,
    collected,
    damage,
    names,
    save_plan,
    save_state,
    save_trial,
    whole_store,
)


@pytest.fixture
def whole(tmp_path: Path) -> Store:
    return whole_store(open_store(str(tmp_path / "store")))


class TestLs:
    def test_kinds_are_summed_up(self, whole: Store) -> None:
        whole.put("trials/a1/notes.txt", b"by hand")
        told = json.loads(call("ls", "--store", whole.uri, "--json").stdout)
        counts = {kind: about["objects"] for kind, about in told["kinds"].items() if about["objects"]}
        assert counts == {
            "features": 3,
            "references": 1,
            "records": 2,
            "weights": 6,
            "curves": 2,
            "runs": 2,
            "mark": 1,
            "unknown": 1,
        }
        assert told["kinds"]["references"]["bytes"] == 400 and told["objects"] == 18
        assert told["bytes"] == sum(info.size for info in whole.list())
        table = call("ls", "--store", whole.uri).stdout
        assert "checkpoints" not in table
        assert [line.split() for line in table.splitlines() if line.split()[:1] == ["references"]] == [
            ["references", "1", "400", "B"]
        ]

    def test_objects_of_a_prefix_are_listed(self, whole: Store) -> None:
        lines = call("ls", "trials/a1", "--store", whole.uri).stdout.splitlines()
        assert [line.split()[2] for line in lines] == names(whole, "trials/a1/") and lines
        size, time, name = lines[-1].split()
        assert int(size) == len(whole.get(name)) and time.endswith("+00:00")
        told = json.loads(call("ls", "trials/a1", "--store", whole.uri, "--json").stdout)
        assert [entry["name"] for entry in told] == names(whole, "trials/a1/")
        assert "no object nothing" in call("ls", "nothing", "--store", whole.uri).stderr

    def test_a_prefix_that_no_name_has_is_refused(self, whole: Store) -> None:
        assert "cannot name an object" in call("ls", "../x", "--store", whole.uri, code=2).stderr

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("features/k/manifest.json", "features"),
            (f"features/k/{CLAIM}/test.safetensors", "features"),
            ("trials/k/checkpoints/00000001-ab-000001.safetensors", "checkpoints"),
            (f"trials/k/{CLAIM}/last.safetensors", "weights"),
            (f"trials/k/{CLAIM}/curves.json", "curves"),
            ("trials/k/failure.log", "failures"),
            ("claims/k/00000001.beat", "claims"),
            ("runs/tiny-1.x/state/d1.json", "states"),
            ("probe/abc/1", "probe"),
            ("trials/k/last.safetensors", None),
            ("fod-bench.json.bak", None),
        ],
    )
    def test_kinds_are_known_by_name(self, name: str, kind: str | None) -> None:
        assert kind_of(name) == kind


class TestVerify:
    def test_a_sound_store(self, whole: Store) -> None:
        done = call("verify", "--store", whole.uri)
        assert not done.stdout and "17 objects" in done.stderr and "no fault found" in done.stderr

    def test_every_damaged_object_is_named_and_nothing_changed(self, whole: Store) -> None:
        damaged = [f"features/f1/{CLAIM}/train.safetensors", "trials/a2/record.json"]
        for name in damaged:
            damage(whole, name)
        before = names(whole)
        done = call("verify", "--store", whole.uri, code=1)
        assert sorted(line.split(":")[0] for line in done.stdout.splitlines()) == damaged
        assert "2 faults found" in done.stderr and names(whole) == before
        assert len(call("verify", "features/", "--store", whole.uri, code=1).stdout.splitlines()) == 1

    @pytest.mark.parametrize(
        ("part", "head"),
        [
            (f"features/f1/{CLAIM}/test.safetensors", "features/f1/manifest.json"),
            (f"trials/a1/{CLAIM}/last.safetensors", "trials/a1/record.json"),
            (f"trials/a1/{CLAIM}/curves.json", "trials/a1/record.json"),
        ],
    )
    def test_a_part_that_is_missing_is_named(self, whole: Store, part: str, head: str) -> None:
        whole.delete(part)
        said = call("verify", "--store", whole.uri, code=1).stdout
        assert said == f"{head}: a part of it is missing: {part}\n"

    def test_scores_of_another_trials_training_images_are_named(self, whole: Store) -> None:
        mine, others = (normal_name(key, CLAIM, "last", "rec_div@8+16") for key in ("a1", "a2"))
        for name in (mine, others):
            whole.put(
                name, NormalScores(key="a2", scores=[1.0], medians=[0.0], maxima=[2.0]).model_dump_json().encode()
            )
        said = call("verify", "--store", whole.uri, code=1).stdout
        assert said.startswith(f"{mine}: these are scores of another trial, a2; delete it") and said.count("\n") == 1

    def test_a_state_of_another_run_is_named(self, whole: Store) -> None:
        save_state(whole, "tiny-1", "d1")
        assert "no fault found" in call("verify", "--store", whole.uri).stderr
        whole.put(state_name("tiny-1", "d2"), whole.get(state_name("tiny-1", "d1")))
        said = call("verify", "--store", whole.uri, code=1).stdout
        assert "tiny-1/state/d2.json: this is the state of another run, tiny-1, by driver d1" in said

    def test_a_choice_of_resources_that_cannot_be_or_is_another_runs_is_named(self, whole: Store) -> None:
        asked = AskedResources(cpus="auto", gpus="auto", pack="auto")
        chosen = ChosenResources(
            **{"run_id": "tiny-1", "created": "2026-11-26", "asked": asked, "machines": [], "trainings": [], "left": 3},
            **{"candidates": [], "cpus": 1, "gpus": "auto", "pack": 2, "workers": 1, "seconds": 4},
        )
        keep_chosen(whole, chosen)
        assert "no fault found" in call("verify", "--store", whole.uri).stderr and chosen_resources(whole, "tiny-1")
        other, broken = resources_name("tiny-2"), chosen.model_copy(update={"cpus": 0, "run_id": "tiny-3"})
        whole.put(other, whole.get(resources_name("tiny-1")))
        keep_chosen(whole, broken)
        said = call("verify", "--store", whole.uri, code=1).stdout
        assert f"{other}: this was chosen by another run, tiny-1" in said
        assert f"{resources_name('tiny-3')}: " in said and "cpus" in said
        assert chosen_resources(whole, "tiny-2") is None and chosen_resources(whole, "tiny-3") is None

    @pytest.mark.parametrize("part", ["best_image", "best_pixel", "last"])
    def test_kept_weights_that_are_gone_or_another_trials_are_named(self, whole: Store, part: str) -> None:
        mine, others = (f"trials/{key}/{CLAIM}/{part}.safetensors" for key in ("a1", "a2"))
        whole.put(mine, whole.get(others))
        said = call("verify", "--store", whole.uri, code=1).stdout
        assert said.startswith(f"{mine}: these are weights of another trial, a2; ") and said.count("\n") == 1
        whole.put(mine, b"\xff" * 40)
        assert call("verify", "--store", whole.uri, code=1).stdout.startswith(
            f"{mine}: object {mine} is damaged: no safe"
        )
        whole.delete(mine)
        said = call("verify", "--store", whole.uri, code=1).stdout
        assert said == f"trials/a1/record.json: a part of it is missing: {mine}\n"

    def test_values_that_cannot_be_are_named(self, whole: Store) -> None:
        content = json.loads(whole.get("trials/a1/record.json"))
        changes: dict[str, tuple[dict[str, Any], str]] = {
            "auroc": ({"selected": {SCORE: {"image_auroc": [5.0, 1, 5.0, 1]}}}, "less than or equal to 1"),
            "values": (
                {"selected": {SCORE: {"image_auroc": [0.5, 1, 0.5, 1]}}},
                "its values are not those of its curves",
            ),
            "epochs": ({"epochs": 3}, "its values are not those of its curves"),
            "digest": ({"curves": "0" * 64}, "not the curves that its record names"),
            "seed": ({"seed": 7}, "seed 7 is in no plan of this training; there it is 1"),
            "method": ({"method": "other"}, "method other is in no plan of this training; there it is fod"),
            "category": ({"category": "tile"}, "category tile is in no plan of this training; there it is a1"),
            "claim": ({"run": content["run"] | {"claim": "../../x"}}, "run.claim"),
            "key": ({"key": "../../x"}, "key: String should match"),
        }
        for change, fault in changes.values():
            whole.put("trials/a1/record.json", json.dumps(content | change).encode())
            said = call("verify", "--store", whole.uri, code=1).stdout
            assert fault in said and all(line.startswith("trials/a1/record.json: ") for line in said.splitlines())

    def test_a_key_is_the_hash_of_what_was_trained(self, whole: Store) -> None:
        content = json.loads(whole.get("trials/a1/record.json")) | {"run": {}, "curves": ""}
        content["run"] = json.loads(whole.get("trials/a1/record.json"))["run"] | {"claim": ""}
        key = content["key"] = train_key("f1", content["seed"], content["setting"], 1)
        name = f"trials/{key}/record.json"
        whole.put(name, json.dumps(content).encode())
        assert not call("verify", "--store", whole.uri).stdout
        for change in ({"seed": 9}, {"setting": content["setting"] | {"heads": 9}}, {"features": {"key": "f2"}}):
            whole.put(name, json.dumps(content | change).encode())
            said = call("verify", "--store", whole.uri, code=1).stdout
            assert said == f"{name}: its key is not that of its method, seed, setting and features\n"

    def test_parts_outside_the_prefix_are_looked_for(self, whole: Store) -> None:
        assert not call("verify", "trials/a1/record", "--store", whole.uri).stdout

    def test_what_is_whole_but_not_what_it_should_be(self, whole: Store) -> None:
        whole.put("trials/a1/record.json", whole.get("trials/a2/record.json"))
        whole.put("features/f1/manifest.json", b"[]")
        whole.put("runs/tiny-1/plan.json", b"{}")
        said = call("verify", "--store", whole.uri, code=1).stdout
        assert "the record of another trial, a2" in said and "no manifest" in said and "plan.json" in said


class TestWhatIsNoObject:
    """A folder store in which something else stands where an object would be: it is named, and all else goes on."""

    @pytest.fixture
    def odd(self, whole: Store) -> Store:
        """Pipe, links that lead to themselves, nowhere and back up, and folders full and empty, each in an object's place."""
        save_trial(whole, "a3")
        save_trial(whole, "a4")
        save_plan(whole, "tiny-1", ["a1", "a2", "a3", "a4", "a5", "a6", "a7"])
        trials = Path(whole.location("trials/x")).parent
        for key in ("a1", "a3", "a4"):
            (trials / key / "record.json").unlink()
        os.mkfifo(trials / "a1" / "record.json")
        (trials / "a3" / "record.json").symlink_to("record.json")
        (trials / "a4" / "record.json").symlink_to(trials / "nowhere")
        (trials / "a5" / "record.json" / "inside").mkdir(parents=True)
        (trials / "a5" / "record.json" / "inside" / "notes.txt").write_text("by hand")
        (trials / "a6" / "record.json").mkdir(parents=True)
        (trials / "a7").mkdir()
        (trials / "a7" / "up").symlink_to(trials)
        return whole

    def test_verify_names_each_and_reads_the_rest(self, odd: Store) -> None:
        said = call("verify", "--store", odd.uri, code=1).stdout
        for name, fault in {
            "trials/a1/record.json": "no file but a pipe or device stands in its place; delete it to have it made anew",
            "trials/a3/record.json": "a link that leads to itself stands in its place; delete it",
            "trials/a4/record.json": "a link that leads nowhere stands in its place; delete it",
            "trials/a5/record.json": f"a folder stands in its place; move {odd.location('trials/a5/record.json')} away",
            "trials/a6/record.json": "a folder stands in its place; move ",
            "trials/a7/up": "a link to a folder stands in its place; delete it",
        }.items():
            assert [line for line in said.splitlines() if line.startswith(f"{name}: ") and fault in line]
        assert "a2" not in said

    def test_the_other_commands_go_on(self, odd: Store) -> None:
        listed = call("ls", "trials/", "--store", odd.uri).stdout
        assert "trials/a2/record.json" in listed and "trials/a1/record.json" in listed and "/up/a" not in listed
        assert call("gc", "--store", odd.uri, "--older-than", "0").exit_code == 0
        reported = CliRunner().invoke(app, ["report", "--store", odd.uri], env={"COLUMNS": "4000"})
        assert reported.exit_code == 0, reported.output
        assert "0.900" in reported.stdout and "a link that leads to itself" in reported.stdout
        for key in ("a5", "a6"):
            assert f"trials/{key}/record.json (a folder stands in its place; move" in reported.stdout
        status = CliRunner().invoke(app, ["status", "--store", odd.uri], env={"COLUMNS": "200"})
        assert status.exit_code == 0, status.output

    def test_what_can_go_goes_and_what_a_person_must_move_is_said(self, odd: Store) -> None:
        for key in ("a1", "a3", "a4"):
            name = f"trials/{key}/record.json"
            assert odd.create(name, b"anew") is False
            odd.delete(name)
            assert odd.create(name, b"anew") and odd.get(name) == b"anew"
        odd.delete("trials/a5/record.json")
        for write in (odd.put, odd.create):
            with pytest.raises(
                StoreError, match=r"cannot write object trials/a5/record.json: a folder stands in its place; move"
            ):
                write("trials/a5/record.json", b"anew")
        assert (Path(odd.location("trials/a5/record.json")) / "inside" / "notes.txt").read_text() == "by hand"


class TestBucket:
    def test_there_and_back_with_all_that_lies_between(
        self, whole: Store, s3: Callable[[str], Server], tmp_path: Path
    ) -> None:
        address, back = s3("moto").address("housekeeping"), str(tmp_path / "back")
        assert "16 objects" in call("cp", whole.uri, address).stderr
        assert not call("cp", whole.uri, address).stdout, "nothing is copied twice"
        assert "17 objects" in call("verify", "--store", address).stderr
        save_trial(open_store(address), "b1")
        assert collected(open_store(address), "--older-than", "0") == {
            "trials/b1/record.json",
            f"trials/b1/{CLAIM}/best_image.safetensors",
            f"trials/b1/{CLAIM}/best_pixel.safetensors",
            f"trials/b1/{CLAIM}/curves.json",
            f"trials/b1/{CLAIM}/last.safetensors",
        }
        assert "16 objects" in call("cp", address, back).stderr
        copied = open_store(back)
        assert names(copied) == names(whole) and all(copied.get(name) == whole.get(name) for name in names(whole))

    def test_uploads_that_broke_off_are_dropped_when_they_are_old(self, s3: Callable[[str], Server]) -> None:
        server = s3("moto")
        address, client = server.address("uploads"), server.client()
        store = open_store(address)
        save_plan(store, "tiny-1", [])
        for key in ("uploads/features/f1/manifest.json", "uploads-of-others/a"):
            client.create_multipart_upload(Bucket=BUCKET, Key=key)
        assert isinstance(store, S3Store)
        assert store.abandon_uploads(100 * 365 * 86400) == (), "moto says that all began in 2010"
        assert "unfinished upload of features/f1/manifest.json" in call("gc", "--store", address).stdout
        left = client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        assert {upload["Key"] for upload in left} >= {"uploads/features/f1/manifest.json", "uploads-of-others/a"}
        call("gc", "--store", address, "--delete")
        left = client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        (other,) = [upload for upload in left if upload["Key"].startswith("uploads")]
        assert other["Key"] == "uploads-of-others/a"
        client.abort_multipart_upload(Bucket=BUCKET, Key=other["Key"], UploadId=other["UploadId"])
