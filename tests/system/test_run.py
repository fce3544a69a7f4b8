"""A run on a real Ray: from the job to its table, again, and through kills and signals to the very same records."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
from typing import Any

from tests.helpers.commands import LONG, Bench, Running, wait_for


def test_a_run_shows_its_table_and_the_next_one_reuses_everything(bench: Bench) -> None:
    job = bench.job("both-seeds", seeds=[1, 2], variants={"FOD": {}, "Patch-only": {"views": "patch"}})
    before = _plan(bench, job)
    assert (before["cells"], before["trainings"], before["trainings_recorded"]) == (4, 4, 0)
    assert (before["feature_sets_stored"], before["pictures_to_extract"], before["references_stored"]) == (0, 14, 0)
    assert before["steps_left"] == 4 * 2 * 6
    (core,) = before["time_left"]
    assert (
        core["device"] == "CPU core" and core["hours"] > 0 and core["basis"].startswith("60 GFLOP/s per core assumed")
    )

    before_ray = bench.ray_started()
    first = bench.start("run", job)
    done = first.finished()
    assert done.code == 0, done.err
    assert "image AUROC" in done.out and "Patch-only" in done.out and "weave" in done.out
    assert "done" not in done.out, "progress belongs to standard error"
    assert "features  weave: extracted, 14 images" in done.err
    assert done.err.count("done      drawn/weave") == 4
    assert done.err.endswith("4 trainings: 4 done\n")
    assert re.search(r"done      drawn/weave · FOD · seed 1: image AUROC \d\.\d{3}, \d+ s   \[\d/4\]\n", done.err)
    assert f"next      fod-bench report {job}   shows the table again" in done.err and "--retry-failed" not in done.err
    wait_for(lambda: not first.processes(), "Ray's processes to end")
    assert bench.ray_started() > before_ray
    records = bench.digests()
    assert len(records) == 4 and all(record.run.resumed_after == [] for record in bench.records().values())
    assert not bench.stored("trials/*/checkpoints/*.safetensors")

    started = bench.ray_started()
    again = bench.run("run", job)
    assert again.out == done.out
    assert again.err == "4 trainings: 0 done, 4 reused\n"
    assert bench.ray_started() == started, "a run with nothing to do starts no Ray"
    assert bench.digests() == records

    part = bench.run("run", job, "--only", "FOD/*")
    assert part.err == "2 trainings: 0 done, 2 reused\n", "one row, both seeds"

    after = _plan(bench, job)
    assert (after["cells"], after["trainings"], after["trainings_recorded"]) == (4, 4, 4)
    assert (after["feature_sets_stored"], after["pictures_to_extract"], after["references_stored"]) == (1, 0, 1)
    assert after["steps_left"] == 0
    assert after["time_left"] == []

    report = bench.run("report", job)
    assert report.out == done.out and not report.err

    other = ["--set", "epochs=1", "--set", "seeds=[1]"]
    partial = bench.run("run", job, *other, "--only", "FOD/*")
    assert "1 of 2 cells have a result; left out by --only: Patch-only on drawn: weave" in partial.out
    lacking = bench.run("report", job, *other).out
    assert (
        "1 seed (1); 1 epoch;" in lacking
        and "1 of 2 cells have a result; missing: Patch-only on drawn: weave" in lacking
    )
    assert bench.run("report", job).out == done.out, "another setting's numbers are not this job's"
    command = shlex.split(lacking.partition("`")[2].partition("`")[0])
    made = bench.run(*command[1:])
    assert command == ["fod-bench", "run", job, *other] and made.err.endswith("2 trainings: 1 done, 1 reused\n")
    assert bench.run("report", job, *other).out == made.out and "missing" not in made.out
    assert {run["run_id"]: run["recorded"] for run in _runs(bench)} == {
        _plan(bench, job)["run_id"]: 4,
        _plan(bench, job, *other)["run_id"]: 2,
    }
    assert [run["recorded"] for run in _runs(bench, job, *other)] == [2]


def test_a_run_ends_with_its_table_where_the_encoding_lacks_its_letters(bench: Bench) -> None:
    rows = {"größer 漢字 λ": {}, "ungültig ∞": {"learning_rate": 1e30}}
    job = bench.job("letters", store="letters-store", variants=rows)
    reason = "diverged: a loss is not finite in epoch 1, step 2"
    for encoding, row, counts in (
        ("ascii", "gro", "1 done, 1 failed"),
        ("latin-1", "gr", "0 done, 1 reused, 1 failed"),
    ):
        plain = {
            "LC_ALL": "C",
            "LANG": "C",
            "PYTHONUTF8": "0",
            "PYTHONCOERCECLOCALE": "0",
            "PYTHONIOENCODING": encoding,
        }
        done = bench.run("run", job, code=3, **plain)
        assert "Traceback" not in done.err and "UnicodeEncodeError" not in done.err
        assert f"\n{row}" in done.out and "failed" in done.out and re.search(r"\d\.\d{3}", done.out)
        assert f"({reason}). `fod-bench run letters.yaml --retry-failed` makes it, unless" in done.out
        assert f"next      fod-bench run {job} --retry-failed   tries again what failed" in done.err
        assert done.err.endswith(f"2 trainings: {counts}\n")


def test_what_is_killed_goes_on_to_the_records_of_an_undisturbed_run(bench: Bench) -> None:
    job = bench.job("long", store="shaken", settings=LONG, checkpoint_seconds=0)
    calm = bench.run("run", job, "--store", "calm", "--quiet", "--set", "checkpoint_seconds=1000")
    assert not calm.err, "a quiet run that goes well says nothing"

    killed = bench.start("run", job)
    _wait_for_checkpoint(bench, killed, since=0.0)
    killed.signal(signal.SIGKILL)
    assert killed.finished().code == -signal.SIGKILL
    wait_for(lambda: not _workers(killed), "the orphaned workers to end; what else Ray leaves must not disturb")
    assert not bench.records("shaken")

    # Checkpoints that are written seldom: the one after the signal is there because the run was stopped.
    seldom = ["run", job, "--set", "checkpoint_seconds=0.2"]
    interrupted = _stopped(bench, seldom, signal.SIGINT, group=True)
    assert "stopping: 1 trial leaves a checkpoint" in interrupted
    assert "to go on:\n  fod-bench run long.yaml --set checkpoint_seconds=0.2\n" in interrupted
    assert "Traceback" not in interrupted
    terminated = _stopped(bench, seldom, signal.SIGTERM, group=False)
    assert "stopping: 1 trial leaves a checkpoint" in terminated and "Traceback" not in terminated

    running = bench.start("run", job)
    _wait_for_checkpoint(bench, running, since=_written(bench))
    os.kill(_workers(running)[0], signal.SIGKILL)
    done = running.finished()
    assert done.code == 0, done.err
    assert "its worker was lost" in done.err and "1 training: 1 done" in done.err
    assert done.out == calm.out

    assert bench.digests("shaken") == bench.digests("calm")
    (record,) = bench.records("shaken").values()
    assert len(record.run.resumed_after) == 4, "after the kill, both signals and the loss of the worker"
    assert not _written(bench), "the checkpoint is no longer needed"


def test_an_interrupt_while_ray_starts_leaves_nothing_behind(bench: Bench) -> None:
    job = bench.job("early")
    running = bench.start("run", job)
    running.reaches(lambda: any("gcs_server" in command for command in running.processes().values()), "Ray starts")
    running.signal(signal.SIGINT)
    done = running.finished()
    assert done.code == 130, done.err
    assert "interrupted; to go on:\n  fod-bench run early.yaml\n" in done.err
    wait_for(lambda: not running.processes(), "Ray's processes to end")


def _plan(bench: Bench, job: str, *set_: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bench.run("plan", job, *set_, "--json").out)
    return found


def _runs(bench: Bench, *job: str) -> list[dict[str, Any]]:
    """The runs that `status` shows."""
    found: list[dict[str, Any]] = json.loads(bench.run("status", *job, "--json").out)["runs"]
    return found


def _stopped(bench: Bench, arguments: list[str], number: int, group: bool) -> str:
    """Start a run, stop it in the middle of its training, and return what it said; checks what it left."""
    running = bench.start(*arguments)
    _wait_for_checkpoint(bench, running, since=_written(bench))
    (worker,) = _workers(running)
    os.kill(worker, signal.SIGSTOP)  # so that the training is not over before the run has heeded the signal
    sent = running.signal(number, group)
    running.reaches(lambda: "stopping:" in running.said(), "it heeds the signal")
    os.kill(worker, signal.SIGCONT)
    done = running.finished()
    assert done.code == 130, done.err
    assert not done.out
    assert _written(bench) > sent, "the trial left a checkpoint when it was stopped"
    wait_for(lambda: not running.processes(), "Ray's processes to end")
    return done.err


def _workers(running: Running) -> list[int]:
    return [process for process, command in running.processes().items() if command.startswith("ray::RemoteWorker")]


def _wait_for_checkpoint(bench: Bench, running: Running, since: float) -> None:
    """Wait until the training has written a checkpoint after `since`."""
    running.reaches(lambda: _written(bench) > since, "a checkpoint")


def _written(bench: Bench) -> float:
    """When the training's checkpoint was written; 0 while there is none."""
    try:
        return max(
            (path.stat().st_mtime for path in bench.stored("trials/*/checkpoints/*.safetensors", "shaken")), default=0
        )
    except FileNotFoundError:  # replaced or removed just now
        return 0
