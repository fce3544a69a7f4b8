"""`fod-bench status`: what it says of runs, drivers and trainings, from hand-made stores with real claims."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fod_bench.cli import status as command
from fod_bench.cli.app import app
from fod_bench.job import load_job
from fod_bench.job import run_id as run_of
from fod_bench.records import run_reader
from fod_bench.records.claims import take
from fod_bench.records.state import SILENT_SECONDS
from fod_bench.runs.status import RunStatus, StatusReader
from fod_bench.store import Store, open_store
from tests.helpers.commands import LIMIT, Bench, heed_interrupts
from tests.helpers.store_builders import FAR, age, damage, name_of, save_plan, save_state, save_trial, task


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def only(store: Store) -> RunStatus:
    """The status of the store's only run."""
    (run,) = StatusReader(store).read().runs
    return run


def call(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["status", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result


def mark_failed(store: Store, key: str, reason: str) -> None:
    store.put(f"trials/{key}/failure.json", json.dumps({"kind": "fault", "reason": reason, "time": "now"}).encode())
    store.put(f"trials/{key}/failure.log", b"everything known")


class TestTrainings:
    def test_each_is_counted_once(self, store: Store) -> None:
        save_plan(store, "tiny-1", ["a1", "a2", "a3", "a4", "a5", None, None])
        save_trial(store, "a1")
        save_state(store, "tiny-1", tasks=[task("a2")])
        mark_failed(store, "a3", "its loss is not finite")
        take(store, "a4", attempt="other:1")
        run = only(store)
        assert (run.wanted, run.recorded, run.in_work, run.waiting) == (5, 1, 2, 1)
        assert [work.task.key for work in run.running] == ["a2"]
        assert [(work.kind, work.name) for work in run.elsewhere] == [("trial", name_of("a4"))]
        (failed,) = run.failed
        assert (failed.name, failed.reason) == (name_of("a3"), "its loss is not finite")
        assert failed.log == store.location("trials/a3/failure.log")
        assert run.missing == {"drawn/gone": 2}

    def test_what_is_recorded_is_neither_running_nor_failed(self, store: Store) -> None:
        save_plan(store, "tiny-1", ["a1", "a2"])
        for key in ("a1", "a2"):
            save_trial(store, key)
        mark_failed(store, "a1", "earlier")
        take(store, "a2", attempt="other:1")
        save_state(store, "tiny-1", tasks=[task("a2")])
        run = only(store)
        assert (run.recorded, run.in_work, run.failed, run.waiting) == (2, 0, [], 0)

    def test_a_dead_claim_is_waiting(self, store: Store) -> None:
        save_plan(store, "tiny-1", ["a1"])
        claim = take(store, "a1", attempt="other:1")
        claim.release()  # type: ignore[union-attr]
        run = only(store)
        assert (run.waiting, run.elsewhere, run.condition) == (1, [], "stopped")

    def test_a_failure_that_left_no_mark_is_known_from_the_driver(self, store: Store) -> None:
        save_plan(store, "tiny-1", ["a1", None])
        log = store.location("trials/a1/failure.log")
        store.put("trials/a1/failure.log", b"everything known")
        told = {
            name_of("a1"): f"an image is missing (log: {log})",
            "drawn/gone · FOD · seed 1": "its data are missing",
        }
        save_state(store, "tiny-1", ended="done", failed=told)
        run = only(store)
        (failed,) = run.failed
        assert (failed.reason, failed.log, run.condition) == ("an image is missing", log, "failed")

    def test_a_shared_training_is_running_for_both_runs(self, store: Store) -> None:
        save_plan(store, "tiny-1", ["a1"])
        save_plan(store, "big-1", ["a1", "a2"], job="big", created="2024-05-02T10:00:00+00:00")
        save_state(store, "big-1", tasks=[task("a1")])
        big, tiny = StatusReader(store).read().runs
        assert (big.run_id, tiny.run_id) == ("big-1", "tiny-1"), "newest first"
        assert [work.run_id for work in tiny.running] == ["big-1"] and tiny.condition == "running"
        assert not tiny.drivers

    def test_features_are_work_too_but_no_training(self, store: Store) -> None:
        save_plan(store, "tiny-1", ["a1"], features=["f1", "f2"])
        save_state(store, "tiny-1", tasks=[task("f1", "features")])
        take(store, "f2", attempt="other:1")
        run = only(store)
        assert (run.in_work, run.waiting, len(run.running), len(run.elsewhere)) == (0, 1, 1, 1)


def test_plans_that_are_too_many_to_be_kept_are_read_again_and_say_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run, keys in (("tiny-1", ["a1", "a2"]), ("tiny-2", ["a2", "a3"]), ("tiny-3", ["a4"])):
        save_plan(store, run, keys, created=f"2024-05-01T10:00:0{run[-1]}+00:00")
    save_trial(store, "a2")
    kept = StatusReader(store).read()
    monkeypatch.setattr(run_reader, "KEPT_CELLS", 2)
    reader = StatusReader(store)
    assert reader.read() == kept == reader.read()
    assert [(run.run_id, run.recorded) for run in kept.runs] == [("tiny-3", 0), ("tiny-2", 1), ("tiny-1", 1)]


class TestOnly:
    def test_what_only_leaves_out_is_not_waited_for(self, store: Store) -> None:
        save_plan(store, "tiny-1", ["a1", "a2", "a3", None])
        save_trial(store, "a1")
        save_state(store, "tiny-1", ended="done", only="FOD/drawn/a1")
        run = only(store)
        assert (run.condition, run.recorded, run.waiting, run.left_out, run.missing) == ("complete", 1, 0, 2, {})
        assert StatusReader(store).read().settled, "`status --watch` comes to an end"
        assert " 1/1 " in call("--store", store.uri).stdout

    def test_what_any_driver_works_on_is(self, store: Store) -> None:
        save_plan(store, "tiny-1", ["a1", "a2", "a3"])
        save_state(store, "tiny-1", "d1", ended="done", only="*/a1")
        save_state(store, "tiny-1", "d2", ended="interrupted", only="*/a2")
        assert (only(store).condition, only(store).waiting, only(store).left_out) == ("stopped", 2, 1)
        save_state(store, "tiny-1", "d3", ended="interrupted")
        assert (only(store).waiting, only(store).left_out) == (3, 0)

    def test_one_that_is_recorded_is_not_left_out(self, store: Store) -> None:
        save_plan(store, "tiny-1", ["a1", "a2"])
        save_trial(store, "a2")
        save_state(store, "tiny-1", only="*/a1")
        assert (only(store).recorded, only(store).left_out, only(store).waiting) == (1, 0, 1)


class TestDrivers:
    def test_an_alive_one_with_its_rates(self, store: Store) -> None:
        save_plan(store, "tiny-1", ["a1"])
        save_state(store, "tiny-1", tasks=[task("a1")])
        run = only(store)
        (driver,) = run.drivers
        assert (driver.standing, driver.steps_per_second, driver.trainings_per_hour) == ("alive", 12.5, 3.0)
        assert run.seconds_left == 600.0

    def test_two_are_as_fast_as_their_sum(self, store: Store) -> None:
        save_plan(store, "tiny-1", ["a1"])
        save_state(store, "tiny-1", "d1")
        save_state(store, "tiny-1", "d2", process=FAR)
        assert only(store).seconds_left == pytest.approx(300.0)

    def test_a_silent_one_runs_nothing(self, store: Store) -> None:
        save_plan(store, "tiny-1", ["a1"])
        save_state(store, "tiny-1", tasks=[task("a1")], process=FAR)
        age(store, "runs/tiny-1/state/", SILENT_SECONDS + 10)
        run = only(store)
        assert run.drivers[0].standing == "silent" and run.drivers[0].silent_seconds > SILENT_SECONDS
        assert (run.running, run.waiting, run.condition, run.seconds_left) == ([], 1, "stopped", None)

    def test_a_dead_one_of_this_machine_is_known_at_once(self, store: Store, bench: Bench) -> None:
        script = "from fod_bench.machine.process import ProcessId; print(ProcessId.own().model_dump_json())"
        done = bench.start_process(sys.executable, "-c", script).finished()
        save_plan(store, "tiny-1", ["a1"])
        save_state(store, "tiny-1", tasks=[task("a1")], process=FAR.model_validate_json(done.out))
        run = only(store)
        assert (run.drivers[0].standing, run.waiting) == ("died", 1)

    @pytest.mark.parametrize("ended", ["done", "interrupted", "failed"])
    def test_one_that_ended_says_how(self, store: Store, ended: Any) -> None:
        save_plan(store, "tiny-1", ["a1"])
        save_state(store, "tiny-1", tasks=[task("a1")], ended=ended)
        run = only(store)
        assert (run.drivers[0].standing, run.running) == (ended, [])


def test_neither_records_nor_features_are_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    save_plan(store, "tiny-1", ["a1", "a2"])
    save_trial(store, "a1")
    save_state(store, "tiny-1", tasks=[task("a2")])
    take(store, "a2", attempt="mine:1")
    read: list[str] = []
    get = store.get
    monkeypatch.setattr(store, "get", lambda name: read.append(name) or get(name))
    reader = StatusReader(store)
    for _ in range(2):
        assert reader.read().runs[0].recorded == 1
    states = ["runs/tiny-1/state/d1.json"]
    assert sorted(read) == ["runs/tiny-1/plan.json", *states, *states], "a plan is read once"


def test_a_damaged_plan_is_named_and_the_others_shown(store: Store) -> None:
    save_plan(store, "tiny-1", ["a1"])
    save_plan(store, "tiny-2", ["a1"])
    damage(store, "runs/tiny-1/plan.json")
    status = StatusReader(store).read()
    assert [run.run_id for run in status.runs] == ["tiny-2"] and list(status.damaged) == ["runs/tiny-1/plan.json"]
    assert "! damaged: runs/tiny-1/plan.json" in call("--store", store.uri).stdout


class TestCommand:
    def test_an_overview_has_a_line_for_each_run(self, store: Store) -> None:
        save_plan(store, "tiny-1", ["a1", "a2"])
        save_plan(store, "big-1", ["a1"], job="big")
        save_trial(store, "a1")
        save_state(store, "tiny-1", tasks=[task("a2")])
        lines = call("--store", store.uri).stdout.splitlines()
        heading = "run state done running waiting failed begun (UTC) left"
        assert heading.split() in [line.split() for line in lines]
        big, tiny = (next(line for line in lines if line.startswith(name)) for name in ("big-1", "tiny-1"))
        assert big.split()[1:6] == ["complete", "1/1", "0", "0", "0"]
        assert tiny.split()[1:6] == ["running", "1/2", "1", "0", "0"] and " ~10 min" in tiny
        (work,) = (line for line in lines if line.startswith("box"))
        assert work.split() == ["box", *name_of("a2").split(), "11:58:30", "1/4", "3/8", "0.2500"]

    def test_no_path_is_cut_in_a_pipe(self, tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(bench.folder)
        store = open_store(str(tmp_path / "a folder of  several words - that is longer. Than; any terminal is wide"))
        job = bench.job("narrow", store=store.uri)
        reason = f"the image {tmp_path}/a b/c d/000.png cannot be read, whatever is done about it by whomever"
        save_plan(store, run_of(load_job(job)), ["a1"], job="narrow")
        mark_failed(store, "a1", reason)
        for arguments in ([job], ["--store", store.uri]):
            said = CliRunner().invoke(app, ["status", *arguments], env={"COLUMNS": "40"}).stdout
            assert said.startswith(f"store {store.uri}\n")
            assert not any(line.endswith(" ") for line in said.splitlines())
        said = CliRunner().invoke(app, ["status", job], env={"COLUMNS": "40"}).stdout
        assert f"failed     {name_of('a1')}: {reason}\n" in said
        assert f"           log: {store.location('trials/a1/failure.log')}\n" in said

    def test_a_job_is_shown_in_detail(self, store: Store, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(bench.folder)
        job = bench.job("tiny", store=store.uri)
        run_id = run_of(load_job(job))
        save_plan(store, run_id, ["a1", "a2", None])
        save_plan(store, "big-1", ["a9"], job="big")
        mark_failed(store, "a1", "its loss is not finite")
        save_state(store, run_id, process=FAR)
        age(store, f"runs/{run_id}/state/", 180)
        said = call(job).stdout
        assert "big-1" not in said
        for part in (
            "2: 0 recorded, 0 running, 1 waiting, 1 failed",
            f"failed     {name_of('a1')}: its loss is not finite",
            f"log: {store.location('trials/a1/failure.log')}",
            "no data    drawn/gone: 1 cell",
            "far, since 2024-05-01 10:00 UTC: silent for 3 min; 6 trained; 12.5 steps/s; 3 trainings/h",
        ):
            assert part in said, said

    def test_json_has_the_keys_that_scripts_rely_on(self, store: Store) -> None:
        save_plan(store, "tiny-1", ["a1"])
        save_state(store, "tiny-1", tasks=[task("a1")])
        told = json.loads(call("--store", store.uri, "--json").stdout)
        assert told.keys() == {"store", "runs", "damaged"}
        (run,) = told["runs"]
        assert run.keys() == {
            *("run_id", "job", "created", "condition", "wanted", "recorded", "waiting", "running", "elsewhere"),
            *("failed", "missing", "drivers", "seconds_left", "differing", "left_out", "resources"),
        }
        assert run["running"][0].keys() == {
            *("kind", "name", "key", "node", "since", "epoch", "epochs", "step", "steps", "loss", "driver", "run_id")
        }
        assert run["drivers"][0].keys() == {
            *("driver", "host", "started", "standing", "silent_seconds", "trained", "steps_per_second"),
            *("trainings_per_hour", "seconds_left"),
        }

    def test_a_store_without_runs_is_said_to_be_one(self, store: Store, bench: Bench) -> None:
        Path(store.uri).mkdir()
        said = call("--store", store.uri)
        assert "no run in store" in said.stderr and "fod-bench run jobs/quickstart.yaml --store" in said.stderr
        assert json.loads(call("--store", store.uri, "--json").stdout)["runs"] == []
        assert not list(Path(store.uri).iterdir()), "looking writes nothing"
        save_plan(store, "big-1", ["a1"], job="big")
        job = str(bench.folder / bench.job("tiny", store=store.uri))
        assert "no run of job 'tiny'" in call(job).stderr and "there are: big" in call(job).stderr

    def test_what_cannot_be_read_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        assert "this is a file" in call("--store", str(tmp_path / "file"), code=1).stderr
        assert "give the JOB" in call("--set", "epochs=2", code=2).stderr


class TestWatch:
    def test_a_block_for_every_change_until_all_is_done(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        save_plan(store, "tiny-1", ["a1", "a2"])
        save_state(store, "tiny-1", tasks=[task("a1")])

        def first() -> None:
            save_trial(store, "a1")
            save_state(store, "tiny-1", tasks=[task("a2")])

        def last() -> None:
            save_trial(store, "a2")
            save_state(store, "tiny-1", ended="done")

        happens = iter([first, lambda: None, last])
        monkeypatch.setattr(command.time, "sleep", lambda seconds: next(happens)())
        told = [json.loads(line) for line in call("--store", store.uri, "--watch", "--json").stdout.splitlines()]
        assert [run["recorded"] for (run,) in (status["runs"] for status in told)] == [0, 1, 2]
        assert next(happens, None) is None, "it ends when everything is done"

    def test_nothing_new_is_not_said_again(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        save_plan(store, "tiny-1", ["a1"])
        save_state(store, "tiny-1", tasks=[task("a1")])
        happens = iter(
            [
                lambda: None,
                lambda: None,
                lambda: save_trial(store, "a1"),
                lambda: save_state(store, "tiny-1", ended="done"),
            ]
        )
        monkeypatch.setattr(command.time, "sleep", lambda seconds: next(happens)())
        said = call("--store", store.uri, "--watch").stdout
        assert said.count("tiny-1") == 3, said

    def test_an_interruption_ends_it_with_130(self, store: Store, bench: Bench) -> None:
        save_plan(store, "tiny-1", ["a1"])
        watching = subprocess.Popen(
            [sys.executable, "-m", "fod_bench.cli.app", "status", "--store", store.uri, "--watch"],
            preexec_fn=heed_interrupts,
            env=bench.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert watching.stdout is not None and watching.stdout.readline() == f"store {store.uri}\n"
        watching.send_signal(signal.SIGINT)
        _, error = watching.communicate(timeout=LIMIT)
        assert watching.returncode == 130 and "interrupted; to go on:" in error and "Traceback" not in error


@pytest.mark.parametrize("name", ["status", "store ls", "store verify", "store gc", "store cp", "store index"])
def test_help_has_an_example(name: str) -> None:
    said = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "200"}).stdout
    assert f"Example: fod-bench {name} " in said


@pytest.mark.parametrize("arguments", [["status"], ["store", "ls"], ["store", "verify"], ["store", "gc"]])
def test_they_import_nothing_heavy(store: Store, bench: Bench, arguments: list[str]) -> None:
    save_plan(store, "tiny-1", ["a1"])
    save_trial(store, "a1")
    script = f"""
import sys
from fod_bench.cli.app import app
try:
    app({[*arguments, "--store", store.uri]!r})
except SystemExit as end:
    assert not end.code
heavy = {{"torch", "torchvision", "timm", "ray", "boto3", "pandas", "pyarrow"}}
print(*sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    done = bench.start_process(sys.executable, "-c", script).finished()
    assert done.code == 0 and done.err.splitlines()[-1] == "", done.err
