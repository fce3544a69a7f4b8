"""The commands as scripts see them: exit codes, what stands on which stream, and messages that say what to do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
import timm
import torch
from pydantic import AfterValidator, TypeAdapter, ValidationError
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from fod_bench.cli.app import app
from fod_bench.errors import plain_message
from fod_bench.store import open_store
from tests.helpers.commands import Bench
from tests.helpers.dataset_builders import folder_category, mask
from tests.helpers.report_builders import full_store

Call = Callable[..., Result]
COMMANDS = (
    *(["run"], ["plan"], ["report"], ["status"], ["methods"], ["data", "check"], ["data", "synth"], ["jobs", "copy"]),
    *(["store", "ls"], ["store", "verify"], ["store", "gc"], ["store", "cp"]),
    *(["export", "mlflow"], ["export", "wandb"], ["export", "tensorboard"]),
)


@pytest.fixture
def call(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call a command within this process; it must end with exit code `code`."""
    monkeypatch.chdir(bench.folder)
    monkeypatch.setenv("XDG_CACHE_HOME", bench.environment["XDG_CACHE_HOME"])
    monkeypatch.setenv("COLUMNS", "200")

    def called(*arguments: str | Path, code: int = 0) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == code, f"exit code {result.exit_code}\n{result.output}\n{result.exception!r}"
        assert "Traceback" not in result.output
        return result

    return called


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example_and_no_kind_for_a_switch(call: Call, command: list[str]) -> None:
    text = call(*command, "--help").stdout
    assert f"Example: fod-bench {' '.join(command)} " in text and "--verbose" in text
    for shown in (text, call("--help").stdout):
        assert not re.search(r"<|>(?!=)|\b(bool|int|str|float|path|range|list)\b(?! [a-z])|[{}]|\[\[", shown), shown


def test_the_package_is_the_command(bench: Bench) -> None:
    done = bench.start_process(sys.executable, "-m", "fod_bench", "--version").finished()
    assert (done.code, done.err) == (0, "") and done.out.startswith("fod-bench ")


def test_a_message_of_pydantic_is_told_without_its_kind() -> None:
    def odd(value: int) -> int:
        if value % 2 == 0:
            raise ValueError(f"{value} is even")
        return value

    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Annotated[int, AfterValidator(odd)]).validate_python(2)
    assert plain_message(caught.value.errors()[0]) == "2 is even"
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(int).validate_python("x")
    assert plain_message(caught.value.errors()[0]).startswith("should be a valid integer")


@pytest.mark.parametrize(
    "arguments",
    (
        ["--help"],
        ["run", "--help"],
        ["plan", "light.yaml"],
        ["report", "light.yaml", "--set", "weights=pretrained"],
        ["status", "light.yaml"],
    ),
    ids=" ".join,
)
def test_light_commands_import_nothing_heavy(bench: Bench, arguments: list[str]) -> None:
    bench.job("light")
    (bench.folder / "results/store").mkdir(parents=True, exist_ok=True)
    script = f"""
import sys
from fod_bench.cli.app import app
try:
    app({arguments!r})
except SystemExit as end:
    assert not end.code
print(*sorted({{"torch", "torchvision", "timm", "ray"}} & set(sys.modules)), file=sys.stderr)
"""
    done = bench.start_process(sys.executable, "-c", script).finished()
    assert (done.code, done.err.splitlines()[-1]) == (0, ""), done.err


def test_the_version_and_no_arguments(call: Call) -> None:
    assert call("--version").stdout.startswith("fod-bench ")
    assert "Usage" in call(code=2).output


@pytest.mark.parametrize(
    ("line", "wrong", "said"),
    [
        ("  epochs: 2", "  epoch: 2", "settings.epoch: unknown key; did you mean epochs"),
        ("  - weave", "  - weeve", "datasets.drawn.categories[0]: unknown category 'weeve'; did you mean weave?"),
        (
            "  backbone: resnet18",
            "  backbone: resnet81",
            "settings.backbone: unknown backbone 'resnet81'; did you mean",
        ),
    ],
)
def test_a_job_file_with_a_slip_is_refused_with_place_and_nearest_name(
    bench: Bench, call: Call, line: str, wrong: str, said: str
) -> None:
    path = bench.folder / bench.job("slip", store="untouched")
    text = path.read_text()
    assert text.count(line) == 1
    path.write_text(text.replace(line, wrong))
    number = path.read_text().splitlines().index(next(row for row in path.read_text().splitlines() if wrong in row)) + 1
    refused = call("run", "slip.yaml", code=1)
    assert refused.stderr.startswith(f"fod-bench: slip.yaml:{number}: {said}")
    assert not refused.stdout and not (bench.folder / "untouched").exists()


