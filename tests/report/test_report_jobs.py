"""Report and status of one job file after several runs of it with other settings: exactly the cells asked for."""

from __future__ import annotations

import csv
import io
import json
import shlex
import shutil
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from fod_bench.cli.app import app
from fod_bench.job import Job, dump_job, load_job
from fod_bench.plan import make_plan
from fod_bench.records.names import failure_name, job_name, plan_name, record_name
from fod_bench.records.run import RunPlan
from fod_bench.store import Store, open_store
from tests.helpers.commands import DRAWN, TINY
from tests.helpers.dataset_builders import folder_category
from tests.helpers.report_builders import record

RATE = ["--set", "learning_rate=0.05", "--set", "limit_train=2"]
LONGER = ["--set", "epochs=3"]
SEED = ["--set", "seeds=[7]"]
NEVER = ["--set", "epochs=4"]
RUNS: list[tuple[list[str], str, float]] = [
    ([], "*", 0.1),
    (RATE, "*", 0.2),
    (LONGER, "FOD/*", 0.3),
    (SEED, "*/weave", 0.4),
    ([*RATE, *LONGER], "*", 0.5),
]
"""What is set, `--only` of the run, and the image AUROC that it finds everywhere."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a job file in it and nothing of the person at the machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "300")
    write("tiny")
    return tmp_path


@pytest.fixture
def runs(folder: Path) -> dict[str, str]:
    """Five runs of the job file: what was set, in one text, to the run's name."""
    store = open_store("results/store")
    return {
        " ".join(set_): ran(store, load_job("tiny.yaml", set_[1::2]), value, only, created=f"2024-05-0{day}").run_id
        for day, (set_, only, value) in enumerate(RUNS, 1)
    }


