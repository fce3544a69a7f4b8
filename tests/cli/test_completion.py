"""A shell completes commands, options, and the names that only the program knows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fod_bench.cli.completion import figure_names, format_names, job_names, method_names, shipped_names, table_names

_MAIN = "import sys; sys.argv[0] = 'fod-bench'; from fod_bench.cli.app import main; main()"


def completed(line: str, shell: str = "bash") -> list[str]:
    """What the installed script asks the program, and what it is told."""
    words = line.split(" ")
    asked = {"_FOD_BENCH_COMPLETE": f"complete_{shell}", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    asked["_TYPER_COMPLETE_ARGS"] = line
    done = subprocess.run(
        [sys.executable, "-c", _MAIN], env=os.environ | asked, capture_output=True, text=True, timeout=600
    )
    return done.stdout.split()


def test_a_shell_is_told_commands_and_names() -> None:
    assert {"run", "plan", "report", "init", "doctor", "data"} <= set(completed("fod-bench "))
    assert completed("fod-bench run qu") == ["quickstart"]
    assert completed("fod-bench data fetch bt") == ["btad"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell(shell: str) -> None:
    asked = {"_FOD_BENCH_COMPLETE": f"source_{shell}"}
    done = subprocess.run(
        [sys.executable, "-c", _MAIN], env=os.environ | asked, capture_output=True, text=True, timeout=600
    )
    assert "_FOD_BENCH_COMPLETE=complete_" in done.stdout and "fod-bench" in done.stdout


def test_job_files_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("qu.yaml", "notes.txt", ".hidden.yaml", "folder/deep.yml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(job_names("qu")) == ["quickstart", "qu.yaml"]
    assert list(job_names("folder/")) == ["folder/deep.yml"]
    assert set(job_names("")) >= {"paper", "folder/", "qu.yaml"} and ".hidden.yaml" not in set(job_names(""))
    assert list(job_names("none/x")) == []


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("./pa", ["./part.yaml", "./parts/"]),
        (".//pa", [".//part.yaml", ".//parts/"]),
        ("parts/../pa", ["parts/../part.yaml", "parts/../parts/"]),
        ("./parts/", ["./parts/bolt.yml"]),
        ("parts/.", ["parts/.old.yaml"]),
        ("~/pa", ["~/part.yaml", "~/parts/"]),
        ("{here}/part.", ["{here}/part.yaml"]),
        ("~nobody-of-that-name/x", []),
    ],
)
def test_what_is_completed_begins_as_it_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, completed: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("part.yaml", "parts/bolt.yml", "parts/.old.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(job_names(typed.format(here=tmp_path))) == [name.format(here=tmp_path) for name in completed]


def test_other_names() -> None:
    assert list(shipped_names("table12")) == ["table12_heads"]
    assert {"patchcore", "padim"} <= set(method_names("pa"))
    assert list(table_names("1")) == ["1", "10", "11", "12", "13", "14", "15"]
    assert list(format_names("m")) == ["markdown"] and list(figure_names("lam")) == ["lambda"]