def test_a_slip_on_the_command_line_is_one_of_usage(bench: Bench, call: Call) -> None:
    job = bench.job("usage", store="usage-store")
    assert "did you mean epochs" in call("run", job, "--set", "settings.epoch=3", code=2).stderr
    only = call("run", job, "--only", "*/nothing", code=2).stderr
    assert "--only '*/nothing' matches none of the 1 row/dataset/category names, such as FOD/drawn/weave" in only
    assert "--layout" in call("data", "check", ".", "--layout", "mvtek", code=2).output
    for number in ("0", "-1", "two", "1.5", "", "9" * 5000):
        refused = " ".join(call("run", job, "--workers", number, code=2).stderr.split())
        assert "Invalid value for '--workers'" in refused and ("equal to 1" in refused or "integer" in refused)
    assert not (bench.folder / "usage-store").exists(), "nothing is begun before the command line is right"


def test_a_store_that_cannot_be_one_is_said_before_anything_runs(bench: Bench, call: Call) -> None:
    job = bench.job("places")
    (bench.folder / "file").write_text("")
    for store, said in (
        ("file", "this is a file; a store is a folder"),
        ("file/below", "Not a directory"),
        ("s3://bucket/a b", "the prefix should be segments"),
    ):
        error = call("run", job, "--store", store, code=1).stderr
        assert said in error and error.count("\n") == 1, error


def test_nothing_that_can_run_is_an_error_with_its_remedy(bench: Bench, call: Call) -> None:
    gone = {
        "mvtec": {"layout": "mvtec", "root": "no/mvtec"},
        "own": {"layout": "folder", "root": "nowhere"},
    }
    job = bench.job("rootless", store="rootless-store", datasets=gone)
    said = call("run", job, code=1).stderr.splitlines()
    assert said[0] == "fod-bench: nothing can run:" and len(said) == 3
    assert "datasets.mvtec: there is no folder no/mvtec" in said[1] and "--set datasets.mvtec.root=" in said[1]
    assert "datasets.own: there is no folder nowhere" in said[2]
    assert not (bench.folder / "rootless-store").exists()

    planned = json.loads(call("plan", job, "--json").stdout)
    assert (planned["cells"], planned["trainings_blocked"], len(planned["problems"])) == (15, 15, 2)


def test_weights_that_cannot_be_had_are_refused_with_the_ways_out(bench: Bench, call: Call) -> None:
    job = bench.job("weightless", store="weightless-store", settings={"backbone": "tf_efficientnet_b6.aa_in1k"})
    refused = bench.run("run", job, "--set", "weights=pretrained", code=1)
    assert "pretrained weights of tf_efficientnet_b6.aa_in1k cannot be had" in refused.err
    assert all(way in refused.err for way in ("1. a network", "--set weights=/path/to/", "--set weights=random"))
    assert "Traceback" not in refused.err and not refused.out

    planned = bench.run("plan", job, "--json", "--set", "weights=pretrained")
    assert json.loads(planned.out)["trainings_blocked"] == 1, "a plan counts without the weights"

    assert "no file lost.safetensors" in call("run", job, "--set", "weights=lost.safetensors", code=1).stderr
    (bench.folder / "weights.pth").write_bytes(b"pickled")
    assert "not a .safetensors file" in call("run", job, "--set", "weights=weights.pth", code=1).stderr
    assert not (bench.folder / "weightless-store").exists()


def test_weights_that_cannot_be_used_are_told_by_plan_and_once_before_a_run(bench: Bench, call: Call) -> None:
    network = timm.create_model("resnet18", pretrained=False)
    save_file(network.state_dict(), bench.folder / "good.safetensors")
    with torch.no_grad():
        network.conv1.weight[0, 0, 0, 0] = torch.nan
    save_file(network.state_dict(), bench.folder / "nan.safetensors")
    drawn = {"layout": "synthetic", "categories": ["weave", "board", "tray"], "synthetic": {"train": 2}}
    job = bench.job("judged", datasets={"drawn": drawn}, seeds=[1, 2], store="judged-store")
    for name, setting, said in (
        ("nan", "backbone=resnet18", "tensor 'conv1.weight' holds NaN or infinity"),
        ("good", "backbone=mobilenetv2_100", "good.safetensors do not fit mobilenetv2_100"),
    ):
        settings = ["--set", f"weights={name}.safetensors", "--set", setting]
        planned = json.loads(call("plan", job, "--json", *settings).stdout)
        assert (planned["trainings"], planned["trainings_blocked"]) == (6, 6)
        assert len(planned["problems"]) == 1 and said in planned["problems"][0]
        refused = call("run", job, *settings, code=1).stderr
        assert refused.count("\n") == 1 and said in refused
    assert not (bench.folder / "judged-store").exists()
    planned = json.loads(call("plan", job, "--json", "--set", "weights=good.safetensors").stdout)
    assert planned["trainings_blocked"] == 0 and not planned["problems"]