def write(name: str, settings: dict[str, Any] | None = None, **keys: Any) -> str:
    """Write a job file; its name."""
    content: dict[str, Any] = {
        "name": name,
        "datasets": {"drawn": DRAWN | {"categories": ["weave", "board"]}},
        "variants": {"FOD": {}, "Patch": {"views": "patch"}},
    }
    content |= keys
    content["settings"] = TINY | (settings or {})
    Path(f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return f"{name}.yaml"


def ran(store: Store, job: Job, value: float, only: str = "*", created: str = "2024-05-01") -> RunPlan:
    """Leave in the store what a run of `job` leaves, as if every training had found the image AUROC `value`."""
    made = make_plan(job, download=False)
    plan = made.run.model_copy(update={"created": created})
    store.put(job_name(plan.run_id), dump_job(job).encode())
    store.put(plan_name(plan.run_id), plan.model_dump_json().encode())
    for cell in plan.cells:
        if cell.key and fnmatchcase(f"{cell.row}/{cell.dataset}/{cell.category}", only):
            trial = made.trials[cell.key]
            trained = trial.trial(checkpoint_seconds=1.0)
            changes = {"features": trained.features, "setting": trained.setting}
            found = record(cell.key, cell, [(value, value + 0.05)] * trial.settings.epochs, **changes)
            store.put(record_name(cell.key), found.model_dump_json().encode())
    return plan


def call(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result


def numbers(*arguments: str) -> dict[tuple[str, str], str]:
    """{(row, category): our image AUROC} of a report's only table."""
    lines = list(csv.DictReader(io.StringIO(call("report", *arguments, "--format", "csv").stdout)))
    assert len({line["table"] for line in lines}) <= 1
    return {(line["row"], line["category"]): line["ours"] for line in lines if line["metric"] == "image_auroc"}


def everywhere(value: str, rows: tuple[str, ...] = ("FOD", "Patch")) -> dict[tuple[str, str], str]:
    return {(row, category): value for row in rows for category in ("weave", "board", "mean")}


class TestAfterFiveRuns:
    def test_a_job_is_shown_as_it_is_given_and_what_it_lacks_is_named(self, runs: dict[str, str]) -> None:
        assert numbers("tiny.yaml") == everywhere("0.1")
        assert numbers("tiny.yaml", *RATE) == everywhere("0.2")
        assert numbers("tiny.yaml", *RATE, *LONGER) == everywhere("0.5")
        assert numbers("tiny.yaml", *LONGER) == everywhere("0.3", ("FOD",))
        assert numbers("tiny.yaml", *NEVER) == {}
        assert numbers("tiny.yaml", *SEED) == {
            (row, name): "0.4" for row in ("FOD", "Patch") for name in ("weave", "mean")
        }
        assert "Missing" not in (said := call("report", "tiny.yaml").stdout) and "cells" not in said

        said = call("report", "tiny.yaml", *LONGER).stdout
        assert "2 of 4 cells have a result; missing: Patch on drawn: weave, board. " in said
        assert "`fod-bench run tiny.yaml --set epochs=3` makes them." in said
        said = call("report", "tiny.yaml", *SEED).stdout
        assert (
            "missing: FOD on drawn: board; Patch on drawn: board. `fod-bench run tiny.yaml --set 'seeds=[7]'`" in said
        )

    def test_a_job_that_never_ran_shows_no_number_and_says_what_ran_instead(self, runs: dict[str, str]) -> None:
        told = call("report", "tiny.yaml", *NEVER)
        assert "0 of 4 cells have a result" in told.stdout and "No result yet" in told.stdout
        assert "`fod-bench run tiny.yaml --set epochs=4` makes them." in told.stdout and "0." not in told.stdout
        assert f"{runs['']} (epochs=2)" in told.stderr and f"{runs[' '.join(RATE)]} (learning_rate=0.05" in told.stderr

    def test_the_command_is_the_one_given_with_its_store(self, folder: Path) -> None:
        (folder / "a b/store").mkdir(parents=True)
        said = call("report", "tiny.yaml", "--set", "name=a-b", "--store", "a b/store", *SEED).stdout
        assert shlex.join(["fod-bench", "run", "tiny.yaml", "--set", "name=a-b", *SEED, "--store", "a b/store"]) in said

    def test_a_seed_that_another_run_trained_is_found(self, runs: dict[str, str]) -> None:
        said = call("report", "tiny.yaml", "--set", "seeds=[3407, 7]").stdout
        assert "2 seeds (7, 3407)" in said and "0.250 ±0.212" in said
        assert (
            "6 of 8 cells have a result; missing: FOD on drawn: board (seed 7); Patch on drawn: board (seed 7)" in said
        )

    def test_captions_are_those_of_the_cells_shown(self, runs: dict[str, str]) -> None:
        assert "1 seed (3407); 2 epochs; 64×64" in call("report", "tiny.yaml").stdout
        assert "1 seed (3407); 3 epochs; 64×64" in call("report", "tiny.yaml", *LONGER).stdout
        assert "1 seed (7); 2 epochs; 64×64" in call("report", "tiny.yaml", *SEED).stdout

    def test_without_a_job_every_run_has_a_table_of_its_own(self, runs: dict[str, str]) -> None:
        said = call("report").stdout
        tables = said.split("tiny (")[1:]
        titles = [text.partition(":")[0] for text in tables]
        assert titles == [
            f"learning_rate=0.001, epochs=2, seeds=[3407], limit_train=null), run {runs['']}",
            f"learning_rate=0.05, limit_train=2), run {runs[' '.join(RATE)]}",
            f"epochs=3), run {runs[' '.join(LONGER)]}",
            f"seeds=[7]), run {runs[' '.join(SEED)]}",
            f"learning_rate=0.05, epochs=3, limit_train=2), run {runs[' '.join([*RATE, *LONGER])]}",
        ]
        for (_, _, value), table in zip(RUNS, tables, strict=True):
            assert f"{value:.3f}" in table
            assert not any(
                f"{other:.3f}" in table for _, _, other in RUNS if other not in (value, value * 2, value / 2)
            )
        assert [("3 epochs" in table, "seed (7)" in table) for table in tables] == [
            (False, False), (False, False), (True, False), (False, True), (True, False)
        ]  # fmt: skip

    def test_one_run_is_shown_by_its_name(self, runs: dict[str, str], tmp_path: Path) -> None:
        assert numbers("--run", runs[" ".join(RATE)]) == everywhere("0.2")
        assert numbers("--table", runs[" ".join(LONGER)]) == everywhere("0.3", ("FOD",))
        said = call("report", "--run", runs[" ".join(LONGER)]).stdout
        command = said.partition("`")[2].partition("`")[0]
        job, options = shlex.split(command)[2], shlex.split(command)[3:]
        planned = json.loads(call("plan", job, *options, "--json").stdout)
        assert planned["run_id"] == runs[" ".join(LONGER)] and planned["trainings_recorded"] == 2
        assert "no run 'tiny'" in call("report", "--run", "tiny", code=2).stderr
        assert "not both" in call("report", "tiny.yaml", "--run", "x", code=2).stderr
        assert "give the JOB" in call("report", *LONGER, code=2).stderr

    def test_files_tidy_and_explanations_are_of_the_job_too(self, runs: dict[str, str], tmp_path: Path) -> None:
        call("report", "tiny.yaml", *RATE, "--format", "markdown", "--out", "out")
        assert "0.200" in Path("out/tiny.md").read_text() and "0.100" not in Path("out/tiny.md").read_text()
        lines = list(csv.DictReader(Path("out/tidy.csv").read_text().splitlines()))
        assert {line["value"] for line in lines if line["metric"] == "image_auroc"} == {"0.2"}
        assert {line["run"] for line in lines if line["category"] != "mean"} == {runs[" ".join(RATE)]}
        said = call("report", "tiny.yaml", *RATE, "--explain", "FOD/drawn/weave/image_auroc").stdout
        assert said.count("FOD/drawn/weave, seed") == 1 and "0.200000 best" in said
        assert call("report", "--explain", "FOD/drawn/weave/image_auroc").stdout.count("FOD/drawn/weave, seed") == 5
        assert "no record yet" in call("report", "tiny.yaml", *NEVER, "--explain", "FOD/drawn/weave").stdout
        call("report", "--format", "latex", "--out", "all")
        assert len(list(Path("all").glob("tiny-*.tex"))) == 5
        tidy = list(csv.DictReader(Path("all/tidy.csv").read_text().splitlines()))
        place = [
            tuple(line[key] for key in ("table", "row", "category", "metric", "seed", "selection")) for line in tidy
        ]
        assert len(place) == len(set(place))

    def test_status_is_of_the_job_and_tells_all_runs_apart(self, runs: dict[str, str]) -> None:
        told = json.loads(call("status", "tiny.yaml", *LONGER, "--json").stdout)["runs"]
        assert [(run["run_id"], run["wanted"], run["recorded"]) for run in told] == [(runs[" ".join(LONGER)], 4, 2)]
        assert json.loads(call("status", "tiny.yaml", "--json").stdout)["runs"][0]["run_id"] == runs[""]
        never = call("status", "tiny.yaml", *NEVER)
        assert "`fod-bench run tiny.yaml --set epochs=4` makes one" in never.stderr and "tiny-" not in never.stdout
        told = json.loads(call("status", "--json").stdout)["runs"]
        assert {run["run_id"]: run["differing"] for run in told} == {
            runs[""]: {"learning_rate": "0.001", "epochs": "2", "seeds": "[3407]", "limit_train": "null"},
            runs[" ".join(RATE)]: {"learning_rate": "0.05", "limit_train": "2"},
            runs[" ".join(LONGER)]: {"epochs": "3"},
            runs[" ".join(SEED)]: {"seeds": "[7]"},
            runs[" ".join([*RATE, *LONGER])]: {"learning_rate": "0.05", "epochs": "3", "limit_train": "2"},
        }
        assert f"{runs[' '.join(RATE)]}  learning_rate=0.05, limit_train=2" in call("status").stdout


def test_a_training_that_failed_is_made_by_trying_it_again(folder: Path) -> None:
    store = open_store("results/store")
    plan = ran(store, load_job("tiny.yaml"), 0.1, "FOD/*")
    store.put(failure_name(str(plan.cells[-1].key)), b'{"reason": "its loss is not finite"}')
    said = call("report", "tiny.yaml").stdout
    assert (
        "2 of 4 cells have a result; failed: Patch on drawn: board (its loss is not finite); missing: Patch on drawn: weave. "
        "`fod-bench run tiny.yaml --retry-failed` makes them, unless what failed before fails again." in said
    )


def test_rows_of_an_included_job_are_found_whichever_job_ran_them(folder: Path) -> None:
    outer = write("outer", datasets={}, include=["tiny.yaml"], variants={})
    Path(outer).write_text(yaml.safe_dump({"name": "outer", "include": ["tiny.yaml"]}))
    ran(open_store("results/store"), load_job(outer), 0.6)
    assert numbers("tiny.yaml") == numbers(outer) == numbers("tiny.yaml", "--table", "tiny") == everywhere("0.6")
    assert numbers("tiny.yaml", *LONGER) == {}
    ran(open_store("results/store"), load_job("tiny.yaml"), 0.6, created="2024-06-01")
    assert numbers() == everywhere("0.6"), "two runs of the very same cells are shown once"


class TestWithoutTheData:
    """The images are where the run was, and not here."""

    @pytest.fixture
    def job(self, folder: Path) -> str:
        images(folder / "there")
        job = write("own", datasets={"own": {"layout": "folder", "root": "there"}})
        ran(open_store("results/store"), load_job(job), 0.3)
        ran(open_store("results/store"), load_job(job, LONGER[1::2]), 0.4)
        shutil.move(folder / "there", folder / "gone")
        return job

    def test_keys_are_those_of_the_run_of_the_very_same_job(self, job: str) -> None:
        wanted = {(row, name): "0.3" for row in ("FOD", "Patch") for name in ("nut", "bolt", "mean")}
        assert numbers(job) == wanted
        said = call("report", job).stdout
        assert "The train keys of 4 cells were taken from an earlier run of the same content (own-" in said
        assert "planned 2024-05-01" in said and "missing" not in said

    def test_another_setting_is_not_known_and_that_is_said(self, job: str) -> None:
        refused = call("report", job, *NEVER, code=1).stderr
        assert (
            "the cells of the job cannot be known without its data" in refused and "there is no folder there" in refused
        )

        named = [job, *NEVER, "--set", "datasets.own.categories=[nut, bolt]"]
        assert numbers(*named) == {}
        said = call("report", *named).stdout
        assert "0 of 4 cells have a result" in said
        assert "makes them where data and weights are." in said, "a run here cannot"
        assert (
            "cannot be known without data or weights that are not here: datasets.own: there is no folder there" in said
        )

    def test_a_data_set_that_cannot_be_counted_is_named_beside_those_that_can(self, folder: Path) -> None:
        datasets = {"drawn": DRAWN, "own": {"layout": "folder", "root": "nowhere"}}
        job = write("both", datasets=datasets)
        ran(open_store("results/store"), load_job(job), 0.3)
        said = call("report", job).stdout
        assert "0.300" in said and "missing" not in said
        assert "The categories of own cannot be known without data or weights that are not here: datasets.own: " in said

    def test_weights_that_are_not_here_are_named(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fod_bench.plan.resolve.check_weights", lambda *_: None)  # these files are no weights
        (folder / "mine.safetensors").write_bytes(b"weights")
        job = write("weighed", {"weights": "mine.safetensors"})
        ran(open_store("results/store"), load_job(job), 0.3)
        (folder / "mine.safetensors").unlink()
        assert numbers(job) == everywhere("0.3"), "as a run of the very same job was planned"
        said = call("report", job, *LONGER).stdout
        assert "The train keys of FOD on drawn: weave, board; Patch on drawn: weave, board cannot be known" in said
        assert "no file mine.safetensors" in said and "0 of 4 cells have a result" in said

    def test_a_run_with_its_data_in_another_folder_counts_unless_there_are_two(self, job: str, folder: Path) -> None:
        elsewhere = [job, "--set", "datasets.own.root=here"]
        assert numbers(*elsewhere) == numbers(job)
        assert run_ids(*elsewhere) == run_ids(job) != []

        images(folder / "other")
        (folder / "other/nut/train/good/000.png").unlink()
        ran(open_store("results/store"), load_job(job, ["datasets.own.root=other"]), 0.9)
        shutil.move(folder / "other", folder / "lost")
        found = call("report", *elsewhere).stdout
        assert "differ in their data" in found and "0.900 " in found, "bolt is the same in both"
        assert numbers(*elsewhere)[("FOD", "mean")] == numbers(*elsewhere)[("FOD", "bolt")]
        assert numbers(job)[("FOD", "nut")] == "0.3"

    def test_what_is_here_is_computed_and_never_taken_from_a_plan(self, job: str, folder: Path) -> None:
        shutil.move(folder / "gone", folder / "there")
        (folder / "there/nut/train/good/000.png").unlink()
        assert numbers(job) == {(row, name): "0.3" for row in ("FOD", "Patch") for name in ("bolt", "mean")}
        assert "missing: FOD on own: nut; Patch on own: nut" in call("report", job).stdout


def images(root: Path) -> None:
    """A data set of two categories, which differ, as equal ones would share their trainings."""
    folder_category(root, "nut")
    (folder_category(root, "bolt") / "train/good/002.png").unlink()


def run_ids(*arguments: str) -> list[str]:
    """The runs that `status` shows."""
    return [run["run_id"] for run in json.loads(call("status", *arguments, "--json").stdout)["runs"]]
