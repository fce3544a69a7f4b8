"""The job files that come with fod-bench: in the package, known by name anywhere, copied whole."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import pytest
from typer.testing import CliRunner

import fod_bench
from fod_bench.cli.app import app
from fod_bench.job import load_job
from fod_bench.job.shipped import shipped_jobs
from tests.helpers.commands import Bench

ROOT = Path(__file__).parents[2]


def called(*arguments: str, code: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    return tmp_path / "empty"


def test_the_folder_of_a_checkout_is_that_of_the_package() -> None:
    assert (ROOT / "jobs").resolve() == Path(fod_bench.__file__).parent / "jobs"
    assert {path.name for path in (ROOT / "jobs").iterdir()} == {path.name for path in shipped_jobs().values()}


def test_whatever_is_no_code_is_packaged() -> None:
    """A file that no pattern names would be missing after an installation."""
    tomllib = pytest.importorskip("tomllib")  # from Python 3.11 on
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    globs = [f"{package.replace('.', '/')}/{pattern}" for package, each in patterns.items() for pattern in each]
    package = Path(fod_bench.__file__).parent
    files = [
        path.relative_to(package.parent).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".py"
    ]
    assert any(name.endswith("jobs/quickstart.yaml") for name in files)
    assert not [name for name in files if not any(fnmatch.fnmatch(name, pattern) for pattern in globs)]


def test_they_are_listed_with_a_line_each() -> None:
    lines = called("jobs")[0].splitlines()
    assert [line.split()[0] for line in lines] == list(shipped_jobs())
    assert all(len(line.split(maxsplit=1)[1]) > 10 for line in lines)


def test_a_name_is_taken_for_the_file_unless_there_is_one(elsewhere: Path) -> None:
    assert "Plan of quickstart" in called("plan", "quickstart")[0]
    assert "no such job file; `quickstart` alone names the one" in called("plan", "jobs/quickstart.yaml", code=1)[1]
    assert "no such job file" in called("plan", "quickstar", code=1)[1]
    (elsewhere / "quickstart").write_text("name: mine\ndatasets: {d: {layout: synthetic}}\n")
    assert "Plan of mine" in called("plan", "quickstart")[0]


@pytest.mark.parametrize("name", shipped_jobs())
def test_a_copy_loads_with_all_that_it_includes(elsewhere: Path, name: str) -> None:
    told = called("jobs", "copy", name, "mine")[1].splitlines()
    assert {path.name for path in (elsewhere / "mine").iterdir()} == {Path(line).name for line in told}
    assert load_job(elsewhere / "mine" / f"{name}.yaml") == load_job(shipped_jobs()[name])
    before = {path: path.read_bytes() for path in (elsewhere / "mine").iterdir()}
    assert "there already; nothing was copied" in called("jobs", "copy", name, "mine", code=1)[1]
    assert before == {path: path.read_bytes() for path in (elsewhere / "mine").iterdir()}


def test_a_copy_has_the_place_it_is_given(elsewhere: Path) -> None:
    called("jobs", "copy", "folder")
    called("jobs", "copy", "folder", "sub/parts.yaml")
    assert (elsewhere / "folder.yaml").read_bytes() == (elsewhere / "sub/parts.yaml").read_bytes()
    assert "give a folder for all of them" in called("jobs", "copy", "paper", "p.yaml", code=2)[1]
    assert "unknown job 'papr'; did you mean paper?" in called("jobs", "copy", "papr", code=2)[1]
    (elsewhere / "file").write_text("")
    assert "cannot be written" in called("jobs", "copy", "folder", "file/below", code=1)[1]
    assert sorted(path.name for path in elsewhere.iterdir()) == ["file", "folder.yaml", "sub"]


def test_it_works_as_a_command(bench: Bench) -> None:
    assert "quickstart" in bench.run("jobs").out and "copy" in bench.run("jobs", "--help").out