def test_a_report_prints_what_is_asked_for_or_says_how_to_get_it(bench: Bench, call: Call) -> None:
    store = open_store(str(bench.folder / "reported"))
    for name, data in full_store().objects.items():
        store.put(name, data)
    tables = call("report", "--store", "reported", "--table", "2", "--table", "6")
    assert "Table 2" in tables.stdout and "Table 6" in tables.stdout and not tables.stderr
    assert (
        "no table '22': the paper has 1 to 15" in call("report", "--store", "reported", "--table", "22", code=2).stderr
    )

    drawn = call("report", "--store", "reported", "--figure", "heads", "--out", "figures")
    assert [Path(line).name for line in drawn.stderr.splitlines()] == ["figure-heads.svg", "figure-heads.png"]
    assert "--figure needs --out" in call("report", "--store", "reported", "--figure", "heads", code=2).stderr
    assert "did you mean 'layers'" in call("report", "--figure", "layer", "--out", "x", code=2).stderr

    job = bench.job("paper", store="reported")
    assert "Table 12" not in call("report", job, "--table", "all").stdout
    assert "Table 12" in call("report", "--store", "reported", "--table", "all").stdout

    job = bench.job("two", datasets={"mvtec": {"layout": "mvtec", "root": "x"}}, tables=[2, 6], store="reported")
    not_fed = call("report", job, "--table", "2", "--table", "12", code=2).stderr
    assert (
        "--table 12: job 'two' feeds 2, 6 of the paper's tables" in not_fed
        and "`fod-bench run jobs/table12_heads.yaml` feeds 12" in not_fed
    )

    (bench.folder / "empty").mkdir()
    empty = call("report", "--store", "empty", code=1).stderr
    assert "no run in store" in empty and "fod-bench run jobs/quickstart.yaml --store" in empty


@pytest.mark.parametrize(
    "command",
    [["report"], ["status"], ["status", "--watch"], ["store", "ls"], ["store", "verify"], ["store", "gc"]],
    ids=" ".join,
)
def test_a_store_that_is_not_there_is_not_an_empty_one(bench: Bench, call: Call, command: list[str]) -> None:
    said = call(*command, "--store", "no such/store", code=1).stderr
    assert said == "fod-bench: there is no folder no such/store, so no store to read; --store names another\n"
    if command[0] != "store":
        job = bench.job("storeless", store="no such/store")
        of_job = call(*command, job, code=1).stderr
        assert "there is no folder no such/store" in of_job and "`fod-bench run storeless.yaml` makes it" in of_job
    assert not (bench.folder / "no such").exists()


def test_an_empty_store_shows_the_printed_numbers(bench: Bench, call: Call) -> None:
    (bench.folder / "nothing").mkdir(exist_ok=True)
    shown = call("report", "--store", "nothing", "--table", "4").stdout
    assert "Table 4." in shown and "0.992" in shown and "`fod-bench run jobs/table04_09_views.yaml` does." in shown
    everything = call("report", "--store", "nothing", "--table", "all").stdout
    assert all(f"Table {number}." in everything for number in range(1, 16))


def test_figures_that_a_job_does_not_feed_are_left_out_and_named(bench: Bench, call: Call) -> None:
    (bench.folder / "figures-store").mkdir(exist_ok=True)
    mvtec = {"mvtec": {"layout": "mvtec", "root": "x", "categories": ["bottle"]}}
    job = bench.job("heads", datasets=mvtec, tables=[12], variants={"heads=2": {}}, store="figures-store")
    said = call("report", job, "--figure", "all", "--out", "fed").stderr
    assert sorted(path.name for path in (bench.folder / "fed").iterdir()) == ["figure-heads.png", "figure-heads.svg"]
    for name, number in (("lambda", 11), ("layers", 13), ("levels", 14)):
        assert f"figure {name} left out: no row here feeds Table {number}; `fod-bench run jobs/" in said
    call("report", job, "--figure", "all", "--figure", "layers", "--out", "asked")
    assert (bench.folder / "asked/figure-layers.svg").exists(), "what is named is drawn, with the printed numbers"
    call("report", "--store", "figures-store", "--figure", "all", "--out", "every")
    assert len(list((bench.folder / "every").iterdir())) == 8


