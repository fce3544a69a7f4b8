"""The job files that come with the project, and the reference page made from the schema."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from fod_bench.datasets import LAYOUT_NAMES
from fod_bench.job import Job, dump_job, expand, load_job
from fod_bench.job.reference_page import reference_markdown
from fod_bench.methods.fod.settings import FodSettings

ROOT = Path(__file__).parents[2]
JOBS = sorted((ROOT / "jobs").glob("*.yaml"))


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("FOD_DATA", "FOD_PICTURES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)


def test_all_are_there() -> None:
    tables = {
        "table01_02_06_mvtec",
        "table03_07_btad",
        "table03_08_mvtec3d",
        "table04_09_views",
        "table05_cost",
        "table10_optimization",
    }
    tables |= {"table11_lambda", "table12_heads", "table13_layers", "table14_levels", "table15_references"}
    assert {path.stem for path in JOBS} >= {"quickstart", "folder", "ablation", "paper"} | tables


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_a_job_file_loads_and_expands(path: Path) -> None:
    job = load_job(path)
    assert job.name == path.stem and job.description
    expansion = expand(job)
    assert bool(expansion.cells) != (path.stem == "folder")
    assert bool(expansion.problems) != (path.stem == "quickstart")
    assert yaml.safe_load(path.read_text())["name"] == job.name, "readable by any YAML reader"
    Path("dump.yaml").write_text(dump_job(job))
    assert load_job("dump.yaml") == job


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_the_commands_in_its_comments_hold(path: Path) -> None:
    commands = re.findall(r"^ *# +(fod-bench .*)$", path.read_text(), flags=re.MULTILINE)
    assert commands
    for command in commands:
        _, verb, *words = shlex.split(command, comments=True)
        if verb == "data":
            assert words[0] == "check" and words[words.index("--layout") + 1] in LAYOUT_NAMES
            continue
        assert verb in ("run", "plan", "report") and words[0] == f"jobs/{path.name}"
        options = list(zip(words[1::2], words[2::2], strict=True))
        job = load_job(path, [value for option, value in options if option == "--set"])
        for option, value in options:
            assert option == "--set" or (option == "--table" and (value == "all" or int(value) in job.fed_tables()))


@pytest.mark.parametrize(
    ("name", "cells", "tables"),
    [
        ("table01_02_06_mvtec", 15, (1, 2, 6)),
        ("table03_07_btad", 3, (3, 7)),
        ("table03_08_mvtec3d", 10, (3, 8)),
    ],
)
def test_the_published_sets_run_in_the_papers_setting(name: str, cells: int, tables: tuple[int, ...]) -> None:
    job = load_job(ROOT / "jobs" / f"{name}.yaml")
    assert dict(job.rows()) == {"FOD": FodSettings()}
    assert len(expand(job).cells) == cells and job.tables == tables and job.seeds == (3407,)


def test_own_images_are_found_by_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own" / "bracket" / "train" / "good").mkdir(parents=True)
    monkeypatch.setenv("FOD_PICTURES", str(tmp_path / "own"))
    assert {cell.category for cell in expand(load_job(ROOT / "jobs" / "folder.yaml")).cells} == {"bracket"}


def test_the_quickstart_needs_neither_network_nor_files() -> None:
    job = load_job(ROOT / "jobs" / "quickstart.yaml")
    assert job.settings["weights"] == "random" and job.settings["image_size"] == 128
    assert {spec.layout for spec in job.datasets.values()} == {"synthetic"}
    cells = expand(job).cells
    assert len({cell.category for cell in cells}) == 3 and {cell.settings.views for cell in cells} >= {"full", "patch"}


def test_the_reference_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "job-reference.md").read_text(encoding="utf-8")
    assert page == reference_markdown(), "run: python -m fod_bench.job.reference_page > docs/job-reference.md"


def test_the_reference_describes_every_key() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \| (.*) \|$", reference_markdown(), flags=re.MULTILINE)
    keys = {key for key, *_ in rows}
    assert keys >= Job.model_fields.keys() | FodSettings.model_fields.keys() | {"layout", "train", "test_good", "gpus"}
    assert all(len(meaning) > 10 and meaning.endswith(".") for *_, meaning in rows)


def test_the_examples_of_the_guide_are_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGES", "images")
    examples = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "job.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert examples
    for path in JOBS:  # an example includes some
        shutil.copy(path, tmp_path)
    for example in examples:
        (tmp_path / "example.yaml").write_text(example)
        load_job(tmp_path / "example.yaml")