def test_synthetic_images_are_written_once_and_are_sound(bench: Bench, call: Call) -> None:
    few = ["--train", "3", "--test-good", "2", "--test-defect-per-type", "1", "--size", "64"]
    wanted = ["--categories", "weave", "--categories", "board"]
    written = call("data", "synth", "drawn", *wanted, *few)
    assert not written.stdout and written.stderr == "drawn: wrote weave, board\n"
    assert "no fault found" in call("data", "check", "drawn").stderr
    assert "no fault found" in call("data", "check", "drawn", "--categories", "weave").stderr
    assert "is not an empty folder" in call("data", "synth", "drawn", *few, code=1).stderr
    assert "did you mean 'weave'" in call("data", "synth", "other", "--categories", "weeve", code=1).stderr
    assert "--train: " in call("data", "synth", "other", "--train", "0", code=2).stderr
    assert not (bench.folder / "other").exists()


def test_faults_of_a_data_set_are_listed_on_standard_output(bench: Bench, call: Call) -> None:
    category = folder_category(bench.folder / "faulty")
    (category / "train/good/000.png").write_bytes(b"no image")
    (category / "ground_truth/crack/000_mask.png").unlink()
    mask(category / "ground_truth/dent/000_mask.png", size=(5, 5))
    found = call("data", "check", "faulty", code=1)
    assert len(found.stdout.splitlines()) == 3
    for part in ("train/good/000.png", "defective image without a mask", "dent/000_mask.png"):
        assert part in found.stdout
    assert found.stderr.splitlines()[1:] == ["3 faults in faulty"], "after what was found"
    assert "nut" in call("data", "check", "faulty", "--categories", "nutt", code=1).stdout
    assert "does not exist" in call("data", "check", "nowhere", code=1).stderr


@pytest.mark.parametrize(
    "arguments",
    (
        ["--help"],
        ["plan", "pipe.yaml"],
        ["plan", "pipe.yaml", "--json"],
        ["report", "--store", "pipe-store"],
        ["report", "--store", "pipe-store", "--table", "7", "--format", "markdown"],  # shorter than a buffer
    ),
    ids=" ".join,
)
def test_a_reader_that_goes_away_is_no_fault(bench: Bench, arguments: list[str]) -> None:
    bench.job("pipe")
    store = open_store(str(bench.folder / "pipe-store"))
    for name, data in full_store().objects.items():
        store.put(name, data)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "fod_bench.cli.app", *arguments],
        cwd=bench.folder,
        env=bench.environment,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    assert not done.stderr, done.stderr


@pytest.mark.parametrize("encoding", ("ascii", "cp1252", "latin-1"))
def test_what_the_encoding_lacks_is_replaced(bench: Bench, encoding: str) -> None:
    job = bench.job("letters", variants={"größer 漢字 λ": {}})
    store = open_store(str(bench.folder / "letters-store"))
    for name, data in full_store().objects.items():
        store.put(name, data)
    folder_category(bench.folder / "bilder-ü", "漢字")
    for arguments in (
        ["plan", job],
        ["plan", job, "--dump"],
        ["report", "--store", "letters-store"],
        ["report", "--store", "letters-store", "--format", "tidy"],
        ["report", "--store", "letters-store", "--explain", "FOD/*/*"],
        ["status", "--store", "letters-store"],
        ["store", "ls", "--store", "letters-store", "--long"],
        ["--help"],
        ["run", "--help"],
    ):
        done = bench.run(*arguments, PYTHONIOENCODING=encoding, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
        assert done.out.strip() and "Traceback" not in done.err and "Error" not in done.err, done.err
    done = bench.run("data", "check", "bilder-ü", PYTHONIOENCODING=encoding)
    assert "no fault found" in done.err


def test_a_full_disk_behind_standard_output_is_said_in_one_line(bench: Bench) -> None:
    job = bench.job("full")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fod_bench", "plan", job],
            cwd=bench.folder,
            env=bench.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (done.returncode, done.stderr) == (
        1,
        "fod-bench: standard output cannot be written: No space left on device\n",
    )


def test_colour_is_for_terminals_and_not_for_those_who_refuse_it(bench: Bench) -> None:
    job = bench.job("colour")
    assert "\x1b" not in bench.run("plan", job).out
    assert "\x1b[" in bench.run("plan", "--help", FORCE_COLOR="1").out
    plain = bench.run("plan", job, FORCE_COLOR="1", NO_COLOR="1").out
    assert not any(f"\x1b[{colour}" in plain for colour in ("3", "9", "4"))


def test_the_driver_needs_ray_only_when_there_is_work() -> None:
    """Ray reads its settings when it is imported, and takes its time."""
    script = (
        "import sys, fod_bench.runs.run, fod_bench.cluster.open; print({'ray', 'torch', 'boto3'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_worker_needs_timm_only_to_extract() -> None:
    """It takes seconds, for which every training would wait."""
    script = "import sys, fod_bench.cluster.worker; print({'timm', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "{'torch'}\n"
